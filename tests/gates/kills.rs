//! `kill -9` of the gate at random points, with agents, faults, freezes and reverts under way.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::agents::Agents;
use super::process::{Gate, PATIENCE};
use super::{Chance, from_env, server, turn, wait};

pub const SERVICES: usize = 4;
/// What a killed gate's lease keeps the next one waiting for.
const LEASE_MS: u64 = 1_500;

/// Times that fit a life of a few hundred milliseconds.
const POLICY: &str = "[policy]
dwell_ms = 20
bake_ms = 60
permit_ttl_ms = 5000
evidence_min = 5
freeze_scope = \"service\"
appear_ms = 5000
gap_max_ms = 5000
revert_deadline_ms = 20000
revert_backoff_ms = 20
suspicion_window_ms = 1
budget_start = 8
budget_max = 8
";

#[test]
fn what_was_answered_survives_kills_at_random_points_on_sqlite() {
    let _turn = turn();
    kill_again_and_again("sqlite");
}

#[test]
fn what_was_answered_survives_kills_at_random_points_on_postgres() {
    let _turn = turn();
    if let Some(url) = server::database() {
        kill_again_and_again(&url);
    }
}

fn kill_again_and_again(store: &str) {
    let kills = from_env("HOLDPOINT_GATE_KILLS", 20);
    let mut chance = Chance::seeded();
    let home = tempfile::tempdir().expect("a directory");
    let services: Vec<String> = (0..SERVICES).map(|n| format!("s{n}")).collect();
    let mut gate = Gate::new(home.path(), &config(home.path(), store, &services));
    fs::create_dir(home.path().join("effects")).expect("it can be made");
    gate.start();
    let agents = Agents::start(&services, &gate.door(), &mut chance);
    let begun = Instant::now();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(chance.below(700)));
        gate.kill();
        if chance.below(4) == 0 {
            // Killed while it reads what the life before left.
            gate.spawn();
            std::thread::sleep(Duration::from_millis(chance.below(60)));
            gate.kill();
        }
        gate.start();
        leads(&gate);
        // A life in which nobody was told anything shows nothing.
        let before = agents.told();
        wait("somebody is told something", PATIENCE, || (agents.told() > before).then_some(()));
    }
    let books = agents.stop();
    let took = begun.elapsed();
    books.assert_kept(&gate.door());
    let reverts = assert_one_effect_each(home.path());
    gate.kill();
    let (code, said) = gate.verb(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    eprintln!(
        "{kills} kills in {took:.0?}: {} decisions, {} permits, {} freezes answered, {reverts} \
         reverts; {}",
        books.decisions.len(),
        books.permits.len(),
        books.freezes.len(),
        said.trim()
    );
    assert!(books.decisions.len() as u64 > 2 * kills, "there was load");
    assert!(!books.permits.is_empty() && !books.freezes.is_empty() && reverts > 0, "of all kinds");
}

pub fn leads(gate: &Gate) {
    let door = gate.door();
    wait("the gate decides", PATIENCE, || {
        door.get("/readyz").filter(|answer| answer.json()["status"] == "ready").map(|_| ())
    });
}

/// The target keeps what it did by the order's id, as one that is fenced does.
pub fn config(home: &Path, store: &str, services: &[String]) -> String {
    let script = format!(
        "[ -n \\\"$HOLDPOINT_DRY_RUN\\\" ] && exit 0; \
         echo $HOLDPOINT_ROLLOUT $HOLDPOINT_GENERATION $HOLDPOINT_EFFECT_ID >> {0}/orders; \
         mkdir {0}/effects/$HOLDPOINT_EFFECT_ID 2>/dev/null || exit 0; \
         echo $HOLDPOINT_ROLLOUT $HOLDPOINT_GENERATION $HOLDPOINT_EFFECT_ID >> {0}/reverts",
        home.display()
    );
    let mut text = format!(
        "[gate]\nlisten = \"127.0.0.1:0\"\nstore = \"{store}\"\nlease_ms = {LEASE_MS}\n\n{POLICY}"
    );
    for service in services {
        text.push_str(&format!(
            "\n[[service]]\nname = \"{service}\"\n\
             revert = {{ exec = [\"/bin/sh\", \"-c\", \"{script}\"], timeout_ms = 10000 }}\n"
        ));
    }
    text
}

/// Every generation of every revert has one order, and had one effect; their number.
fn assert_one_effect_each(home: &Path) -> usize {
    // A command outlives the gate that gave the order.
    let count = |name: &str| Some(fs::read_to_string(home.join(name)).ok()?.lines().count());
    let effects = || fs::read_dir(home.join("effects")).map_or(0, Iterator::count);
    wait("the last effect is written down", PATIENCE, || {
        (count("reverts").unwrap_or(0) == effects()).then_some(())
    });
    let lines = |name: &str| {
        let text = fs::read_to_string(home.join(name)).unwrap_or_default();
        let parts = |line: &str| {
            let mut parts = line.split(' ').map(str::to_owned);
            let mut next = || parts.next().expect("three words");
            ((next(), next()), next())
        };
        text.lines().map(parts).collect::<Vec<_>>()
    };
    let mut orders = BTreeMap::new();
    for (generation, effect) in lines("orders") {
        let known = orders.entry(generation.clone()).or_insert_with(|| effect.clone());
        assert_eq!(*known, effect, "two orders for one generation: {generation:?}");
    }
    let mut effects = BTreeMap::new();
    for (generation, effect) in lines("reverts") {
        let before = effects.insert(generation.clone(), effect);
        assert_eq!(before, None, "two effects of one generation: {generation:?}");
    }
    assert_eq!(effects, orders, "every order had its effect");
    effects.len()
}
