//! The missing-signal conformance suite at full size:
//! `cargo bench -p agent-gate-core --bench missing_signals`.
//!
//! 28 faults x 3 phases x 1 000 seeds, each in a world of its own with the real watchdog and gate
//! cores, beside the re-stated rules of others; then 10 000 healthy rollouts. It prints the tables
//! and fails if a fault is waved through that no known gap explains, or if more than one healthy
//! rollout in two hundred is held or taken back. `SEEDS` and `HEALTHY` change the numbers.

#![cfg(not(loom))]

#[path = "../tests/missing_signals/chance.rs"]
mod chance;
#[path = "../tests/missing_signals/collector.rs"]
mod collector;
#[path = "../tests/missing_signals/fault.rs"]
mod fault;
#[path = "../tests/missing_signals/gated.rs"]
mod gated;
#[path = "../tests/missing_signals/peers.rs"]
mod peers;
#[path = "../tests/missing_signals/plan.rs"]
mod plan;
#[path = "../tests/missing_signals/service.rs"]
mod service;
#[path = "../tests/missing_signals/table.rs"]
mod table;
#[path = "../tests/missing_signals/trial.rs"]
mod trial;

use std::time::Instant;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let begin = Instant::now();
    let cells = table::faulty(number("SEEDS", 1_000));
    println!("{}\n{}", table::beside_the_peers(&cells), table::ours(&cells));
    let trials: u64 = cells.values().map(|cell| cell.trials).sum();
    let waved: usize = cells.values().map(|cell| cell.waved.len()).sum();
    let known: usize = cells.values().map(|cell| cell.known.len()).sum();
    println!("{trials} faulty trials in {:.0?}: {waved} waved through", begin.elapsed());
    println!("of these {known} by a known gap");
    for (why, count) in gaps(&cells) {
        println!("  {count}: {why}");
    }
    let begin = Instant::now();
    let healthy = table::healthy(number("HEALTHY", 10_000));
    println!(
        "{} healthy rollouts in {:.0?}: {} confirmed, {} froze, not confirmed: {:?}",
        healthy.trials,
        begin.elapsed(),
        healthy.confirmed,
        healthy.froze,
        healthy.bad
    );
    let new = table::unexpected(&cells);
    assert!(new.is_empty(), "waved through, by fault, phase and seeds: {new:#?}");
    assert_eq!(table::frozen_idle(&cells), [], "idle is no fault");
    assert!(200 * (healthy.trials - healthy.confirmed) <= healthy.trials, "false alarms");
}

fn gaps(cells: &table::Cells) -> std::collections::BTreeMap<&'static str, usize> {
    let mut gaps = std::collections::BTreeMap::new();
    for why in cells.values().flat_map(|cell| cell.known.values()) {
        *gaps.entry(*why).or_default() += 1;
    }
    gaps
}
