//! One trace per command: the span that causes everything a command asks of servers.

use std::{ffi::OsString, time::Duration};

use clap::CommandFactory as _;
use tracing::Span;
use weir_runtime::{telemetry::Telemetry, traceparent};

use crate::{args::Cli, error::Result};

/// How long the last spans may take to be sent: nobody waits for a collector.
pub const END: Duration = Duration::from_millis(500);
/// Who called this command, if he is part of a trace himself.
const CALLER: &str = "TRACEPARENT";

/// The span of the command that stands on the command line. None where nothing is exported.
pub fn command(telemetry: &Telemetry, line: impl Iterator<Item = OsString>) -> Span {
    if !telemetry.exports() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "command",
        otel.name = %name(line),
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    let mut headers = http::HeaderMap::new();
    if let Some(caller) = std::env::var(CALLER).ok().and_then(|text| text.parse().ok()) {
        traceparent::write(&mut headers, caller);
    }
    if let Some(own) = traceparent::begin(&span, &headers) {
        traceparent::whole_process(own);
    }
    span
}

/// Says how the command ended.
pub fn ended<T>(span: &Span, done: &Result<T>) {
    if let Err(error) = done {
        span.record("otel.status_code", "ERROR");
        tracing::error!(parent: span, "{error}");
    }
}

/// The command without its arguments, which may be anybody's business.
fn name(line: impl Iterator<Item = OsString>) -> String {
    let whole = Cli::command();
    let (mut at, mut name) = (&whole, "weir".to_owned());
    for word in line.skip(1) {
        if let Some(next) = word.to_str().and_then(|word| at.find_subcommand(word)) {
            at = next;
            name = format!("{name} {}", next.get_name());
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_named_without_its_arguments() {
        let named = |line: &str| name(line.split(' ').map(OsString::from));
        assert_eq!(named("weir topic create orders -p 3"), "weir topic create");
        assert_eq!(named("weir --cluster a produce orders"), "weir produce");
        assert_eq!(named("weir"), "weir");
    }
}
