//! What `up` says once everything runs: where the roles are, and three commands that work now.
//!
//! Invariant: every command printed here works as printed, in a shell in this directory.

use std::net::SocketAddr;

use serde_json::json;

use crate::cli::{Globals, Output};
use crate::config::Config;
use crate::place::CollectorRun;
use crate::render;
use crate::roles::Start;

pub fn up(
    start: &Start,
    globals: &Globals,
    collector: &CollectorRun,
    watchdog: SocketAddr,
    gate: Option<SocketAddr>,
) {
    match globals.output {
        Output::Table => render::say(&text(start, collector, watchdog, gate)),
        Output::Json | Output::Yaml => render::print_data(
            globals.output,
            &json!({
                "data_dir": start.place.root(),
                "collector": {
                    "grpc": collector.grpc, "http": collector.http, "admin": collector.admin,
                },
                "watchdog": watchdog,
                "gate": gate,
            }),
        ),
    }
}

fn text(
    start: &Start,
    collector: &CollectorRun,
    watchdog: SocketAddr,
    gate: Option<SocketAddr>,
) -> String {
    let CollectorRun { grpc, http, admin, .. } = collector;
    let data_dir = start.place.root();
    let flag = if data_dir == Config::default().data_dir {
        String::new()
    } else {
        format!(" --data-dir {}", data_dir.display())
    };
    let beat = r#"{"instance":"a","boot":"1","seq":1,"token":1}"#;
    let mut lines = vec![
        format!("Holdpoint is up. Keys, tokens and freezes are in {}.", data_dir.display()),
        String::new(),
        format!("  collector  OTLP gRPC {grpc}, OTLP HTTP {http}, admin {admin}"),
        format!("  watchdog   beats (HTTP and UDP) and verdicts {watchdog}"),
    ];
    if let Some(gate) = gate {
        lines.push(format!("  gate       http://{gate}"));
    }
    lines.extend([
        String::new(),
        "Try in another shell:".to_owned(),
        format!("  curl -X POST http://{watchdog}/v1/beats/checkout -d '{beat}'"),
        format!("  holdpoint verdicts{flag}"),
    ]);
    lines.push(match gate {
        Some(_) => format!("  holdpoint status{flag}"),
        None => format!("  holdpoint doctor{flag}"),
    });
    lines.push(String::new());
    lines.join("\n")
}
