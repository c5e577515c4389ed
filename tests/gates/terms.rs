//! Three gates on one PostgreSQL that are paused past their lease and cut off from the database.
//!
//! Each gate reaches the database by a way of its own. In every round the one that decides is
//! paused or cut off; another takes over, and a freeze is made on it; then the first comes back,
//! with whatever it was in the middle of.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::process::{Door, Gate, PATIENCE};
use super::proxy::Proxy;
use super::world::World;
use super::{Chance, from_env, server, turn, wait};

const LEASE: Duration = Duration::from_millis(3_000);
/// What a busy machine adds to any of it.
const SLACK: Duration = Duration::from_millis(1_500);
const SERVICE: &str = "s0";
const GATES: usize = 3;

/// A permit, by which gate, and when it was read.
type Granted = (usize, u64, Instant);

/// What the busy callers were told.
#[derive(Debug, Default)]
struct Told {
    granted: Mutex<Vec<Granted>>,
    frozen: Mutex<Vec<String>>,
    stop: AtomicBool,
}

struct Fleet {
    gates: Vec<Gate>,
    ways: Vec<Proxy>,
    url: String,
    told: Arc<Told>,
    /// Freezes that were answered and that nobody thaws.
    standing: Vec<String>,
}

#[test]
fn a_gate_whose_turn_is_over_writes_nothing_and_grants_nothing() {
    let _turn = turn();
    let rounds = from_env("HOLDPOINT_GATE_TERMS", 4);
    let Some(url) = server::database() else { return };
    let mut chance = Chance::seeded();
    let home = tempfile::tempdir().expect("a directory");
    let mut fleet = Fleet::start(home.path(), &url);
    let doors: Vec<Door> = fleet.gates.iter().map(Gate::door).collect();
    let world = World::start(&[SERVICE.to_owned()], &doors);
    let callers: Vec<_> = (0..GATES).map(|at| fleet.busy(at)).collect();
    let mut took = Vec::new();
    for round in 0..rounds {
        took.push(fleet.round(round, &mut chance));
    }
    fleet.told.stop.store(true, Ordering::Release);
    for caller in callers {
        caller.join().expect("no caller panics");
    }
    drop(world);
    took.sort_unstable();
    let granted = fleet.told.granted.lock().unwrap().len();
    let frozen = fleet.told.frozen.lock().unwrap().clone();
    eprintln!(
        "{rounds} turns taken over in {:.2?} to {:.2?} (lease {LEASE:?}); {granted} permits, {} \
         freezes answered",
        took[0],
        took[took.len() - 1],
        frozen.len()
    );
    assert!(granted > 0 && !frozen.is_empty(), "there was something to lose");
    fleet.standing.extend(frozen);
    fleet.decides();
    fleet.assert_all_stand();
    fleet.assert_terms(rounds);
    let (code, said) = fleet.gates[0].verb(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
}

impl Fleet {
    fn start(home: &std::path::Path, url: &str) -> Self {
        let (before, rest) = url.split_once('@').expect("a URL with a user");
        let (host, name) = rest.split_once('/').expect("a URL with a database");
        let database: SocketAddr = host.parse().expect("an address");
        let ways: Vec<Proxy> = (0..GATES).map(|_| Proxy::start(database)).collect();
        let gate = |at: usize| {
            let way = format!("{before}@{}/{name}", ways[at].address);
            Gate::new(&home.join(format!("gate{at}")), &config(&way))
        };
        let mut gates: Vec<Gate> = (0..GATES).map(gate).collect();
        gates[0].start();
        for at in 1..GATES {
            gates[at].shares(&gates[0]);
            gates[at].start();
        }
        let told = Arc::default();
        Self { gates, ways, url: url.to_owned(), told, standing: Vec::new() }
    }

    /// One that freezes and asks for permits at gate `at` without pause, whatever it says.
    fn busy(&self, at: usize) -> std::thread::JoinHandle<()> {
        let (door, told) = (self.gates[at].door(), Arc::clone(&self.told));
        std::thread::spawn(move || {
            for turn in 0.. {
                if told.stop.load(Ordering::Acquire) {
                    return;
                }
                let scope = format!("agent=g{at}-{turn}");
                let body = json!({"scope": scope, "reason": "nobody thaws it"});
                let answer = door.call("agent", "POST", "/v1/freezes", &body);
                if let Some(answer) = answer.filter(|answer| answer.status == 201) {
                    let id = answer.body["id"].as_str().expect("an id").to_owned();
                    told.frozen.lock().unwrap().push(id);
                }
                let body = json!({
                    "change_id": format!("c{at}-{}", turn / 8), "service": SERVICE, "from": "r0",
                    "to": "r1", "digest": "sha256:1", "agent": format!("a{at}"), "summary": "on",
                });
                let answer = door.call("agent", "POST", "/v1/rollouts", &body);
                if let Some(answer) = answer
                    && let Some(epoch) = answer.body["permit"]["epoch"].as_u64()
                {
                    told.granted.lock().unwrap().push((at, epoch, answer.read));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        })
    }

    /// The gate that decides, once there is one.
    fn decides(&self) -> usize {
        wait("a gate decides", PATIENCE, || (0..GATES).find(|at| is_ready(&self.gates[*at])))
    }

    /// How long nobody decided.
    fn round(&mut self, round: u64, chance: &mut Chance) -> Duration {
        let old = self.decides();
        let told = Arc::clone(&self.told);
        let before = told.granted.lock().unwrap().len();
        wait("a permit is granted", PATIENCE, || {
            (told.granted.lock().unwrap().len() > before).then_some(())
        });
        let is_paused = chance.below(2) == 0;
        let begun = Instant::now();
        if is_paused {
            self.gates[old].signal(Signal::STOP);
        } else {
            self.ways[old].cut();
        }
        let others = (0..GATES).filter(|at| *at != old).collect::<Vec<_>>();
        let new = wait("another takes over", PATIENCE, || {
            others.iter().copied().find(|at| is_ready(&self.gates[*at]))
        });
        let took = begun.elapsed();
        assert!(took <= 2 * LEASE + SLACK, "round {round}: nobody decided for {took:?}");
        let fleet = self.freeze(new, "fleet");
        let frozen = Instant::now();
        std::thread::sleep(Duration::from_millis(chance.below(1_500)));
        if is_paused {
            self.gates[old].signal(Signal::CONT);
        } else {
            self.ways[old].mend();
        }
        self.comes_back(old);
        self.asks_any(old);
        // It is in force wherever one asks, and whoever was late got nothing.
        self.assert_all_stand();
        let late: Vec<Granted> = told.granted.lock().unwrap().clone();
        let late: Vec<_> = late.iter().filter(|(_, _, read)| *read > frozen).collect();
        assert!(late.is_empty(), "round {round}: granted while the fleet was frozen: {late:?}");
        let body = json!({"reason": "the next round", "override": true});
        self.standing.retain(|id| *id != fleet);
        let path = format!("/v1/freezes/{fleet}/thaw");
        wait("it is thawed", PATIENCE, || {
            let thawed = self.gates[new].door().call("operator", "POST", &path, &body)?;
            (thawed.status == 200).then_some(())
        });
        took
    }

    fn freeze(&mut self, at: usize, scope: &str) -> String {
        let body = json!({"scope": scope, "reason": "stop"});
        let told = wait("it is frozen", PATIENCE, || {
            let told = self.gates[at].door().call("operator", "POST", "/v1/freezes", &body)?;
            matches!(told.status, 200 | 201).then_some(told)
        });
        let id = told.body["id"].as_str().expect("an id").to_owned();
        self.standing.push(id.clone());
        id
    }

    /// The gate that was away stands by, or has ended with an error and is started again. On a
    /// machine that stands still it may even have a new turn by then.
    fn comes_back(&mut self, at: usize) {
        wait("it knows whose turn it is", PATIENCE, || {
            if let Some(status) = self.gates[at].ended() {
                assert!(!status.success(), "a gate that loses its store says so");
                self.gates[at].start();
            }
            let answer = self.gates[at].door().get("/readyz")?;
            (answer.status == 200).then_some(())
        });
    }

    /// Also the gate that stands by has an answer to what another decides.
    fn asks_any(&self, at: usize) {
        let body = json!({
            "change_id": "c-any", "service": SERVICE, "from": "r0", "to": "r1",
            "digest": "sha256:1", "agent": "any", "summary": "frozen by another gate",
        });
        let told = wait("any gate has a decision", PATIENCE, || {
            let told = self.gates[at].door().call("agent", "POST", "/v1/rollouts", &body)?;
            (told.status == 200).then_some(told)
        });
        assert_eq!(told.body["decision"], "deny", "{}", told.body);
        let told = wait("any gate shows what is seen", PATIENCE, || {
            let told = self.gates[at].door().call("viewer", "GET", "/v1/services", &Value::Null)?;
            (told.status == 200).then_some(told)
        });
        assert_eq!(told.body["items"][0]["service"], SERVICE, "{}", told.body);
    }

    /// Every gate shows every freeze that was answered.
    fn assert_all_stand(&self) {
        for gate in &self.gates {
            let shown = gate.door().call("viewer", "GET", "/v1/freezes", &Value::Null);
            let shown = shown.expect("every gate answers reads");
            assert_eq!(shown.status, 200, "{}", shown.body);
            let items = shown.body["items"].as_array().expect("a list").clone();
            for id in &self.standing {
                let is_shown = items.iter().any(|item| item["id"] == **id);
                assert!(is_shown, "freeze {id} is lost at {gate:?}");
            }
        }
    }

    /// In the order of the journal terms only grow, and each has one writer.
    fn assert_terms(&self, rounds: u64) {
        let sql = "DO $$ BEGIN
            IF EXISTS (SELECT FROM (SELECT term, lag(term) OVER (ORDER BY seq) AS before
                       FROM holdpoint.audit) AS rows WHERE term < before)
            OR EXISTS (SELECT FROM (SELECT term, lag(term) OVER (ORDER BY place) AS before
                       FROM holdpoint.decisions) AS rows WHERE term < before)
            THEN RAISE 'a write of an old term'; END IF; END $$";
        server::sql(&self.url, sql);
        let sql = format!(
            "DO $$ BEGIN IF (SELECT count(DISTINCT term) FROM holdpoint.audit) <= {rounds}
             THEN RAISE 'there were fewer turns than rounds'; END IF; END $$"
        );
        server::sql(&self.url, &sql);
    }
}

/// Whether it decides itself.
fn is_ready(gate: &Gate) -> bool {
    gate.door().get_soon("/readyz").is_some_and(|answer| answer.json()["status"] == "ready")
}

fn config(store: &str) -> String {
    format!(
        "[gate]\nlisten = \"127.0.0.1:0\"\nstore = \"{store}\"\nlease_ms = {}\n\n\
         [policy]\ndwell_ms = 20\npermit_ttl_ms = 60000\nbudget_start = 8\nbudget_max = 8\n\n\
         [[service]]\nname = \"{SERVICE}\"\nrevert = {{ exec = [\"/bin/true\"] }}\n",
        LEASE.as_millis()
    )
}
