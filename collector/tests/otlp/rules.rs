//! Rules of the configuration on the wire: what they drop is counted, what they add arrives.

use std::collections::BTreeMap;

use collector::{Config, DropRule, ExporterConfig, Protocol};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;

use crate::rig::{backend, on_free_ports, start};

/// The official example, sent by the service `name`.
pub fn spans_of(name: &str) -> Vec<u8> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trace.json");
    let text = std::fs::read_to_string(path).expect("a file").replace("my.service", name);
    let request: ExportTraceServiceRequest = serde_json::from_str(&text).expect("OTLP in JSON");
    request.encode_to_vec()
}

fn named(name: &str) -> DropRule {
    let resource = BTreeMap::from([("service.name".to_owned(), name.to_owned())]);
    DropRule { resource, ..DropRule::default() }
}

#[tokio::test]
async fn what_a_rule_drops_is_counted_and_what_it_adds_arrives() {
    let backend = backend(Vec::new()).await;
    let exporters = vec![ExporterConfig::new(backend.endpoint(), Protocol::Http)];
    let adds = BTreeMap::from([
        ("deployment.environment.name".to_owned(), "test".to_owned()),
        ("service.name".to_owned(), "never: it has one".to_owned()),
    ]);
    let config = Config { exporters, ..on_free_ports() };
    let rig = start(config.clone()).await;
    let ruled = Config { drop: vec![named("noisy-*")], resource_attributes: adds, ..config };
    rig.propose(Ok(ruled)).await.expect("it comes up");

    assert_eq!(rig.traces(spans_of("noisy-a")).await.status, 200);
    assert_eq!(rig.traces(spans_of("shop")).await.status, 200);
    let got = backend.got_when(1).await;
    let got = ExportTraceServiceRequest::decode(got[0].body.clone()).expect("OTLP");
    let resource = got.resource_spans[0].resource.as_ref().expect("a resource");
    let texts: Vec<_> = resource
        .attributes
        .iter()
        .filter_map(|attribute| {
            let value = attribute.value.as_ref()?.value.as_ref()?;
            let Value::StringValue(text) = value else { return None };
            Some((attribute.key.as_str(), text.as_str()))
        })
        .collect();
    assert_eq!(texts, [("service.name", "shop"), ("deployment.environment.name", "test")]);
    let page = rig.page_when(|page| page.flow.forwarded == 1).await;
    let flow = &page.flow;
    assert_eq!((flow.received, flow.dropped, flow.dropped_by_rule), (2, 1, 1));
    assert_eq!(page.rows.len(), 2, "both services were heard");
    let ruled_out = page.rows.iter().map(|row| row.particulars.as_ref().map(|it| it.ruled_out));
    assert_eq!(ruled_out.collect::<Vec<_>>(), [Some([1, 0, 0]), Some([0; 3])]);
    let arrived = page.rows.iter().map(|row| row.traces.as_ref().map(|it| it.records));
    assert_eq!(arrived.collect::<Vec<_>>(), [None, Some(1)], "what nobody will see is no arrival");
    let labels = r#"{exporter="",signal="traces",reason="rule"}"#;
    let dropped = format!("holdpoint_collector_dropped_records_total{labels}");
    assert_eq!(rig.metric(&dropped).await, Some(1.0));
    rig.stop().await;
    assert_eq!(backend.got().len(), 1, "an emptied request goes nowhere");
}

#[tokio::test]
async fn a_rule_that_drops_everything_drops_the_probes_too_and_nothing_comes_back() {
    let config = on_free_ports();
    let rig = start(config.clone()).await;
    assert_eq!(rig.traces(probe("1")).await.status, 200);
    rig.page_when(|page| page.echoes.len() == 1).await;
    rig.propose(Ok(Config { drop: vec![named("*")], ..config })).await.expect("it comes up");
    assert_eq!(rig.traces(probe("2")).await.status, 200);
    let page = rig.page_when(|page| page.flow.dropped_by_rule > 0).await;
    assert_eq!(page.echoes.len(), 1);
    rig.stop().await;
}

/// A probe as the watchdog sends it, with a seal that only it could check.
pub fn probe(seq: &str) -> Vec<u8> {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trace.json"));
    let text = text.expect("a file").replace("my.service", "holdpoint.probe");
    let mut request: ExportTraceServiceRequest = serde_json::from_str(&text).expect("OTLP");
    let span = &mut request.resource_spans[0].scope_spans[0].spans[0];
    let text = |value: &str| Some(Value::StringValue(value.to_owned()));
    span.attributes = [
        ("holdpoint.probe.run", text("r")),
        ("holdpoint.probe.seq", text(seq)),
        ("holdpoint.probe.value", text("7")),
        ("holdpoint.probe.mac", text(&"0".repeat(64))),
    ]
    .map(|(key, value)| opentelemetry_proto::tonic::common::v1::KeyValue {
        key: key.to_owned(),
        value: Some(opentelemetry_proto::tonic::common::v1::AnyValue { value }),
        ..Default::default()
    })
    .into();
    request.encode_to_vec()
}
