//! A gate that holds what it took, told by a watchdog of few and of ten thousand services.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchdog_core::attestation::Attestation;
use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::Instance;
use watchdog_core::tally::{Flow, SignalTally, TallyPage, TallyRow};
use watchdog_core::verdict::Verdict;
use watchdog_core::watch::{Event, Watch, WatchConfig};

use super::*;

/// What the gate takes at once.
const BODY_BYTES_MAX: usize = 1024 * 1024;

struct Scene {
    watch: Watch,
    now: u64,
    seq: u64,
    told: Told,
    /// Whether beats are signed.
    signed: bool,
    /// The gate: the last that it took, and what it holds.
    taken: Option<u64>,
    held: BTreeMap<Service, Verdict>,
}

impl Scene {
    fn new(services: usize) -> Self {
        let now = 1_000_000;
        let mut scene = Self {
            watch: Watch::new(WatchConfig::default(), Vec::new(), Tick(now)),
            now,
            seq: 0,
            told: Told::default(),
            signed: false,
            taken: None,
            held: BTreeMap::new(),
        };
        (0..services).for_each(|n| scene.beat(n));
        scene.watch.step(Event::Turn, Tick(now));
        scene
    }

    fn beat(&mut self, service: usize) {
        let body = BeatBody {
            instance: Instance::new("i").expect("a valid name"),
            boot: Boot::new("1000-a").expect("a valid name"),
            seq: self.now,
            token: Token::Number(self.now),
            requests: None,
            errors: None,
            revision: None,
            leaving: false,
        };
        let (service, authenticated) = (name(service), self.signed);
        let event = Event::BeatHeard { service, body, authenticated, told: 1 };
        self.watch.step(event, Tick(self.now));
    }

    /// Every service has exported `arrivals` times so far.
    fn export(&mut self, services: usize, arrivals: u64) {
        let row = |n| TallyRow {
            service: name(n),
            instance: Some(Instance::new("i").expect("a valid name")),
            revision: None,
            traces: Some(SignalTally {
                arrivals,
                records: arrivals,
                changes: arrivals,
                last_age_ms: 0,
                late_ms: None,
            }),
            metrics: None,
            logs: None,
            red: None,
            particulars: None,
        };
        let page = TallyPage {
            boot: Boot::new("1000-c").expect("a valid name"),
            cursor: arrivals,
            rows: (0..services).map(row).collect(),
            echoes: Vec::new(),
            flow: Flow {
                received: 0,
                forwarded: 0,
                refused: 0,
                dropped: 0,
                dropped_by_rule: 0,
                queued: 0,
                backend: false,
                last_forward_age_ms: None,
            },
        };
        self.watch.step(Event::TallyRead { page }, Tick(self.now));
    }

    fn turn(&mut self, ms: u64) {
        self.now += ms;
        self.watch.step(Event::Turn, Tick(self.now));
    }

    fn snapshot(&mut self) -> Snapshot {
        self.seq += 1;
        let boot = Boot::new("1000-w").expect("a valid name");
        Snapshot {
            watchdog: "w".into(),
            boot,
            seq: self.seq,
            at: Tick(self.now),
            mass_silence: false,
            probes: Vec::new(),
            readback: Vec::new(),
            backdrop: self.watch.backdrop(Tick(self.now)),
            items: self.watch.show(),
            whole: true,
            stood_ms: None,
            liveness: Arc::default(),
        }
    }

    /// Sends one attestation; says how many services it named.
    fn attest(&mut self) -> usize {
        let snapshot = self.snapshot();
        let mut part = self.told.part(&snapshot, 1_000).expect("it can be written");
        assert!(part.body.len() < BODY_BYTES_MAX, "{} bytes", part.body.len());
        let said: Attestation =
            serde_json::from_slice(&std::mem::take(&mut part.body)).expect("an attestation");
        if said.base.is_some() && said.base != self.taken {
            self.told.refused();
            return 0;
        }
        if said.base.is_none() {
            self.held.clear();
        }
        let named = said.items.len();
        self.held.extend(said.items.into_iter().map(|v| (v.service.clone(), v)));
        self.taken = Some(said.seq);
        self.told.taken(part);
        named
    }
}

fn name(n: usize) -> Service {
    Service::new(format!("service-{n:05}")).expect("a valid name")
}

#[test]
fn a_small_fleet_is_told_as_a_whole_each_time() {
    let mut scene = Scene::new(WHOLE_MAX);
    for _ in 0..3 {
        assert_eq!(scene.attest(), WHOLE_MAX);
        assert_eq!(scene.told.base, Some(scene.seq));
    }
}

#[test]
fn ten_thousand_services_are_told_within_seconds_and_cost_nothing_while_nothing_changes() {
    let mut scene = Scene::new(10_000);
    let rounds = (1..).find(|_| scene.attest() == 0).expect("it comes to an end");
    assert!(rounds <= 12, "three seconds at four a second, and not {rounds} rounds");
    assert_eq!(scene.held.len(), 10_000);
    assert_eq!(scene.attest(), 0, "nothing has changed");
}

#[test]
fn a_new_verdict_is_told_at_once_and_more_evidence_in_turn() {
    let mut scene = Scene::new(10_000);
    scene.export(10_000, 1);
    scene.turn(0);
    while scene.attest() > 0 {}
    // All but one beat again: more is known of them, and the one is suspected.
    scene.now += 1_500;
    (0..10_000).filter(|n| *n != 7_777).for_each(|n| scene.beat(n));
    scene.export(10_000, 2);
    scene.turn(0);
    while scene.attest() > 0 {}
    scene.turn(1_200);
    let before = scene.held[&name(7_777)].verdict;
    scene.attest();
    let after = &scene.held[&name(7_777)];
    assert_ne!(after.verdict, before, "{after:?}");
    assert_eq!(after.verdict, VerdictKind::HeartbeatLost);
    scene.now += 300;
    scene.signed = true;
    (0..10_000).for_each(|n| scene.beat(n));
    scene.turn(0);
    let fresh =
        |scene: &Scene| scene.held.values().filter(|verdict| verdict.beats.authenticated).count();
    assert_eq!(fresh(&scene), 0, "not told yet");
    let rounds = (1..).find(|_| scene.attest() == 0).expect("it comes to an end");
    assert!(fresh(&scene) == 10_000, "{}", fresh(&scene));
    assert!(rounds <= 50, "{rounds}");
}

#[test]
fn a_gate_that_holds_nothing_is_told_from_the_beginning() {
    let mut scene = Scene::new(1_000);
    while scene.attest() > 0 {}
    scene.held.clear();
    scene.taken = None;
    assert_eq!(scene.attest(), 0, "it refuses what goes on from what it does not hold");
    while scene.attest() > 0 {}
    assert_eq!(scene.held.len(), 1_000);
}
