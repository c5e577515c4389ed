//! What a decision costs while decisions are many and the fleet is big:
//! `cargo bench -p agent-gate --bench decisions`.
//!
//! A gate in a process of its own, on SQLite, called over loopback. 2 000 calls a second are due at
//! fixed times whatever becomes of the earlier ones (an open loop), and a call's time runs from
//! when it was due, so a gate that stalls is charged for all who would have asked meanwhile. Beside
//! them 100 watchdogs attest 100 services each, once a second, signed. Then the gate is killed, and
//! its store must hold every decision that was answered.
//!
//! `DECISIONS_SECONDS` (20), `DECISIONS_RATE` (2 000), `DECISIONS_WATCHDOGS` (100) and
//! `DECISIONS_DIRECTORY` (where the store lies) change what is measured. What the disk takes to
//! sync is measured before and after, because every decision waits for it.
//!
//! Invariant: only answers of the kind that was expected count; any other is shown.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

#[path = "decisions/disk.rs"]
mod disk;
#[path = "decisions/gate.rs"]
mod gate;
#[path = "decisions/load.rs"]
mod load;
#[path = "decisions/mix.rs"]
mod mix;
#[path = "decisions/watch.rs"]
mod watch;

use std::time::Duration;

use gate::{Figures, Gate};
use load::{Client, Times};
use mix::{Kind, Mix};

/// Services that each watchdog attests.
const SERVICES_EACH: usize = 100;
const WARM_UP: Duration = Duration::from_secs(3);

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let watchdogs = usize::try_from(setting("DECISIONS_WATCHDOGS", 100)).unwrap();
    if let Some(directory) = std::env::var_os(gate::ROLE) {
        return gate::serve(directory.as_ref(), watchdogs, SERVICES_EACH);
    }
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let seconds = Duration::from_secs(setting("DECISIONS_SECONDS", 20));
    let rate = setting("DECISIONS_RATE", 2_000);
    let place = std::env::var_os("DECISIONS_DIRECTORY").unwrap_or_else(|| ".".into());
    let directory = tempfile::tempdir_in(place).unwrap();
    let sync_before = disk::sync_times(directory.path());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    let _guard = runtime.enter();
    let mut gate = Gate::start(directory.path(), watchdogs);
    let client = Client::of(gate.address);
    let watch = watch::start(&client, watchdogs, SERVICES_EACH);
    let mix = runtime.block_on(Mix::prepare(&client, watchdogs * SERVICES_EACH));
    eprintln!("ready; {rate} calls a second for {} s", seconds.as_secs());

    load::run(&client, &mix, rate, WARM_UP);
    mix.forget();
    watch.forget();
    let before = runtime.block_on(gate.figures(&client));
    let lateness = load::run(&client, &mix, rate, seconds);
    let after = runtime.block_on(gate.figures(&client));
    let attested = watch.stop();
    let answered = mix.newest_evidence();
    gate.kill();
    drop(client);
    let kept = runtime.block_on(disk::decisions_kept(directory.path()));
    let sync_after = disk::sync_times(directory.path());

    report_calls(&mix, lateness);
    println!("{:<22}{attested}", "attestations");
    report_gate(&before, &after);
    println!("{:<22}{sync_before}", "sync of 64 KiB before");
    println!("{:<22}{sync_after}", "sync of 64 KiB after");
    println!("{:<22}newest answered {answered}, newest kept {kept}", "after kill -9");
    assert!(answered <= kept, "a decision was answered and is not in the store");
}

fn report_calls(mix: &Mix, lateness: Times) {
    println!("{:<22}{lateness}", "load itself late");
    for kind in Kind::ALL {
        println!("{:<22}{}", kind.as_str(), mix.times(kind));
    }
    println!("{:<22}{}", "all calls", mix.all_times());
    for (what, times) in mix.unexpected() {
        println!("unexpected            {times} × {what}");
    }
}

fn report_gate(before: &Figures, after: &Figures) {
    let passed = (after.at - before.at).as_secs_f64();
    let commits = after.commits - before.commits;
    let steps = after.steps - before.steps;
    println!(
        "gate                  {:.1} % of a core, {:.1} MiB resident, {:.0} commits a second, \
         {:.2} steps a commit, {:.2} ms a commit, {:.1} MiB written a second",
        (after.cpu_s - before.cpu_s) / passed * 100.0,
        after.resident_mib,
        commits / passed,
        steps / commits,
        (after.commit_s - before.commit_s) / commits * 1000.0,
        (after.written_mib - before.written_mib) / passed,
    );
}
