//! A probe as an OTLP trace request, encoded by hand: five nested messages need no code generator.
//!
//! Field numbers are those of `opentelemetry/proto/{collector/trace,trace,resource,common}/v1`.
//!
//! Invariant: to the collector a probe is an ordinary request with one ordinary span.

use watchdog_core::probe::{ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, PROBE_SERVICE};

use super::answer::ProbeKey;

const WIRE_FIXED64: u8 = 1;
const WIRE_BYTES: u8 = 2;
const KIND_INTERNAL: u8 = 1;

/// The body of `POST /v1/traces` for probe `seq` of `run`, sent at `wall_ns` of the Unix epoch.
pub fn trace_request(key: &ProbeKey, run: &str, seq: u64, wall_ns: u64) -> Vec<u8> {
    let value = key.value(run, seq);
    let mut span = Vec::with_capacity(384);
    bytes(&mut span, 1, &trace_id(value, seq));
    bytes(&mut span, 2, &value.to_be_bytes());
    bytes(&mut span, 5, b"probe");
    span.extend([6 << 3, KIND_INTERNAL]);
    fixed64(&mut span, 7, wall_ns);
    fixed64(&mut span, 8, wall_ns);
    for (name, text) in [
        (ATTR_RUN, run),
        (ATTR_SEQ, &seq.to_string()),
        (ATTR_VALUE, &value.to_string()),
        (ATTR_MAC, &key.mac(run, seq)),
    ] {
        bytes(&mut span, 9, &attribute(name, text));
    }

    let mut resource = Vec::new();
    bytes(&mut resource, 1, &attribute("service.name", PROBE_SERVICE));
    let mut scope_spans = Vec::with_capacity(span.len() + 8);
    bytes(&mut scope_spans, 2, &span);
    let mut resource_spans = Vec::with_capacity(scope_spans.len() + resource.len() + 16);
    bytes(&mut resource_spans, 1, &resource);
    bytes(&mut resource_spans, 2, &scope_spans);
    let mut request = Vec::with_capacity(resource_spans.len() + 8);
    bytes(&mut request, 1, &resource_spans);
    request
}

fn trace_id(value: u64, seq: u64) -> [u8; 16] {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&value.to_be_bytes());
    id[8..].copy_from_slice(&seq.to_be_bytes());
    id
}

/// `KeyValue { key, value: AnyValue { string_value } }`.
fn attribute(name: &str, text: &str) -> Vec<u8> {
    let mut any = Vec::with_capacity(text.len() + 4);
    bytes(&mut any, 1, text.as_bytes());
    let mut pair = Vec::with_capacity(name.len() + any.len() + 8);
    bytes(&mut pair, 1, name.as_bytes());
    bytes(&mut pair, 2, &any);
    pair
}

fn bytes(out: &mut Vec<u8>, field: u8, content: &[u8]) {
    out.push(field << 3 | WIRE_BYTES);
    let mut length = content.len();
    while length >= 0x80 {
        out.push(u8::try_from(length & 0x7f).expect("seven bits fit") | 0x80);
        length >>= 7;
    }
    out.push(u8::try_from(length).expect("the loop left less than 0x80"));
    out.extend_from_slice(content);
}

fn fixed64(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3 | WIRE_FIXED64);
    out.extend(value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
    use prost::Message as _;

    use super::*;

    fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
        let value = attributes.iter().find(|a| a.key == name)?.value.clone()?.value?;
        let Value::StringValue(text) = value else { return None };
        Some(text)
    }

    #[test]
    fn the_official_decoder_reads_what_was_meant() {
        let key = ProbeKey::new([1; 32]);
        let run = "1700000000000-run-with-a-name-of-some-length".repeat(4);
        let body = trace_request(&key, &run, 300, 1_700_000_000_000_000_000);
        let request = ExportTraceServiceRequest::decode(body.as_slice()).expect("it decodes");
        let spans = &request.resource_spans[0];
        let resource = spans.resource.as_ref().expect("a resource");
        assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some(PROBE_SERVICE));
        let span = &spans.scope_spans[0].spans[0];
        assert_eq!(span.name, "probe");
        assert_eq!(span.kind, 1);
        assert_eq!(span.trace_id.len(), 16);
        assert_eq!(span.span_id.len(), 8);
        assert_eq!(span.start_time_unix_nano, 1_700_000_000_000_000_000);
        assert_eq!(text(&span.attributes, ATTR_RUN), Some(run.clone()));
        assert_eq!(text(&span.attributes, ATTR_SEQ).as_deref(), Some("300"));
        assert_eq!(text(&span.attributes, ATTR_MAC), Some(key.mac(&run, 300)));
        let value = text(&span.attributes, ATTR_VALUE).expect("a value");
        assert_eq!(value, key.value(&run, 300).to_string());
    }
}
