//! The verdict loop under a clock that the tests turn by hand: stalls, steps and their order.

use std::sync::atomic::{AtomicU64, Ordering};

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Service};
use watchdog_core::tally::{Flow, Signal, SignalTally, TallyPage, TallyRow};
use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::{COLLECTOR_SERVICE, WatchConfig};

use super::*;
use crate::driver::Clock;
use crate::publish;

const STEP_MS: u64 = 50;
/// When an old snapshot proves nothing any more.
const STALE_MS: u64 = 750;

/// The clock of those who read; the loop is handed its time.
#[derive(Debug, Default)]
struct HandTurned(AtomicU64);

impl Clock for HandTurned {
    fn now(&self) -> Tick {
        Tick(self.0.load(Ordering::Relaxed))
    }

    fn wall_ns(&self) -> u64 {
        0
    }
}

/// A loop, its channels, and a world in which everything is well.
struct Rig {
    turns: Turns,
    reader: Reader,
    clock: Arc<HandTurned>,
    metrics: Metrics,
    orders: mpsc::Receiver<Conviction>,
    now: Tick,
    wall_ahead_ms: u64,
    seq: u64,
}

impl Rig {
    fn new() -> Self {
        let boot = Boot::new("1").expect("a valid boot");
        let clock = Arc::new(HandTurned::default());
        let (publisher, reader) =
            publish::channel("w".into(), boot.clone(), Arc::clone(&clock) as _, STALE_MS);
        let metrics = Metrics::default();
        metrics.watch(reader.clone());
        let (order, orders) = mpsc::channel(1);
        let (_custody, held) =
            watch::channel(Custody::Running { pid: 1, boot: Some(boot.clone()) });
        let (probes, _proven) = watch::channel(false);
        let now = Tick(1_000_000);
        let config =
            WatchConfig { beat_interval_ms: 100, suspect_floor_ms: 100, ..WatchConfig::default() };
        let around = Surroundings {
            publisher,
            reader: reader.clone(),
            metrics: metrics.clone(),
            interval_ms: 250,
            proof_ms: 1_000,
            orders: order,
            custody: held,
            probes,
            kicks: Kicks::default(),
            memory: watch::channel(Vec::new()).0,
        };
        let turns = Turns::new(Watch::new(config, Vec::new(), now), around, now);
        let mut rig = Self { turns, reader, clock, metrics, orders, now, wall_ahead_ms: 7, seq: 0 };
        rig.turn(vec![Event::CollectorStarted { boot }], Some(now));
        rig
    }

    fn turn(&mut self, events: Vec<Event>, drained: Option<Tick>) {
        let facts = events.into_iter().map(|event| Fact { at: None, event }).collect();
        let delivery = Delivery { facts, drained, shed: 0, closed: false };
        let wall_ns = (self.now.0 + self.wall_ahead_ms) * 1_000_000;
        self.clock.0.store(self.now.0, Ordering::Relaxed);
        self.turns.turn(delivery, self.now, wall_ns);
    }

    /// What arrives in one step while all is well.
    fn facts(&mut self) -> Vec<Event> {
        self.seq += 1;
        let seq = self.seq;
        let beat = |service: &str| Event::BeatHeard {
            service: Service::new(service).expect("a valid name"),
            body: BeatBody {
                instance: "i".parse().expect("a valid name"),
                boot: Boot::new("1").expect("a valid boot"),
                seq,
                token: Token::Number(seq),
                requests: Some(seq * 10),
                errors: None,
                revision: None,
                leaving: false,
            },
            authenticated: true,
            told: 1,
        };
        let page = TallyPage {
            boot: Boot::new("1").expect("a valid boot"),
            cursor: seq,
            rows: vec![TallyRow {
                service: Service::new("shop").expect("a valid name"),
                instance: Some("i".parse().expect("a valid name")),
                revision: None,
                traces: Some(SignalTally {
                    arrivals: seq,
                    records: seq * 10,
                    changes: seq,
                    last_age_ms: 0,
                    late_ms: None,
                }),
                metrics: None,
                logs: None,
                red: None,
                particulars: None,
            }],
            echoes: Vec::new(),
            flow: Flow {
                received: seq * 10,
                forwarded: 0,
                refused: 0,
                dropped: 0,
                dropped_by_rule: 0,
                queued: 0,
                backend: false,
                last_forward_age_ms: None,
            },
        };
        [beat("shop"), beat(COLLECTOR_SERVICE), Event::TallyRead { page }]
            .into_iter()
            .chain(Signal::ALL.map(|signal| Event::ProbeSent { signal, seq }))
            .chain(Signal::ALL.map(|signal| Event::ProbeReturned { signal, seq, right: true }))
            .collect()
    }

    /// `ms` in which all is well.
    fn live(&mut self, ms: u64) {
        for _ in 0..ms / STEP_MS {
            self.now = self.now.plus_ms(STEP_MS);
            let facts = self.facts();
            self.turn(facts, Some(self.now));
        }
    }

    /// `ms` in which the loop turns and hears nothing at all.
    fn silence(&mut self, ms: u64, sockets_read: bool) {
        let read_until = self.now;
        for _ in 0..ms / STEP_MS {
            self.now = self.now.plus_ms(STEP_MS);
            let drained = if sockets_read { self.now } else { read_until };
            self.turn(Vec::new(), Some(drained));
        }
    }

    fn verdict(&self) -> VerdictKind {
        let snapshot = self.reader.latest();
        let shop = snapshot.find("shop");
        shop.expect("it beat").kind()
    }

    fn gaps(&self, cause: &str) -> bool {
        let line = format!(r#"observer_gaps_total{{cause="{cause}"}} "#);
        self.metrics.text().expect("it renders").contains(&line)
    }
}

#[test]
fn silence_that_was_watched_is_down_and_convicts_the_collector_after_it_was_published() {
    let mut rig = Rig::new();
    rig.live(10_000);
    assert_eq!(rig.verdict(), VerdictKind::Live);
    for seq in [1_000, 1_001] {
        rig.silence(1_500, true);
        let sent = Event::ProbeSent { signal: Signal::Traces, seq };
        rig.turn(vec![sent, Event::TallyFailed], Some(rig.now));
    }
    assert_ne!(rig.verdict(), VerdictKind::Live);
    let order = rig.orders.try_recv().expect("the collector is convicted");
    let published = rig.reader.latest().seq;
    assert!(order.attestation_seq <= published, "{order:?} before {published}");
    assert!(order.attestation_seq > 0);
    assert!(!rig.gaps("stall"), "nothing was late");
}

#[test]
fn a_loop_that_was_stopped_draws_no_verdict_across_its_own_stall() {
    let mut rig = Rig::new();
    rig.live(10_000);
    // Thirty seconds in which this process did not run; then one turn before anything is read.
    rig.now = rig.now.plus_ms(30_000);
    rig.turn(Vec::new(), Some(rig.now));
    assert_eq!(rig.verdict(), VerdictKind::Unknown);
    assert!(rig.orders.try_recv().is_err(), "nobody is killed for what the watchdog missed");
    assert!(rig.gaps("stall"));
    rig.live(10_000);
    assert_eq!(rig.verdict(), VerdictKind::Live);
}

#[test]
fn a_loop_and_ears_that_are_late_are_strained_and_no_more_after_a_while() {
    let strain = |rig: &Rig| rig.reader.latest().backdrop.strain();
    let mut rig = Rig::new();
    rig.live(3_000);
    assert_eq!(strain(&rig), 0);
    let facts = rig.facts();
    rig.now = rig.now.plus_ms(300);
    rig.turn(facts, Some(rig.now));
    rig.live(300);
    assert_eq!(strain(&rig), 2, "250 ms late");
    assert!(!rig.gaps("stall"), "it was late and not blind");
    rig.live(5_000);
    assert_eq!(strain(&rig), 0);
    let facts = rig.facts();
    rig.now = rig.now.plus_ms(STEP_MS);
    rig.turn(facts, Some(rig.now.minus_ms(150)));
    rig.live(300);
    assert_eq!(strain(&rig), 1, "the sockets were read late");
    let text = rig.metrics.text().expect("it can be rendered");
    assert!(text.contains("holdpoint_watchdog_observer_strain 1"), "{text}");
}

/// What a reader is told of the shop when the loop has not turned for `ms`.
fn told_after(rig: &Rig, ms: u64) -> (VerdictKind, Option<Stage>) {
    rig.clock.0.store(rig.now.0 + ms, Ordering::Relaxed);
    let snapshot = rig.reader.held();
    let shop = snapshot.verdict(snapshot.find("shop").expect("it beat"));
    (shop.verdict, shop.stage)
}

#[test]
fn a_proof_of_sight_does_not_outlive_the_loop_that_drew_it() {
    let mut rig = Rig::new();
    rig.live(10_000);
    let shows_live = |rig: &Rig| {
        let page = rig.metrics.text().expect("it renders");
        page.lines().any(|l| l.contains(r#"service="shop""#) && l.ends_with(r#"="live"} 1"#))
    };
    assert_eq!(told_after(&rig, STALE_MS - 250), (VerdictKind::Live, None));
    assert!(shows_live(&rig));
    // The process was stopped; a reader is served before the loop has turned again.
    assert_eq!(told_after(&rig, 3_000), (VerdictKind::Unknown, Some(Stage::Observer)));
    assert_eq!(rig.verdict(), VerdictKind::Live, "the loop has not said anything yet");
    assert!(!shows_live(&rig));

    // What was found wrong is not taken back.
    rig.silence(2_000, true);
    let found = rig.verdict();
    assert!(found > VerdictKind::Unknown, "{found:?}");
    assert_eq!(told_after(&rig, 3_000).0, found);
}

#[test]
fn beats_that_wait_in_a_socket_are_not_missing() {
    // Read sockets that hold nothing for 450 ms are silence.
    let mut rig = Rig::new();
    rig.live(10_000);
    rig.silence(450, true);
    assert_ne!(rig.verdict(), VerdictKind::Live);

    // The verdict loop runs and the listening thread does not: nothing is known of these 450 ms.
    let mut rig = Rig::new();
    rig.live(10_000);
    rig.silence(450, false);
    assert_eq!(rig.verdict(), VerdictKind::Live);
    rig.live(100);
    assert_eq!(rig.verdict(), VerdictKind::Live);
    assert!(!rig.gaps("stall"));
}

#[test]
fn a_listening_thread_that_hangs_blinds_the_watchdog_and_accuses_nobody() {
    let mut rig = Rig::new();
    rig.live(10_000);
    rig.silence(5_000, false);
    assert_eq!(rig.verdict(), VerdictKind::Unknown);
    assert!(rig.orders.try_recv().is_err());
    assert!(rig.gaps("stall"));
}

#[test]
fn a_clock_that_is_set_is_a_gap_and_slewing_is_not() {
    let mut rig = Rig::new();
    rig.live(10_000);
    rig.wall_ahead_ms += 900;
    rig.live(STEP_MS);
    assert!(!rig.gaps("clock_step"));
    rig.wall_ahead_ms += 3_600_000;
    rig.live(STEP_MS);
    assert!(rig.gaps("clock_step"));
    assert_eq!(rig.verdict(), VerdictKind::Unknown);
    rig.live(10_000);
    assert_eq!(rig.verdict(), VerdictKind::Live);
}
