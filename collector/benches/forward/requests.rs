//! Requests of the size that services send: about 450 bytes a span.
//!
//! Invariant: the same number of spans is the same bytes, in every run.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const START_NANOS: u64 = 1_700_000_000_000_000_000;

/// `spans` spans of one service, every other one a server's, every 50th an error.
pub fn traces(spans: u64) -> ExportTraceServiceRequest {
    let attributes = vec![
        text("service.name", "shop"),
        text("service.instance.id", "shop-7d4b9c-x2x9z"),
        text("service.version", "2.14.0"),
        text("deployment.environment.name", "production"),
        text("host.name", "node-17.internal"),
        text("telemetry.sdk.language", "rust"),
    ];
    let scope =
        InstrumentationScope { name: "shop.http".into(), version: "1.0".into(), ..<_>::default() };
    let scope_spans = vec![ScopeSpans {
        scope: Some(scope),
        spans: (0..spans).map(span).collect(),
        ..ScopeSpans::default()
    }];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn span(index: u64) -> Span {
    let start = START_NANOS + index * 1_000_000;
    let attributes = vec![
        text("http.request.method", "GET"),
        text("url.scheme", "https"),
        text("url.path", &format!("/carts/{index:08}/items")),
        text("http.route", "/carts/{cart}/items"),
        number("http.response.status_code", 200),
        text("server.address", "shop.example.com"),
        number("server.port", 443),
        text("client.address", "203.0.113.42"),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)"),
        text("network.protocol.version", "1.1"),
    ];
    Span {
        trace_id: (u128::from(index / 8) + 1).to_be_bytes().to_vec(),
        span_id: (index + 1).to_be_bytes().to_vec(),
        parent_span_id: (index / 8 + 1).to_be_bytes().to_vec(),
        name: "GET /carts/{cart}/items".into(),
        kind: if index.is_multiple_of(2) { 2 } else { 3 },
        start_time_unix_nano: start,
        end_time_unix_nano: start + 1_000_000 * (1 + index % 400),
        attributes,
        status: index.is_multiple_of(50).then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub fn number(key: &str, value: i64) -> KeyValue {
    attribute(key, Value::IntValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}
