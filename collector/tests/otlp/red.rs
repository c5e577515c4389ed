//! The page of the services' tallies, read by Prometheus itself.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message;

use crate::rig::{PROTOBUF, Rig, on_free_ports, start};
use crate::samples;

fn skip(part: &str, what: &str) {
    assert!(
        std::env::var("HOLDPOINT_REQUIRE").as_deref() != Ok("all"),
        "{part} is required here and missing; it is needed to {what}"
    );
    eprintln!("skipped: no {part}, so nothing is shown of this: {what}");
}

async fn with_two_services() -> Rig {
    let rig = start(on_free_ports()).await;
    rig.traces(samples::spans("sh\"op", 4, 1).encode_to_vec()).await;
    let logs = samples::log_lines("quiet", 3).encode_to_vec();
    rig.post("/v1/logs", &[("content-type", PROTOBUF)], logs).await;
    rig
}

async fn page(rig: &Rig) -> String {
    let page = rig.admin("/metrics/services").await;
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(page.body.to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_never_sent_is_absent_and_not_zero() {
    let rig = with_two_services().await;
    let page = page(&rig).await;
    let lines = |start: &str| page.lines().filter(|line| line.starts_with(start)).count();
    for line in [
        r#"holdpoint_service_requests_total{service="sh\"op"} 4"#,
        r#"holdpoint_service_errors_total{service="sh\"op"} 1"#,
        r#"holdpoint_service_request_duration_seconds_bucket{service="sh\"op",le="0.005"} 0"#,
        r#"holdpoint_service_request_duration_seconds_bucket{service="sh\"op",le="0.01"} 4"#,
        r#"holdpoint_service_request_duration_seconds_bucket{service="sh\"op",le="+Inf"} 4"#,
        r#"holdpoint_service_records_total{service="sh\"op",signal="traces"} 4"#,
        r#"holdpoint_service_records_total{service="quiet",signal="logs"} 3"#,
        r#"holdpoint_service_arrivals_total{service="quiet",signal="logs"} 1"#,
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
    assert_eq!(lines("holdpoint_service_requests_total"), 1, "quiet sent no request span");
    assert_eq!(lines("holdpoint_service_records_total"), 2, "each sent one signal");
    assert_eq!(lines("holdpoint_service_last_arrival_age_seconds"), 2);
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_wrong_with_the_page() {
    let rig = with_two_services().await;
    let page = page(&rig).await;
    let lint = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut lint) = lint else {
        return skip("promtool", "check the page of the services");
    };
    lint.stdin.take().expect("piped").write_all(page.as_bytes()).expect("taken");
    let ended = lint.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(ended.status.success() && said.is_empty(), "{said}\n{page}");
    rig.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prometheus_scrapes_the_page() {
    let rig = with_two_services().await;
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("prometheus.yml");
    let target = rig.addresses.admin;
    let text = format!(
        "scrape_configs: [{{job_name: h, scrape_interval: 1s, metrics_path: /metrics/services, \
         static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    std::fs::write(&config, text).expect("written");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("bound");
    drop(free);
    let prometheus = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.path().join("tsdb").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut prometheus) = prometheus else {
        return skip("prometheus", "scrape the page of the services");
    };
    let query = "holdpoint_service_requests_total%7Bjob%3D%22h%22%7D";
    let url = format!("http://{address}/api/v1/query?query={query}");
    let start = Instant::now();
    let found = loop {
        if let Ok(answer) = crate::rig::try_get(&url).await
            && answer.contains(r#""service":"sh\"op""#)
        {
            break answer;
        }
        if start.elapsed() > crate::rig::PATIENCE {
            break String::new();
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    prometheus.kill().expect("it ran");
    prometheus.wait().expect("it ends");
    assert!(found.contains(r#","4"]"#), "{found}");
    rig.stop().await;
}
