//! `opentelemetry.proto.trace.v1` and its collector request.

use super::attributes::{KEY_VALUE, RESOURCE, SCOPE};
use super::{Kind, Message, many, one};

pub(crate) static REQUEST: Message = Message {
    name: "ExportTraceServiceRequest",
    fields: &[many("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))],
};

static RESOURCE_SPANS: Message = Message {
    name: "ResourceSpans",
    fields: &[
        one("resource", 1, Kind::Message(&RESOURCE)),
        many("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Kind::Text),
    ],
};

static SCOPE_SPANS: Message = Message {
    name: "ScopeSpans",
    fields: &[
        one("scope", 1, Kind::Message(&SCOPE)),
        many("spans", 2, Kind::Message(&SPAN)),
        one("schemaUrl", 3, Kind::Text),
    ],
};

pub(crate) static SPAN: Message = Message {
    name: "Span",
    fields: &[
        one("traceId", 1, Kind::TraceId),
        one("spanId", 2, Kind::SpanId),
        one("traceState", 3, Kind::Text),
        one("parentSpanId", 4, Kind::SpanId),
        one("name", 5, Kind::Text),
        one("kind", 6, Kind::Enum),
        one("startTimeUnixNano", 7, Kind::Fixed64),
        one("endTimeUnixNano", 8, Kind::Fixed64),
        many("attributes", 9, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 10, Kind::Uint32),
        many("events", 11, Kind::Message(&EVENT)),
        one("droppedEventsCount", 12, Kind::Uint32),
        many("links", 13, Kind::Message(&LINK)),
        one("droppedLinksCount", 14, Kind::Uint32),
        one("status", 15, Kind::Message(&STATUS)),
        one("flags", 16, Kind::Fixed32),
    ],
};

pub(crate) static EVENT: Message = Message {
    name: "Span.Event",
    fields: &[
        one("timeUnixNano", 1, Kind::Fixed64),
        one("name", 2, Kind::Text),
        many("attributes", 3, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Kind::Uint32),
    ],
};

pub(crate) static LINK: Message = Message {
    name: "Span.Link",
    fields: &[
        one("traceId", 1, Kind::TraceId),
        one("spanId", 2, Kind::SpanId),
        one("traceState", 3, Kind::Text),
        many("attributes", 4, Kind::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Kind::Uint32),
        one("flags", 6, Kind::Fixed32),
    ],
};

pub(crate) static STATUS: Message = Message {
    name: "Status",
    fields: &[one("message", 2, Kind::Text), one("code", 3, Kind::Enum)],
};
