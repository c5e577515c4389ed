//! From silence to freeze, over 100 onsets: `cargo bench --bench onsets`.
//!
//! One real stack, 100 services that beat once a second, each with a rollout that bakes. Every half
//! second or so one of them goes blind while it works on. Measured is the time from its last good
//! arrival, by the clock of the service, to its freeze, by the clock of the gate; both are this
//! machine's wall clock. The promise is two beat periods + 250 ms, that is 2 250 ms.

#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on panics")]

#[path = "../tests/e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;
#[path = "../tests/e2e/service.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod service;
#[path = "../tests/e2e/stack.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod stack;

use std::collections::BTreeMap;
use std::time::Duration;

use stack::{Stack, wait};

const ONSETS: usize = 100;
const PERIOD: Duration = Duration::from_secs(1);
const PROMISE_MS: u64 = 2_250;

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let names: Vec<String> = (0..ONSETS).map(|index| format!("service-{index:03}")).collect();
    let mut policy = format!(
        "dwell_ms = 1000\nbake_ms = 600000\nfreeze_scope = \"service\"\npermit_ttl_ms = 60000\n\
         budget_start = {ONSETS}\nbudget_max = {ONSETS}\n"
    );
    for name in &names {
        policy.push_str(&format!(
            "[[service]]\nname = \"{name}\"\nbeat_interval_ms = 1000\nexpect = [\"traces\"]\n\
             revert = {{ exec = [\"/bin/true\"] }}\n"
        ));
    }
    let stack = Stack::start(&policy);
    let services: BTreeMap<&String, service::Service> =
        names.iter().map(|name| (name, stack.service_with_turn(name, "v1", PERIOD))).collect();
    for name in &names {
        stack.wait_verdict(name, "live", Duration::from_secs(30));
    }
    for (name, service) in &services {
        stack.bake(service, name, "v2");
    }
    eprintln!("{ONSETS} rollouts bake");

    for (index, service) in services.values().enumerate() {
        service.let_telemetry(false);
        // A step that shares no factor with the period visits every phase of it.
        let step = 437 + (index as u64 * 61) % 127;
        std::thread::sleep(Duration::from_millis(step));
    }
    let frozen = wait("every blind service is frozen", Duration::from_secs(30), || {
        let frozen = stack.freezes();
        (frozen.len() >= ONSETS).then_some(frozen)
    });
    let mut took: Vec<u64> = frozen
        .iter()
        .filter_map(|freeze| {
            let name = freeze["scope"].as_str()?.strip_prefix("service=")?.to_owned();
            let last = services.get(&name)?.last_post_ms()?;
            Some(freeze["at_ms"].as_u64()?.saturating_sub(last))
        })
        .collect();
    took.sort_unstable();
    report(&took);
}

fn report(took: &[u64]) {
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!("onsets        {}", took.len());
    println!("p50           {} ms", at(50));
    println!("p90           {} ms", at(90));
    println!("p99           {} ms", at(99));
    println!("max           {} ms", took[took.len() - 1]);
    let late = took.iter().filter(|ms| **ms > PROMISE_MS).count();
    println!("promise       {PROMISE_MS} ms, missed {late} times");
    assert_eq!(took.len(), ONSETS, "every onset was frozen");
}
