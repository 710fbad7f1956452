//! Which `tracing` span has which ids, as OpenTelemetry's layer knows it.

use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState},
};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use crate::traceparent::{Spans, TraceParent};

/// Asks the layer.
pub(super) struct OpenTelemetrySpans;

impl Spans for OpenTelemetrySpans {
    fn adopt(&self, span: &Span, parent: TraceParent) {
        let flags = if parent.sampled { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
        let parent = SpanContext::new(
            TraceId::from(parent.trace_id),
            SpanId::from(parent.span_id),
            flags,
            true,
            TraceState::NONE,
        );
        // A span that the filter left out has no place for it.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }

    fn ids(&self, span: &Span) -> Option<TraceParent> {
        let context = span.context();
        let context = context.span().span_context().clone();
        context.is_valid().then(|| TraceParent {
            trace_id: u128::from_be_bytes(context.trace_id().to_bytes()),
            span_id: u64::from_be_bytes(context.span_id().to_bytes()),
            sampled: context.is_sampled(),
        })
    }
}
