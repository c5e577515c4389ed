//! Agents that roll out without pause, faults that follow some of it, and an operator who freezes
//! and thaws; all of them write down what they were told.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use watchdog_core::verdict::VerdictKind;

use super::Chance;
use super::books::{Books, Freeze, Permit};
use super::process::{Door, Told};
use super::world::World;

/// How long an agent looks after one rollout before it goes on to the next.
const LOOK_MAX: Duration = Duration::from_millis(1_500);
const PAUSE: Duration = Duration::from_millis(5);
/// Before a service is asked for again that was not allowed.
const WAIT: Duration = Duration::from_millis(30);

/// What all of them share.
#[derive(Debug)]
struct Office {
    door: Door,
    world: World,
    books: Mutex<Books>,
    stop: AtomicBool,
    is_doubtful: AtomicBool,
    changes: AtomicU64,
}

/// At work until [`Agents::stop`].
#[derive(Debug)]
pub struct Agents {
    office: Arc<Office>,
    threads: Vec<JoinHandle<()>>,
}

impl Agents {
    /// One agent a service, and one operator.
    pub fn start(services: &[String], door: &Door, chance: &mut Chance) -> Self {
        let office = Arc::new(Office {
            door: door.clone(),
            world: World::start(services, std::slice::from_ref(door)),
            books: Mutex::default(),
            stop: AtomicBool::new(false),
            is_doubtful: AtomicBool::new(false),
            changes: AtomicU64::new(0),
        });
        let mut threads = Vec::new();
        for service in services {
            let (office, service) = (Arc::clone(&office), service.clone());
            let mut chance = Chance(chance.below(u64::MAX));
            threads.push(std::thread::spawn(move || {
                let mut running = "r0".to_owned();
                while !office.stop.load(Ordering::Acquire) {
                    office.roll_out(&service, &mut running, &mut chance);
                    std::thread::sleep(PAUSE);
                }
            }));
        }
        let (shared, services) = (Arc::clone(&office), services.to_vec());
        let mut chance = Chance(chance.below(u64::MAX));
        threads.push(std::thread::spawn(move || {
            while !shared.stop.load(Ordering::Acquire) {
                shared.operate(&services, &mut chance);
            }
        }));
        Self { office, threads }
    }

    /// What they were told until now.
    pub fn told(&self) -> usize {
        self.office.books.lock().unwrap().decisions.len()
    }

    /// From here on, or no longer, answers show nothing and are not written down.
    pub fn doubt(&self, is_doubtful: bool) {
        let _books = self.office.books.lock().unwrap();
        self.office.is_doubtful.store(is_doubtful, Ordering::Release);
    }

    pub fn stop(self) -> Books {
        self.office.stop.store(true, Ordering::Release);
        for thread in self.threads {
            thread.join().expect("no agent panics");
        }
        std::mem::take(&mut *self.office.books.lock().unwrap())
    }
}

impl Office {
    /// One rollout, as far as it comes.
    fn roll_out(&self, service: &str, running: &mut String, chance: &mut Chance) {
        let change = self.changes.fetch_add(1, Ordering::Relaxed);
        let to = format!("r{}", change + 1);
        let body = json!({
            "change_id": format!("c-{change}"), "service": service, "from": running, "to": to,
            "digest": format!("sha256:{change}"), "agent": "a", "summary": "go on",
        });
        let Some(answer) = self.ask(service, "/v1/rollouts", &body) else { return };
        let id = answer["rollout"]["id"].as_str().unwrap_or_default().to_owned();
        let call = |verb: &str| format!("/v1/rollouts/{id}/{verb}");
        let abort = || self.ask(service, &call("abort"), &json!({"reason": "next one"}));
        let Some(epoch) = epoch_of(&answer) else {
            abort();
            self.clear_up(service);
            std::thread::sleep(WAIT);
            return;
        };
        let renewed = self.ask(service, &call("renew"), &json!({"epoch": epoch, "step": "1"}));
        let Some(epoch) = renewed.as_ref().and_then(epoch_of) else {
            abort();
            return;
        };
        let applied = self.ask(service, &call("applied"), &json!({"epoch": epoch}));
        if applied.is_none_or(|answer| answer["rollout"]["state"] != "baking") {
            abort();
            return;
        }
        self.world.runs(service, &to);
        let before = std::mem::replace(running, to);
        if chance.below(3) == 0 {
            self.world.sees(service, VerdictKind::TelemetryLost);
        }
        self.follow(service, &id, running, before);
    }

    /// Ends what earlier rollouts left behind: a kill leaves some with nobody who looks after them.
    fn clear_up(&self, service: &str) {
        let path = format!("/v1/rollouts?limit=20&service={service}");
        let Some(list) = self.door.call("agent", "GET", &path, &Value::Null) else { return };
        for rollout in list.body["items"].as_array().into_iter().flatten() {
            let path = |verb| format!("/v1/rollouts/{}/{verb}", rollout["id"].as_str().unwrap());
            match rollout["state"].as_str() {
                Some("held" | "allowed") => {
                    let body = json!({"reason": "left behind"});
                    self.door.call("agent", "POST", &path("abort"), &body);
                }
                Some("stuck" | "inconclusive") => {
                    let body = json!({"to": "confirmed", "reason": "seen to"});
                    self.door.call("operator", "POST", &path("settle"), &body);
                }
                Some(_) | None => {}
            }
        }
    }

    /// Looks after a rollout that was applied, and does what a revert at the target would.
    fn follow(&self, service: &str, id: &str, running: &mut String, before: String) {
        let begun = Instant::now();
        while begun.elapsed() < LOOK_MAX && !self.stop.load(Ordering::Acquire) {
            let path = format!("/v1/rollouts/{id}");
            let told = self.door.call("agent", "GET", &path, &Value::Null);
            match told.as_ref().and_then(|told| told.body["state"].as_str()) {
                Some("reverting") if *running != before => {
                    *running = before.clone();
                    self.world.runs(service, running);
                    self.world.sees(service, VerdictKind::Live);
                }
                Some("confirmed" | "reverted" | "aborted") => break,
                Some("stuck" | "inconclusive") => {
                    let body = json!({"to": "confirmed", "reason": "seen to"});
                    self.door.call("operator", "POST", &format!("{path}/settle"), &body);
                }
                Some(_) | None => {}
            }
            std::thread::sleep(PAUSE);
        }
        self.world.sees(service, VerdictKind::Live);
    }

    /// One call of an agent, written down.
    fn ask(&self, service: &str, path: &str, body: &Value) -> Option<Value> {
        let was_doubtful = self.is_doubtful.load(Ordering::Acquire);
        let Told { status, body, asked, read } = self.door.call("agent", "POST", path, body)?;
        if status != 200 {
            return None;
        }
        let mut books = self.books.lock().unwrap();
        if was_doubtful || self.is_doubtful.load(Ordering::Acquire) {
            return Some(body);
        }
        let decision = body["decision"].as_str().expect("an answer has a decision").to_owned();
        if let Some(id) = body["evidence_id"].as_str() {
            // What follows a request may answer by the state, and names the decision there was.
            let is_new = path == "/v1/rollouts" || !body["permit"].is_null();
            let decision = is_new.then_some(decision);
            books.decisions.push((id.to_owned(), decision));
        }
        if let Some(epoch) = epoch_of(&body) {
            books.permits.push(Permit { service: service.to_owned(), epoch, asked, read });
        }
        Some(body)
    }

    /// Freezes something, holds it for a while, and thaws it and what the gate froze itself.
    fn operate(&self, services: &[String], chance: &mut Chance) {
        let pick = usize::try_from(chance.below(services.len() as u64)).unwrap();
        let scope = match chance.below(4) {
            0 => "fleet".to_owned(),
            _ => format!("service={}", services[pick]),
        };
        let body = json!({"scope": scope, "reason": "stop"});
        let was_doubtful = self.is_doubtful.load(Ordering::Acquire);
        let Some(told) = self.door.call("operator", "POST", "/v1/freezes", &body) else {
            std::thread::sleep(PAUSE);
            return;
        };
        // 200: the same one was in force already.
        if told.status == 201 {
            let id = told.body["id"].as_str().expect("a freeze has an id").to_owned();
            let answered = told.read;
            let freeze = Freeze { id, scope, answered, thaw_sent: None };
            let mut books = self.books.lock().unwrap();
            if !was_doubtful && !self.is_doubtful.load(Ordering::Acquire) {
                books.freezes.push(freeze);
            }
        }
        std::thread::sleep(Duration::from_millis(chance.below(60)));
        let listed = self.door.call("operator", "GET", "/v1/freezes", &Value::Null);
        let Some(list) = listed.filter(|told| told.status == 200) else { return };
        let in_force = list.body["items"].as_array().cloned().unwrap_or_default();
        // One in eight stays, and is in force over the kills that follow.
        for freeze in in_force.iter().filter(|_| chance.below(8) > 0) {
            let id = freeze["id"].as_str().expect("a freeze has an id");
            self.books.lock().unwrap().thaws(id);
            let body = json!({"reason": "go on", "override": true});
            self.door.call("operator", "POST", &format!("/v1/freezes/{id}/thaw"), &body);
        }
        std::thread::sleep(Duration::from_millis(chance.below(40)));
    }
}

fn epoch_of(answer: &Value) -> Option<u64> {
    answer["permit"]["epoch"].as_u64()
}
