//! Our collector takes the conformance suite, and so do servers that lie: a suite that cannot fail
//! proves nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use collector::{Config, ExporterConfig, Protocol};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

mod liars;
mod suite;

use liars::{LIARS, Liar};
use suite::http::PATIENCE;
use suite::probe::{Level, Probe};
use suite::report::{self, Finding};
use suite::sink::Sink;
use suite::target::{LIMIT_BYTES, Target};

fn target(runtime: &Runtime, http: SocketAddr, grpc: SocketAddr, sink: Sink) -> Target {
    Target {
        http,
        grpc,
        limit_bytes: LIMIT_BYTES,
        runtime: runtime.handle().clone(),
        sink: Some(sink),
        numbers: Arc::default(),
    }
}

fn start_sink(runtime: &Runtime, patience: Duration) -> Sink {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    Sink::start(runtime.handle(), any, patience).expect("a free port on loopback")
}

fn all_probes() -> Vec<Probe> {
    [suite::probes(), suite::delivery::PROBES.to_vec()].concat()
}

fn measure_liar(liar: Liar) -> Vec<Finding> {
    let runtime = Runtime::new().expect("a runtime");
    let address = runtime.block_on(liars::start(liar));
    // A liar delivers nothing, so there is nothing to wait for.
    let sink = start_sink(&runtime, Duration::from_millis(1));
    report::run(&target(&runtime, address, address, sink), &all_probes())
}

fn passed(findings: &[Finding]) -> BTreeSet<&'static str> {
    let passed = findings.iter().filter(|finding| finding.outcome.is_ok());
    passed.map(|finding| finding.probe.id).collect()
}

#[test]
fn our_collector_keeps_every_must_and_should() {
    let runtime = Runtime::new().expect("a runtime");
    let sink = start_sink(&runtime, PATIENCE);
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let backend = ExporterConfig::new(format!("http://{}", sink.address()), Protocol::Http);
    let config = Config {
        grpc_listen: any,
        http_listen: any,
        admin_listen: any,
        exporters: vec![backend],
        cors_origins: vec!["http://localhost:3000".to_owned()],
        ..Config::default()
    };
    let boot = Boot::new("1790000000000-conformance").expect("a good boot");
    let bound = runtime.block_on(collector::bind(config, boot)).expect("free ports on loopback");
    let dir = tempfile::tempdir().expect("a directory");
    let bound = bound.spooling_in(dir.path()).expect("a spool");
    let addresses = bound.addresses();
    let shutdown = CancellationToken::new();
    let running = runtime.spawn(bound.run(Arc::new(|| None), shutdown.clone()));

    let client = Runtime::new().expect("a runtime");
    let findings =
        report::run(&target(&client, addresses.http, addresses.grpc, sink), &all_probes());
    shutdown.cancel();
    runtime.block_on(running).expect("the collector does not panic").expect("it stops well");

    println!("{}", report::summary(&findings));
    let faults: Vec<Finding> = report::faults(&findings).into_iter().cloned().collect();
    assert!(faults.is_empty(), "{}", report::table(&faults));
}

#[test]
fn there_are_enough_probes_and_each_has_a_name_of_its_own() {
    let probes = all_probes();
    let ids: BTreeSet<_> = probes.iter().map(|probe| probe.id).collect();
    assert_eq!(ids.len(), probes.len(), "two probes share an id");
    assert!(probes.len() >= 120, "only {} probes", probes.len());
    let binding = probes.iter().filter(|probe| probe.level != Level::May).count();
    assert!(binding >= 120, "only {binding} probes are binding");
}

/// What both of the liars that read may pass: where a server is free to take or to refuse, and
/// framing that their HTTP library refuses before they can lie.
const FREE: [&str; 7] = [
    "connection.bad_length",
    "connection.smuggling",
    "connection.two_lengths",
    "json.any.two_kinds",
    "json.same_key_twice",
    "wire.group",
    "wire.mistyped",
];

#[test]
fn every_probe_finds_fault_with_some_liar() {
    let [grants, refuses, blurts, hangs_up] = thread::scope(|scope| {
        let measured = LIARS.map(|liar| scope.spawn(move || measure_liar(liar)));
        measured.map(|one| one.join().expect("a measurement ends"))
    });
    for (liar, findings) in LIARS.iter().zip([&grants, &refuses, &blurts, &hangs_up]) {
        assert_reported(*liar, findings);
    }
    let either = &passed(&grants) & &passed(&refuses);
    assert_eq!(either, BTreeSet::from(FREE), "a server may both grant and refuse these");
    let believed = &(&either & &passed(&blurts)) & &passed(&hangs_up);
    assert!(believed.is_empty(), "no liar fails {believed:?}");
}

/// Both forms of the report name every probe and all faults.
fn assert_reported(liar: Liar, findings: &[Finding]) {
    let faults = report::faults(findings).len();
    assert!(faults > 100, "the suite finds only {faults} faults in the liar that {liar:?}");
    let table = report::table(findings);
    assert_eq!(table.matches("FAIL ").count(), faults);
    let json: serde_json::Value = serde_json::from_str(&report::json(findings)).expect("JSON");
    assert_eq!(json["faults"], faults);
    for finding in findings {
        assert!(table.contains(finding.probe.id), "{} is not in the table", finding.probe.id);
    }
}
