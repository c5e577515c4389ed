//! Dashboards tell the truth: a real Prometheus scrapes a real stack, and every query of every
//! panel finds what it names.
//!
//! A panel whose metric was renamed is the product's own failure in small: it shows nothing, and
//! nothing looks like calm.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::http;
use crate::stack::{Stack, wait};

const WHAT: &str = "run the queries of the dashboards";

/// Ends with the test.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Prometheus {
    fn start(stack: &Stack) -> Option<Self> {
        let dir = stack.dir.path();
        let mut scrape = String::from("global: { scrape_interval: 1s }\nscrape_configs:\n");
        for (role, key) in [("collector", "admin"), ("watchdog", "listen"), ("gate", "listen")] {
            let at = stack.address(role, key).expect("the role runs");
            scrape.push_str(&format!(
                "  - job_name: {role}\n    static_configs:\n      \
                 - {{ targets: [\"{at}\"], labels: {{ role: {role} }} }}\n"
            ));
        }
        fs::write(dir.join("prometheus.yml"), scrape).expect("the directory can be written");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).ok()?.port();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { child, port })
    }

    /// How many series `query` finds now; the error's text if it is not a query.
    fn count(&self, query: &str) -> Result<usize, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let at = ([127, 0, 0, 1], self.port).into();
        let answer = http::get(at, &format!("/api/v1/query?query={encoded}"))
            .ok_or("Prometheus does not answer")?
            .json();
        match answer["data"]["result"].as_array() {
            Some(series) => Ok(series.len()),
            None => Err(answer["error"].to_string()),
        }
    }
}

/// Title and query of every target of every panel.
fn queries(board: &Value) -> Vec<(String, String)> {
    let panels = board["panels"].as_array().expect("a board has panels");
    let mut found = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().expect("a target has a query");
            let title = panel["title"].as_str().expect("a panel has a title");
            let query = query.replace("$__rate_interval", "10s").replace("$service", ".*");
            found.push((title.to_owned(), query));
        }
    }
    found
}

#[test]
fn every_query_of_every_panel_finds_what_it_names() {
    let has = Command::new("prometheus").arg("--version").stderr(Stdio::null()).output().is_ok();
    if !has {
        return crate::skip("prometheus", WHAT);
    }
    let stack = Stack::start("dwell_ms = 500\nbake_ms = 60000\nevidence_min = 10");
    let a = stack.service("a", "v1");
    stack.wait_verdict("a", "live", Duration::from_secs(15));
    stack.bake(&a, "a", "v2");
    let frozen = stack.cli(&["freeze", "--scope", "service=d", "--reason", "to be counted"]);
    assert_eq!(frozen.code, Some(0), "{frozen:?}");
    let prometheus = Prometheus::start(&stack).expect("prometheus starts");

    let boards = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut seen = 0;
    for entry in fs::read_dir(boards).expect("the folder of dashboards").flatten() {
        if entry.path().extension().is_none_or(|ending| ending != "json") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a board is text");
        let board: Value = serde_json::from_str(&text).expect("a board is JSON");
        for (title, query) in queries(&board) {
            let mut last = Ok(0);
            let what = format!("{}: {title}: {query}", entry.path().display());
            wait(&what, Duration::from_secs(30), || {
                last = prometheus.count(&query);
                last.as_ref().is_ok_and(|count| *count > 0).then_some(())
            });
            seen += 1;
        }
    }
    assert!(seen >= 10, "the boards have queries: {seen}");
    assert_eq!(prometheus.count("holdpoint_no_such_metric"), Ok(0), "the check can fail");
}
