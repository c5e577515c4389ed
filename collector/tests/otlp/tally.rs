//! The admin port: tally, long poll, health, metrics.

use std::time::{Duration, Instant};

use prost::Message;

use crate::rig::{on_free_ports, start};
use crate::samples;

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_ends_with_an_arrival_and_tells_only_what_changed() {
    let rig = start(on_free_ports()).await;
    rig.traces(samples::spans("a", 1, 0).encode_to_vec()).await;
    let first = rig.page(0, 0).await;
    assert_eq!(first.boot.as_str(), "1700000000000-test");
    let started = Instant::now();
    let (second, _) = tokio::join!(rig.page(first.cursor, 20_000), async {
        rig.traces(samples::spans("b", 1, 0).encode_to_vec()).await
    });
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    let services: Vec<_> = second.rows.iter().map(|row| row.service.as_str()).collect();
    assert_eq!(services, ["b"]);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_sees_no_change_ends_in_time_and_with_the_same_cursor() {
    let rig = start(on_free_ports()).await;
    let first = rig.page(0, 0).await;
    let started = Instant::now();
    let second = rig.page(first.cursor, 150).await;
    assert!(started.elapsed() >= Duration::from_millis(150));
    assert_eq!((second.cursor, second.rows.len()), (first.cursor, 0));
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_without_a_backend_is_echoed_at_the_end_of_the_pipeline() {
    let rig = start(on_free_ports()).await;
    rig.traces(samples::probe("run", 9).encode_to_vec()).await;
    let page = rig.page(0, 0).await;
    assert_eq!((page.echoes.len(), page.rows.len()), (1, 0));
    assert_eq!(page.echoes[0].seq, "9");
    assert!(!page.flow.backend);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_queries_and_paths_are_told_what_is_right() {
    let rig = start(on_free_ports()).await;
    for (path, status) in
        [("/v1/tally?afer=1", 400), ("/v1/tally?after=x", 400), ("/v1/nothing", 404)]
    {
        let answer = rig.admin(path).await;
        assert_eq!(answer.status, status, "{path}");
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert!(body["error"]["hint"].as_str().is_some_and(|hint| hint.contains("/v1/tally")));
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metrics_page_is_open_metrics() {
    let rig = start(on_free_ports()).await;
    rig.traces(samples::spans("a", 7, 0).encode_to_vec()).await;
    rig.traces(b"\xff".to_vec()).await;
    let page = rig.admin("/metrics").await;
    assert!(page.header("content-type").starts_with("application/openmetrics-text"));
    let text = std::str::from_utf8(&page.body).expect("text");
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        "holdpoint_collector_requests_total{signal=\"traces\"} 1",
        "holdpoint_collector_records_total{signal=\"traces\"} 7",
        "holdpoint_collector_records_total{signal=\"logs\"} 0",
        "holdpoint_collector_refused_requests_total{signal=\"traces\",reason=\"malformed\"} 1",
        "holdpoint_collector_connections_accepted_total{door=\"http\"} 2",
        "holdpoint_collector_tally_rows 1",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} is not in\n{text}");
    }
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_port_and_a_bad_configuration_are_told_before_anything_starts() {
    let rig = start(on_free_ports()).await;
    let boot = || watchdog_core::names::Boot::new("1-x").expect("a name");
    let config = collector::Config { http_listen: rig.addresses.http, ..on_free_ports() };
    let error = collector::bind(config, boot()).await.expect_err("in use");
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains(&rig.addresses.http.to_string()), "{cause}");
    let config = collector::Config { tally_rows_max: 0, ..on_free_ports() };
    let error = collector::bind(config, boot()).await.expect_err("a mistake").to_string();
    assert!(error.contains("tally_rows_max"), "{error}");
    rig.stop().await;
}
