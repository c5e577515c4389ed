//! The stock OpenTelemetry SDK and its exporter against the collector.

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, Status, Tracer, TracerProvider};
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::rig::{on_free_ports, start};

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_the_sdk_arrive_over_grpc() {
    let rig = start(on_free_ports()).await;
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_tonic()
        .with_endpoint(format!("http://{}", rig.addresses.grpc))
        .build()
        .expect("a valid endpoint");
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "shop"))
        .with_attribute(KeyValue::new("service.namespace", "eu"))
        .build();
    let provider =
        SdkTracerProvider::builder().with_resource(resource).with_batch_exporter(exporter).build();
    let tracer = provider.tracer("test");
    for i in 0..10 {
        let mut span = tracer.span_builder("GET").with_kind(SpanKind::Server).start(&tracer);
        if i == 0 {
            opentelemetry::trace::Span::set_status(&mut span, Status::error("bad"));
        }
    }
    // The SDK's shutdown blocks, so it is given a thread that may.
    let flushed = tokio::task::spawn_blocking(move || provider.shutdown()).await;
    flushed.expect("no panic").expect("everything is exported");
    let page = rig.page(0, 0).await;
    let [row] = page.rows.as_slice() else { panic!("one row, not {:?}", page.rows) };
    assert_eq!((row.service.as_str(), &row.instance), ("eu/shop", &None));
    let red = row.red.as_ref().expect("server spans");
    assert_eq!((red.requests, red.errors), (10, 1));
    rig.stop().await;
}
