//! Harmful configurations: one that drops every span while the process is healthy, and one that
//! cannot start. Both are healed to the last one that was proven, and neither ever becomes it.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use super::http;
use super::stack::{Stack, wait};

/// Short enough for a test, longer than a probe that is on its way may still prove.
const POLICY: &str = "dwell_ms = 1000\n[watchdog.healing]\ndwell_ms = 2500";
const DROPS_ALL: &str = "\n[[collector.drop]]\nsignal = \"traces\"\n\
                         resource = { \"service.name\" = \"*\" }\n";

impl Stack {
    fn in_force(&self) -> Option<String> {
        let at = self.address("collector", "admin")?;
        let text = http::get(at, "/v1/config")?.json()["sha256"].as_str()?.to_owned();
        Some(text)
    }

    fn known_good(&self) -> Option<String> {
        let text = fs::read(self.data().join("known-good.json")).ok()?;
        let note: Value = serde_json::from_slice(&text).ok()?;
        note["sha256"].as_str().map(str::to_owned)
    }

    fn probes_of(&self, signal: &str) -> Option<String> {
        let at = self.address("watchdog", "listen")?;
        let page = http::get(at, "/v1/verdicts")?.json();
        page["probes"][signal]["state"].as_str().map(str::to_owned)
    }

    fn are_probes_back(&self) -> bool {
        let returning = |signal: &&str| self.probes_of(signal).as_deref() == Some("returning");
        ["traces", "metrics", "logs"].iter().all(returning)
    }

    fn config_text(&self) -> String {
        fs::read_to_string(self.dir.path().join("holdpoint.toml")).expect("it is there")
    }

    fn write_config(&self, text: &str) {
        fs::write(self.dir.path().join("holdpoint.toml"), text).expect("it can be written");
    }

    fn proven() -> (Self, String) {
        let stack = Self::start(POLICY);
        let good =
            wait("the configuration is proven", Duration::from_secs(30), || stack.known_good());
        assert_eq!(stack.in_force().as_ref(), Some(&good), "{}", stack.log());
        (stack, good)
    }
}

#[test]
fn a_configuration_that_drops_every_span_is_found_in_five_seconds_and_healed() {
    let (stack, good) = Stack::proven();
    let text = stack.config_text();
    let pid = stack.pid("collector").expect("it runs");
    stack.write_config(&format!("{text}{DROPS_ALL}"));
    let began = wait("it is in force", Duration::from_secs(10), || {
        let now = Instant::now();
        stack.in_force().filter(|hash| *hash != good).map(|_| now)
    });
    wait("it is found", Duration::from_secs(10), || {
        (stack.probes_of("traces").as_deref() == Some("lost")).then_some(())
    });
    let found = began.elapsed();
    assert_eq!(stack.pid("collector"), Some(pid), "the process was healthy all the while");
    wait("it is healed", Duration::from_secs(20), || {
        let another = stack.pid("collector").is_some_and(|now| now != pid);
        (another && stack.are_probes_back()).then_some(())
    });
    let healed = began.elapsed();
    println!("found after {} ms, healed after {} ms", found.as_millis(), healed.as_millis());
    assert!(found < Duration::from_secs(5), "{found:?}");
    assert_eq!(stack.in_force().as_ref(), Some(&good), "{}", stack.log());
    assert_eq!(stack.known_good(), Some(good.clone()), "what fell is not known good");

    // A file that is mended is taken, without a restart by hand.
    stack.write_config(&format!("{text}\n# mended\n"));
    let mended = wait("the mended file is in force", Duration::from_secs(20), || {
        stack.in_force().filter(|hash| *hash != good)
    });
    wait("it is proven", Duration::from_secs(20), || {
        (stack.known_good().as_ref() == Some(&mended)).then_some(())
    });
}

#[test]
fn a_configuration_that_cannot_start_never_becomes_known_good() {
    let (stack, good) = Stack::proven();
    let text = stack.config_text();
    stack.write_config(&text.replacen("[collector]\n", "[collector]\nno_such_key = 1\n", 1));
    let pid = stack.signal("collector", Signal::KILL);
    stack.wait_restarted("collector", pid, Duration::from_secs(20));
    wait("probes come back", Duration::from_secs(20), || stack.are_probes_back().then_some(()));
    assert_eq!(stack.in_force().as_ref(), Some(&good), "{}", stack.log());
    // Longer than a dwell: what is proven now is what was proven before.
    std::thread::sleep(Duration::from_millis(3_500));
    assert_eq!(stack.known_good(), Some(good.clone()));
    assert!(stack.log().contains("goes back to the last one"), "{}", stack.log());
}
