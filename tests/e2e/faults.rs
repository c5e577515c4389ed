//! A role dies or hangs while one rollout bakes and another is being applied.
//!
//! Whatever dies: no permit is granted or renewed meanwhile, what was frozen stays frozen, nothing
//! is confirmed over the gap, and the role runs again within seconds, its probes verified.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use super::lateness::Lateness;
use super::service::Service;
use super::stack::{Stack, wait};

/// Two beat periods and 250 ms: how long it may take until a fault is suspected.
const BOUND: Duration = Duration::from_millis(2 * 500 + 250);

/// `dwell_ms` of the policy, less what it takes to see the first and the last moment of it.
const DWELL: Duration = Duration::from_millis(800);

const POLICY: &str = "dwell_ms = 1000\nbake_ms = 600000\npermit_ttl_ms = 3000\nevidence_min = 20\n\
                      gap_max_ms = 60000\nbudget_start = 4\nrevert_deadline_ms = 60000";

/// A rollout of `a` that bakes, one of `b` that is being applied, and a freeze of `d`.
struct Scene {
    stack: Stack,
    services: Vec<Service>,
    baking: String,
    applying: String,
    epoch: u64,
    frozen: String,
}

impl Scene {
    fn set() -> Self {
        let stack = Stack::start(POLICY);
        let services: Vec<_> =
            ["a", "b", "c"].into_iter().map(|name| stack.service(name, "v1")).collect();
        for name in ["a", "b", "c"] {
            stack.wait_verdict(name, "live", Duration::from_secs(20));
        }
        let baking = stack.bake(&services[0], "a", "v2");
        let asked = stack.request("b", "v2", "b-v2", &["--wait", "20s"]);
        assert_eq!(asked.code, Some(0), "{asked:?}\n{}", stack.log());
        let applying = asked.json()["rollout"]["id"].as_str().unwrap().to_owned();
        let renewed = stack.cli(&["rollout", "renew", &applying]);
        assert_eq!(renewed.code, Some(0), "{renewed:?}");
        let epoch = renewed.json()["permit"]["epoch"].as_u64().unwrap();
        let frozen = stack.cli(&["freeze", "--scope", "service=d", "--reason", "a test"]);
        let frozen = frozen.json()["id"].as_str().expect("a freeze").to_owned();
        Self { stack, services, baking, applying, epoch, frozen }
    }

    /// Whether the gate renews the permit of `b`, or grants one to `c`, at this moment.
    fn is_granted(&mut self, with_request: bool) -> bool {
        let path = format!("/v1/rollouts/{}/renew", self.applying);
        let renewed = self.stack.gate("agent", "POST", &path, &json!({"epoch": self.epoch}));
        let mut permits = vec![renewed];
        if with_request {
            let body = json!({
                "change_id": "c-v2", "service": "c", "from": "v1", "to": "v2",
                "digest": "sha256:c-v2", "agent": "cli", "summary": "c: v1 to v2",
            });
            permits.push(self.stack.gate("agent", "POST", "/v1/rollouts", &body));
        }
        permits.into_iter().flatten().any(|answer| {
            let answer = answer.json();
            if let Some(epoch) = answer["rollout"]["epoch"].as_u64()
                && answer["rollout"]["id"] == self.applying.as_str()
            {
                self.epoch = epoch;
            }
            answer["permit"]["token"].is_string()
        })
    }

    /// Hits `role` with `signal` and watches until it runs again.
    fn survive(&mut self, role: &str, signal: Signal) {
        assert!(
            self.is_granted(false),
            "the permit is alive before the fault\n{}",
            self.stack.log()
        );
        let lateness = Lateness::watch();
        let hit = Instant::now();
        let old = self.stack.signal(role, signal);
        let mut grants = Vec::new();
        let healed = loop {
            let asked = hit.elapsed();
            if self.is_granted(asked > BOUND) {
                grants.push(asked);
            }
            if self.stack.pid(role).is_some_and(|pid| pid != old) && self.stack.is_ready(role) {
                break hit.elapsed();
            }
            assert!(asked < Duration::from_secs(30), "{role} did not return\n{}", self.stack.log());
            std::thread::sleep(Duration::from_millis(50));
        };
        let bound = BOUND + lateness.allowance();
        let late: Vec<_> = grants.iter().filter(|at| **at > bound && **at < healed).collect();
        assert!(late.is_empty(), "granted {late:?} after the fault\n{}", self.stack.log());
        wait("the probes are verified", Duration::from_secs(10), || {
            let verdict = self.stack.verdict("c")?;
            (verdict["probes"]["state"] == "returning").then_some(())
        });
        let verified = hit.elapsed();
        println!(
            "{role} {signal:?}: runs after {healed:?}, probes verified after {verified:?}, \
             granted at {grants:?}; then a is {:?}, b is {:?}, {} freezes",
            self.stack.state(&self.baking),
            self.stack.state(&self.applying),
            self.stack.freezes().len(),
        );
        assert!(verified < Duration::from_secs(10), "verified only after {verified:?}");
        self.check_safe();
    }

    /// A gate or watchdog that starts knows nothing: even a new request is held for a dwell.
    fn dwell_before_grant(&self) {
        let restarted = Instant::now();
        let limit = Duration::from_secs(20);
        wait("a new request is allowed again", limit, || {
            let asked = self.stack.request("c", "v2", "c-v2", &[]);
            assert_ne!(asked.code, Some(1), "{asked:?}");
            (asked.code == Some(0)).then_some(())
        });
        let held = restarted.elapsed();
        assert!(held >= DWELL, "allowed only {held:?} after the restart\n{}", self.stack.log());
        self.check_safe();
    }

    /// What was frozen is frozen, and nothing that spans the gap is confirmed.
    fn check_safe(&self) {
        let frozen = self.stack.freezes();
        assert!(frozen.iter().any(|freeze| freeze["id"] == self.frozen.as_str()), "{frozen:?}");
        assert_ne!(self.stack.state(&self.baking).as_deref(), Some("confirmed"));
        let denied = self.stack.request("d", "v2", "d-v2", &[]);
        assert_ne!(denied.code, Some(0), "{denied:?}");
    }
}

fn story(role: &str, signal: Signal) -> Scene {
    let mut scene = Scene::set();
    scene.survive(role, signal);
    scene
}

/// All services come back into sight.
fn seen_again(scene: &Scene) {
    for service in ["a", "b", "c"] {
        scene.stack.wait_verdict(service, "live", Duration::from_secs(20));
    }
    scene.check_safe();
    assert_eq!(scene.services.len(), 3);
}

#[test]
fn a_killed_collector_is_back_at_once_and_nothing_was_granted_meanwhile() {
    seen_again(&story("collector", Signal::KILL));
}

#[test]
fn a_hung_collector_is_killed_and_back_in_seconds() {
    seen_again(&story("collector", Signal::STOP));
}

#[test]
fn a_killed_watchdog_holds_the_gate_until_it_sees_again() {
    story("watchdog", Signal::KILL).dwell_before_grant();
}

#[test]
fn a_hung_watchdog_holds_the_gate_until_it_sees_again() {
    story("watchdog", Signal::STOP).dwell_before_grant();
}

#[test]
fn a_killed_gate_starts_held_with_its_freezes() {
    story("gate", Signal::KILL).dwell_before_grant();
}

#[test]
fn a_hung_gate_is_killed_and_starts_held_with_its_freezes() {
    story("gate", Signal::STOP).dwell_before_grant();
}
