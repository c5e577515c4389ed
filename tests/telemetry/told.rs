//! All three signals arrive, from every role, and say what the role shows of itself.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::http;
use super::process::Process;
use super::taken::{Taken, array, attribute, number};
use super::wait;

/// What would point an SDK elsewhere, and must not.
const MISLEADING: [(&str, &str); 6] = [
    ("OTEL_SERVICE_NAME", "misled"),
    ("OTEL_RESOURCE_ATTRIBUTES", "service.name=misled"),
    ("OTEL_TRACES_SAMPLER", "always_off"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1"),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ("OTEL_BLRP_SCHEDULE_DELAY", "3600000"),
];

/// `[telemetry]` towards `taker`.
fn towards(taker: &Process, port: &str, protocol: &str, more: &str) -> String {
    let at = taker.address("collector", port).unwrap();
    format!(
        "[telemetry]\nendpoint = \"http://{at}\"\nprotocol = \"{protocol}\"\ninterval_ms = 200\n\
         {more}\n"
    )
}

fn spans(n: u64) -> Value {
    let span = |i: u64| {
        json!({ "traceId": "00112233445566778899aabbccddeeff", "spanId": format!("{:016x}", i + 1),
                "name": "GET /", "kind": 2, "startTimeUnixNano": "1", "endTimeUnixNano": "2" })
    };
    let name = json!({ "key": "service.name", "value": { "stringValue": "shop" } });
    let spans: Vec<_> = (0..n).map(span).collect();
    json!({ "resourceSpans": [
        { "resource": { "attributes": [name] }, "scopeSpans": [{ "spans": spans }] }
    ]})
}

/// A name, labels, and the value.
type Series = (String, Vec<(String, String)>, f64);

/// The series of a page that are as they were as long as nobody sends anything.
fn settled_series(page: &str) -> Vec<Series> {
    let families = ["requests", "records", "request_bytes", "forwarded_records"];
    let mut found = Vec::new();
    for family in families.map(|name| format!("holdpoint_collector_{name}")) {
        for line in page.lines() {
            let Some(rest) = line.strip_prefix(&format!("{family}_total{{")) else { continue };
            let (labels, value) = rest.split_once("} ").unwrap();
            let label = |text: &str| {
                let (name, value) = text.split_once('=').unwrap();
                (name.to_owned(), value.trim_matches('"').to_owned())
            };
            let labels = labels.split(',').map(label).collect();
            found.push((family.clone(), labels, value.parse().unwrap()));
        }
    }
    found
}

/// The names of what a page shows.
fn families(page: &str) -> Vec<&str> {
    let typed = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    typed.filter(|name| page.lines().any(|line| line.starts_with(name))).collect()
}

fn tells_everything(port: &str, protocol: &str, more: &str) {
    let taker = Process::taker();
    let mut teller = Process::new("collector", "");
    let backend = taker.address("collector", "http").unwrap();
    teller.configure(&format!(
        "[[collector.exporter]]\nendpoint = \"http://{backend}\"\n{}",
        towards(&taker, port, protocol, more)
    ));
    teller.start(&MISLEADING);
    for n in 1..=3 {
        teller.post("/v1/traces", &spans(n));
    }
    wait("what was sent is forwarded", || {
        let forwarded = format!(
            "holdpoint_collector_forwarded_records_total{{exporter=\"http://{backend}\",\
             signal=\"traces\"}}"
        );
        teller.metric(&forwarded).filter(|records| *records == 6.0)
    });
    let series = settled_series(&teller.page("/metrics"));
    assert!(series.len() >= 13, "{series:?}");
    let run = teller.run("collector").unwrap();
    let taken = wait("the settled counts are told", || {
        let taken = Taken::of(&taker, "holdpoint-collector");
        let is_told = series.iter().all(|(family, labels, value)| {
            let is_it = |point: &&Value| {
                labels.iter().all(|(name, value)| attribute(point, name) == *value)
            };
            let points = taken.points(family);
            points.iter().find(is_it).and_then(|point| number(&point["asInt"])) == Some(*value)
        });
        (is_told && taken.has_span("export_attempt") && taken.has_log("is up")).then_some(taken)
    });
    assert_eq!(attribute(&taken.resource, "service.instance.id"), run["boot"]);
    assert_eq!(attribute(&taken.resource, "service.version"), env!("CARGO_PKG_VERSION"));
    assert!(taken.has_span("spool_recovery"));
    let attempt = taken.spans.iter().find(|span| span["name"] == "export_attempt").unwrap();
    assert_eq!(attribute(attempt, "signal"), "traces");

    let records = &taken.metrics["holdpoint_collector_records"];
    assert_eq!(records["sum"]["isMonotonic"], true, "{records}");
    assert_eq!(records["sum"]["aggregationTemporality"], 2, "{records}");
    let point = &array(&records["sum"]["dataPoints"])[0];
    let (start, time) = (number(&point["startTimeUnixNano"]), number(&point["timeUnixNano"]));
    assert!(start.unwrap() > 1e18 && start < time, "{point}");
    assert_eq!(taken.metrics["holdpoint_collector_request_bytes"]["unit"], "By");
    assert!(taken.metrics["holdpoint_collector_healthy"]["gauge"].is_object());
    assert!(taken.metrics["otelcol_receiver_accepted_spans"]["sum"].is_object());
    assert_eq!(taken.metrics["otelcol_process_uptime"]["unit"], "s");

    teller.stop();
    let last = Taken::of(&taker, "holdpoint-collector");
    assert!(last.has_log("the collector has stopped"), "the stop is told too");
    assert!(Taken::of(&taker, "misled").metrics.is_empty());
}

#[test]
fn a_collectors_counts_logs_and_spans_arrive_over_http_and_are_those_of_its_metrics() {
    tells_everything("http", "http", "");
}

#[test]
fn the_same_arrives_over_grpc_and_compressed() {
    tells_everything("grpc", "grpc", "compression = \"gzip\"");
}

#[test]
fn a_reload_is_told_and_what_telemetry_says_now_waits_for_the_next_start() {
    let taker = Process::taker();
    let mut teller = Process::new("collector", &towards(&taker, "http", "http", ""));
    teller.start(&[]);
    teller.configure(&towards(&taker, "http", "http", "spans_per_s = 1"));
    kill_process(Pid::from_raw(teller.pid() as i32).unwrap(), Signal::HUP).unwrap();
    let reload = wait("the reload is told", || {
        let taken = Taken::of(&taker, "holdpoint-collector");
        taken.spans.into_iter().find(|span| span["name"] == "reload")
    });
    // Ports that were found for 0 count as a change.
    assert_eq!(attribute(&reload, "outcome"), "applied", "{reload}");
    let warning = "what [telemetry] says now is taken at the next start";
    assert!(teller.log().contains(warning), "{}", teller.log());
}

#[test]
fn every_role_of_the_product_tells() {
    let taker = Process::taker();
    let mut product = Process::new("up", &towards(&taker, "http", "http", ""));
    product.start(&[]);
    for (role, port) in [("collector", "admin"), ("watchdog", "listen"), ("gate", "listen")] {
        let taken = wait(&format!("the whole page of the {role} is heard"), || {
            let page = http::get(product.address(role, port)?, "/metrics")?.body;
            let taken = Taken::of(&taker, &format!("holdpoint-{role}"));
            let shown = families(&page);
            assert!(shown.len() > 10, "{page}");
            let is_whole = shown.iter().all(|family| taken.metrics.contains_key(*family));
            (is_whole && taken.has_log("is up")).then_some(taken)
        });
        let boot = product.run(role).unwrap()["boot"].clone();
        assert_eq!(attribute(&taken.resource, "service.instance.id"), boot, "{role}");
    }
    wait("histograms are told as such", || {
        let watchdog = Taken::of(&taker, "holdpoint-watchdog");
        let metric = watchdog.metrics.get("holdpoint_watchdog_probe_round_trip_seconds")?;
        assert_eq!(metric["unit"], "s");
        let point = array(&metric["histogram"]["dataPoints"]).first()?;
        let counts = array(&point["bucketCounts"]).iter().filter_map(number);
        let sum: f64 = counts.sum();
        assert_eq!(number(&point["count"]), Some(sum), "{point}");
        (sum > 0.0).then_some(())
    });
}
