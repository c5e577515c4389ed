//! The stock OpenTelemetry SDKs and their exporters against the collector: each sends all three
//! signals, and the tally is exactly what was sent.
//!
//! A client that the machine does not have is skipped with a line that says so, except where
//! `HOLDPOINT_REQUIRE=all` asks for everything.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use opentelemetry::logs::{LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{SpanKind, Status, Tracer, TracerProvider};
use opentelemetry::{KeyValue, trace};
use opentelemetry_otlp::{
    LogExporter, MetricExporter, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;

use crate::rig::{Rig, on_free_ports, start};

/// What every client sends: server spans, those that failed, data points and log records.
const SENT: [u64; 4] = [20, 5, 3, 7];

const PACKAGES: [&str; 3] =
    ["@opentelemetry/sdk-node@0.220.0", "@opentelemetry/api@1", "@opentelemetry/api-logs@0.220.0"];

/// The only row is that of `shop`, and holds exactly [`SENT`].
async fn has_all(rig: &Rig, client: &str) {
    let page = rig.page(0, 0).await;
    let [row] = page.rows.as_slice() else { panic!("{client}: one row, not {:?}", page.rows) };
    assert_eq!(row.service.as_str(), "eu/shop", "{client}");
    let records = |signal: &Option<watchdog_core::tally::SignalTally>| {
        signal.as_ref().map_or(0, |signal| signal.records)
    };
    let red = row.red.as_ref().expect("server spans");
    let came = [red.requests, red.errors, records(&row.metrics), records(&row.logs)];
    assert_eq!(came, SENT, "{client}: {row:?}");
    assert_eq!(records(&row.traces), SENT[0], "{client}");
    assert_eq!(page.flow.received, SENT[0] + SENT[2] + SENT[3], "{client}");
    assert_eq!(page.flow.refused, 0, "{client}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_sdk_delivers_all_signals_over_grpc_and_http() {
    for protocol in [Protocol::Grpc, Protocol::HttpBinary] {
        let rig = start(on_free_ports()).await;
        let (grpc, http) = (rig.addresses.grpc, rig.addresses.http);
        // The SDK's clients and its shutdown block, so they are given a thread that may.
        let sending = tokio::task::spawn_blocking(move || send(protocol, grpc, http));
        sending.await.expect("everything is exported");
        has_all(&rig, &format!("{protocol:?}")).await;
        rig.stop().await;
    }
}

/// Sends what [`SENT`] says.
fn send(protocol: Protocol, grpc: std::net::SocketAddr, http: std::net::SocketAddr) {
    let is_grpc = protocol == Protocol::Grpc;
    let at = |path: &str| {
        if is_grpc { format!("http://{grpc}") } else { format!("http://{http}/v1/{path}") }
    };
    macro_rules! exporter {
        ($kind:ident, $path:literal) => {
            if is_grpc {
                $kind::builder().with_tonic().with_endpoint(at($path)).build()
            } else {
                $kind::builder().with_http().with_endpoint(at($path)).build()
            }
            .expect("a valid endpoint")
        };
    }
    let resource = Resource::builder_empty()
        .with_attribute(KeyValue::new("service.name", "shop"))
        .with_attribute(KeyValue::new("service.namespace", "eu"))
        .build();
    let spans = SdkTracerProvider::builder()
        .with_resource(resource.clone())
        .with_batch_exporter(exporter!(SpanExporter, "traces"))
        .build();
    let tracer = spans.tracer("test");
    for n in 0..20 {
        let mut span = tracer.span_builder("GET").with_kind(SpanKind::Server).start(&tracer);
        if n < 5 {
            trace::Span::set_status(&mut span, Status::error("bad"));
        }
    }
    let meters = SdkMeterProvider::builder()
        .with_resource(resource.clone())
        .with_periodic_exporter(exporter!(MetricExporter, "metrics"))
        .build();
    let counter = meters.meter("test").u64_counter("orders").build();
    for shop in ["north", "south", "west"] {
        counter.add(4, &[KeyValue::new("shop", shop)]);
    }
    let logs = SdkLoggerProvider::builder()
        .with_resource(resource)
        .with_batch_exporter(exporter!(LogExporter, "logs"))
        .build();
    let logger = logs.logger("test");
    for n in 0..7 {
        let mut record = logger.create_log_record();
        record.set_severity_number(Severity::Info);
        record.set_body(format!("order {n}").into());
        logger.emit(record);
    }
    spans.shutdown().expect("spans are exported");
    meters.shutdown().expect("points are exported");
    logs.shutdown().expect("records are exported");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_sdk_delivers_all_signals_in_json_and_protobuf_and_over_grpc() {
    let Some(folder) = node_packages() else {
        return skip("node and npm", "the SDK for Node delivers");
    };
    for protocol in ["http/json", "http/protobuf", "grpc"] {
        let rig = start(on_free_ports()).await;
        let mut node = Command::new("node");
        node.arg(folder.join("sdk.mjs")).env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        for signal in ["TRACES", "METRICS", "LOGS"] {
            node.env(format!("OTEL_{signal}_EXPORTER"), "otlp");
        }
        run(node, &rig, protocol == "grpc").await;
        has_all(&rig, protocol).await;
        rig.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_sdk_delivers_all_signals_over_grpc_and_http() {
    let python = std::env::var_os("HOLDPOINT_PYTHON").map_or("python3".into(), PathBuf::from);
    let modules = "import opentelemetry.sdk, opentelemetry.exporter.otlp.proto.http, \
                   opentelemetry.exporter.otlp.proto.grpc";
    let found = Command::new(&python).args(["-c", modules]).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        return skip("Python with opentelemetry-sdk", "the SDK for Python delivers");
    }
    for protocol in ["http", "grpc"] {
        let rig = start(on_free_ports()).await;
        let mut script = Command::new(&python);
        script.arg(clients().join("sdk.py")).arg(protocol);
        run(script, &rig, protocol == "grpc").await;
        has_all(&rig, protocol).await;
        rig.stop().await;
    }
}

/// Runs `client` to its end, against `rig`.
async fn run(mut client: Command, rig: &Rig, grpc: bool) {
    let address = if grpc { rig.addresses.grpc } else { rig.addresses.http };
    client
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"))
        .env("OTEL_EXPORTER_OTLP_INSECURE", "true")
        .env("OTEL_SERVICE_NAME", "shop")
        .env("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=eu")
        .stdin(Stdio::null());
    let running = tokio::task::spawn_blocking(move || client.output());
    let ended = tokio::time::timeout(Duration::from_secs(60), running).await;
    let output = ended.expect("it ends in time").expect("no panic").expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Scripts of clients.
fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}

/// A folder with the script and the packages that it needs; npm fetches them once.
fn node_packages() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("node-sdk");
    std::fs::create_dir_all(&folder).expect("the target folder can be written");
    std::fs::copy(clients().join("sdk.mjs"), folder.join("sdk.mjs")).expect("copied");
    if folder.join("node_modules/@opentelemetry/sdk-node").exists() {
        return Some(folder);
    }
    let installed = Command::new("npm")
        .args(["install", "--no-audit", "--no-fund", "--silent", "--prefix", "."])
        .args(PACKAGES)
        .current_dir(&folder)
        .stdin(Stdio::null())
        .status();
    installed.is_ok_and(|status| status.success()).then_some(folder)
}

fn skip(part: &str, what: &str) {
    assert!(
        std::env::var("HOLDPOINT_REQUIRE").as_deref() != Ok("all"),
        "{part} is required here and missing; it is needed to show that {what}"
    );
    eprintln!("skipped: no {part}, so it is not shown that {what}");
}
