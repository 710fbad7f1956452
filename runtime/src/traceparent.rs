//! The way of a trace from process to process: the `traceparent` header of W3C Trace Context,
//! read and written as text, over HTTP and gRPC alike.
//!
//! Who knows which `tracing` span has which ids is set by a main ([`export_by`]), and only
//! where traces are exported; without it a given parent is shown in the log, nothing is sent
//! on, and no id is ever drawn: so a simulation stays what its seed says.

use std::{fmt, str::FromStr, sync::OnceLock};

use http::{HeaderMap, HeaderName, HeaderValue};
use tracing::Span;

/// Carries a [`TraceParent`], in requests and in answers.
pub const HEADER: HeaderName = HeaderName::from_static("traceparent");

/// The field of a span that [`begin`] fills in, for the log. Declare it as empty.
pub const TRACE_ID: &str = "trace_id";

/// A span of some process: what the spans that it causes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The whole trace. Never 0.
    pub trace_id: u128,
    /// The span within it. Never 0.
    pub span_id: u64,
    /// Whether the caller records it.
    pub sampled: bool,
}

/// The text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a traceparent of W3C Trace Context")]
pub struct NoTraceParent;

impl FromStr for TraceParent {
    type Err = NoTraceParent;

    /// Of version 00; of a later version what 00 has of it, as the standard asks.
    fn from_str(text: &str) -> Result<Self, NoTraceParent> {
        let mut parts = text.split('-');
        let mut next = |digits| hex(parts.next().ok_or(NoTraceParent)?, digits);
        let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        let whole = parts.next().is_none();
        if version == 0xff || (version == 0 && !whole) || trace_id == 0 || span_id == 0 {
            return Err(NoTraceParent);
        }
        let span_id = u64::try_from(span_id).map_err(|_| NoTraceParent)?;
        Ok(Self { trace_id, span_id, sampled: flags & 1 == 1 })
    }
}

/// Lower-case digits, exactly so many.
fn hex(text: &str, digits: usize) -> Result<u128, NoTraceParent> {
    let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.len() != digits || !text.bytes().all(plain) {
        return Err(NoTraceParent);
    }
    u128::from_str_radix(text, 16).map_err(|_| NoTraceParent)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

/// Knows the ids of spans.
pub trait Spans: Send + Sync + 'static {
    /// Makes `parent` the cause of a span that has not begun.
    fn adopt(&self, span: &Span, parent: TraceParent);
    /// The ids of a span; `None` when it is not part of any trace.
    fn ids(&self, span: &Span) -> Option<TraceParent>;
}

static SPANS: OnceLock<Box<dyn Spans>> = OnceLock::new();
static PROCESS: OnceLock<TraceParent> = OnceLock::new();

/// Says who knows the ids of this process's spans. The first word counts.
pub fn export_by(spans: impl Spans) {
    let _ = SPANS.set(Box::new(spans));
}

/// Says which span causes what no other one does: for a process that carries out one command,
/// whose background tasks serve that command. The first word counts.
pub fn whole_process(parent: TraceParent) {
    let _ = PROCESS.set(parent);
}

/// Begins the span of a request that came with `headers`: continues the caller's trace or
/// starts one. Returns the span's own ids; where nothing is exported, the caller's.
pub fn begin(span: &Span, headers: &HeaderMap) -> Option<TraceParent> {
    let parent = read(headers);
    let own = match (SPANS.get(), parent) {
        (Some(spans), parent) => {
            if let Some(parent) = parent {
                spans.adopt(span, parent);
            }
            spans.ids(span)
        }
        (None, parent) => parent,
    };
    if let Some(own) = own {
        span.record(TRACE_ID, tracing::field::display(format_args!("{:032x}", own.trace_id)));
    }
    own
}

/// Puts the current span's ids on a request on its way out.
pub fn inject(headers: &mut HeaderMap) {
    let Some(spans) = SPANS.get() else { return };
    let Some(cause) = spans.ids(&Span::current()).or_else(|| PROCESS.get().copied()) else {
        return;
    };
    write(headers, cause);
}

/// Puts a span's ids into headers.
pub fn write(headers: &mut HeaderMap, cause: TraceParent) {
    // Digits and dashes: it is a header's value.
    if let Ok(value) = HeaderValue::try_from(cause.to_string()) {
        headers.insert(HEADER, value);
    }
}

/// What headers carry; a malformed one is read as none, as is more than one.
#[must_use]
pub fn read(headers: &HeaderMap) -> Option<TraceParent> {
    let mut all = headers.get_all(HEADER).iter();
    match (all.next(), all.next()) {
        (Some(only), None) => only.to_str().ok()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_and_written_as_it_came() {
        let parent: TraceParent = TEXT.parse().unwrap();
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.span_id, parent.sampled), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(parent.to_string(), TEXT);
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        write(&mut headers, parent);
        assert_eq!(read(&headers), Some(parent));
        headers.append(HEADER, HeaderValue::from_static(TEXT));
        assert_eq!(read(&headers), None, "which of two would it be?");
    }

    #[test]
    fn flags_other_than_sampled_are_ignored_and_later_versions_read() {
        let parse = |text: &str| text.parse::<TraceParent>();
        assert!(!parse(&TEXT.replace("-01", "-02")).unwrap().sampled);
        assert!(parse(&TEXT.replace("-01", "-ff")).unwrap().sampled);
        assert!(parse(&format!("cc{}-what-comes-later", &TEXT[2..])).is_ok());
    }

    #[test]
    fn anything_else_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902bé-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(NoTraceParent), "{bad}");
        }
    }

    #[test]
    fn without_an_export_nothing_is_sent_on_and_a_caller_s_trace_is_known() {
        let mut headers = HeaderMap::new();
        inject(&mut headers);
        assert!(headers.is_empty());
        assert_eq!(begin(&Span::none(), &headers), None);
        write(&mut headers, TEXT.parse().unwrap());
        assert_eq!(begin(&Span::none(), &headers), TEXT.parse().ok());
    }
}
