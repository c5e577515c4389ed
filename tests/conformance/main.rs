//! Our collector takes the conformance suite, and so do servers that lie: a suite that cannot fail
//! proves nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::thread;

use tokio::runtime::Runtime;

mod liars;
mod suite;

use liars::{LIARS, Liar};
use suite::probe::Level;
use suite::report::{self, Finding};
use suite::target::{LIMIT_BYTES, Target};

fn target(runtime: &Runtime, http: SocketAddr, grpc: SocketAddr) -> Target {
    Target { http, grpc, limit_bytes: LIMIT_BYTES, runtime: runtime.handle().clone() }
}

fn measure_liar(liar: Liar) -> Vec<Finding> {
    let runtime = Runtime::new().expect("a runtime");
    let address = runtime.block_on(liars::start(liar));
    report::run(&target(&runtime, address, address), &suite::probes())
}

fn passed(findings: &[Finding]) -> BTreeSet<&'static str> {
    let passed = findings.iter().filter(|finding| finding.outcome.is_ok());
    passed.map(|finding| finding.probe.id).collect()
}

#[test]
fn there_are_enough_probes_and_each_has_a_name_of_its_own() {
    let probes = suite::probes();
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
