//! The backend: a process of its own that takes OTLP, answers the one PromQL query that is put to
//! it, and can be scraped.
//!
//! It keeps the newest value of each way that metric probes go, and nothing else. It is this
//! test's executable under another role, and ends with its standard input.
//!
//! Invariant: what it answers is what it took: a value that never came has no series.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Label;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use prost::Message as _;
use serde_json::{Value, json};
use watchdog_core::probe::{POINT_RUN, POINT_WAY, PROBE_METRIC};

pub const ROLE_ENV: &str = "HOLDPOINT_TEST_MATRIX_BACKEND";

/// The newest value by run and way.
type Series = Arc<Mutex<BTreeMap<(String, String), i64>>>;

#[test]
fn child_that_backs() {
    let Ok(dir) = std::env::var(ROLE_ENV) else { return };
    std::thread::spawn(|| {
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(serve(&PathBuf::from(dir)));
}

async fn serve(dir: &Path) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let at = listener.local_addr().expect("bound");
    let run = json!({ "pid": std::process::id(), "http": at.to_string() });
    fs::create_dir_all(dir.join("data/run")).expect("it can be made");
    fs::write(dir.join("data/run/backend.new"), run.to_string()).expect("written");
    fs::rename(dir.join("data/run/backend.new"), dir.join("data/run/backend.json"))
        .expect("renamed");
    let series = Series::default();
    while let Ok((stream, _)) = listener.accept().await {
        let series = Arc::clone(&series);
        let answer = hyper::service::service_fn(move |request| answer(request, series.clone()));
        // A client that is killed breaks its connection.
        let connection = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), answer);
        drop(tokio::spawn(connection));
    }
}

async fn answer(
    request: Request<Incoming>,
    series: Series,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let mut response = Response::new(Full::default());
    let Ok(body) = request.into_body().collect().await else {
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return Ok(response);
    };
    match path.as_str() {
        "/v1/metrics" => take(&body.to_bytes(), &series),
        "/v1/traces" | "/v1/logs" => {}
        // As Prometheus scrapes it.
        "/metrics" => *response.body_mut() = Full::from(page(&series)),
        "/api/v1/query" => *response.body_mut() = Full::from(told(&series).to_string()),
        _ => *response.status_mut() = StatusCode::NOT_FOUND,
    }
    Ok(response)
}

fn take(body: &[u8], series: &Series) {
    let request = ExportMetricsServiceRequest::decode(body).expect("the collector sends OTLP");
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    for metric in scopes.flat_map(|scope| &scope.metrics).filter(|m| m.name == PROBE_METRIC) {
        let Some(Data::Gauge(gauge)) = &metric.data else { panic!("{metric:?}") };
        for point in &gauge.data_points {
            let Some(Number::AsInt(value)) = point.value else { panic!("{point:?}") };
            let word = |key: &str| {
                let found = point.attributes.iter().find(|label| label.key == key);
                match found.and_then(|label| label.value.clone()?.value) {
                    Some(Label::StringValue(word)) => word,
                    other => panic!("{key}: {other:?}"),
                }
            };
            let of_way = (word(POINT_RUN), word(POINT_WAY));
            series.lock().expect("no request panicked").insert(of_way, value);
        }
    }
}

fn page(series: &Series) -> String {
    let series = series.lock().expect("no request panicked");
    let line = |((run, way), value): (&(String, String), &i64)| {
        format!("{PROBE_METRIC}{{{POINT_RUN}=\"{run}\",{POINT_WAY}=\"{way}\"}} {value}\n")
    };
    series.iter().map(line).collect()
}

fn told(series: &Series) -> Value {
    let series = series.lock().expect("no request panicked");
    let sample = |((run, way), value): (&(String, String), &i64)| {
        let labels = json!({ "__name__": PROBE_METRIC, POINT_RUN: run, POINT_WAY: way });
        json!({ "metric": labels, "value": [0.0, value.to_string()] })
    };
    let result: Vec<_> = series.iter().map(sample).collect();
    json!({ "status": "success", "data": { "resultType": "vector", "result": result } })
}
