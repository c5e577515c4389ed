//! Probes: known-answer records of each signal, sent into the collector at a steady pace.
//!
//! A collector can take a request, answer 200 and lose it. Only an answer that was foretold and
//! comes back at the far end proves that the path carries what it takes.
//!
//! Invariant: a probe that could not be sent is told like one that was sent: it will have no
//! answer, and "could not check" is never "all is well".

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::CONTENT_TYPE;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::probe::{ProbeEcho, Way};
use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::watch::Event;

use crate::driver::Clock;
use crate::foreign::Pulse;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, ProbeOutcome};
use crate::streak::{Streak, Turn};
use crate::supervise::Custody;

mod answer;
mod encode;
pub mod readback;

pub use answer::ProbeKey;
use answer::{Answer, Question};
#[cfg(test)]
pub use {answer::Question as Asked, encode::request};

/// How many probes may be on their way into the collector at once.
const IN_FLIGHT_MAX: usize = 12;
/// How many probes are remembered for the round trip; verification needs no memory.
const REMEMBERED: usize = 256;

/// Finds the front door, as `host:port`.
pub type FindFrontDoor = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// What sender and verifier share: key, run, and when the last probes left.
pub struct Ledger {
    key: ProbeKey,
    run: String,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    sent: Mutex<SentProbes>,
}

/// Probes that have no answer yet, and the newest number of all.
#[derive(Debug, Default)]
struct SentProbes {
    waiting: BTreeMap<(u64, Signal), Tick>,
    newest: u64,
    /// Metric probes that may be read back, by their way, oldest first.
    metrics: [VecDeque<(u64, Tick)>; 2],
}

impl Ledger {
    pub fn new(key: [u8; 32], run: String, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { key: ProbeKey::new(key), run, clock, metrics, sent: Mutex::default() }
    }

    fn left(&self, signal: Signal, seq: u64) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.newest = sent.newest.max(seq);
        if signal == Signal::Metrics {
            sent.remember(Way::Path, seq, self.clock.now());
        }
        sent.waiting.insert((seq, signal), self.clock.now());
        while sent.waiting.len() > REMEMBERED {
            sent.waiting.pop_first();
        }
    }

    /// Notes that a metric probe leaves, to be read back.
    fn noted(&self, way: Way, seq: u64) {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        sent.remember(way, seq, self.clock.now());
    }

    /// When the metric probe was sent that was read back; `None` if that is long ago.
    ///
    /// # Errors
    /// If the answer is not right.
    fn sent_at(&self, way: Way, echo: &ProbeEcho) -> Result<Option<Tick>, ()> {
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let of_way = &sent.metrics[way as usize];
        let newest = of_way.back().map_or(0, |(seq, _)| *seq);
        match self.key.verify(&self.run, way, echo, newest) {
            Answer::Right { seq } => {
                Ok(of_way.iter().find(|(known, _)| *known == seq).map(|(_, at)| *at))
            }
            Answer::Wrong { .. } | Answer::Foreign | Answer::Unverifiable => Err(()),
        }
    }

    /// Judges an echo and leaves the judgement in the inbox.
    pub fn returned(&self, echo: &ProbeEcho, inbox: &Inbox) {
        let signal = echo.signal;
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        match self.key.verify(&self.run, Way::Path, echo, sent.newest) {
            Answer::Right { seq } => {
                // An answer that came before is no second proof.
                let Some(left) = sent.waiting.remove(&(seq, signal)) else { return };
                let round_trip = self.clock.now().since_ms(left);
                self.metrics.probe_returned(Duration::from_millis(round_trip));
                inbox.put(Event::ProbeReturned { signal, seq, right: true });
            }
            Answer::Wrong { seq } => {
                self.metrics.probe(ProbeOutcome::Wrong);
                warn!(?echo, "a probe came back with a wrong answer");
                let seq = seq.unwrap_or(sent.newest);
                inbox.put(Event::ProbeReturned { signal, seq, right: false });
            }
            // The probe of another watchdog, or of our own former life.
            Answer::Foreign => {}
            Answer::Unverifiable => inbox.put(Event::ProbeUnverifiable),
        }
    }
}

impl SentProbes {
    fn remember(&mut self, way: Way, seq: u64, now: Tick) {
        let of_way = &mut self.metrics[way as usize];
        if of_way.len() >= REMEMBERED {
            of_way.pop_front();
        }
        of_way.push_back((seq, now));
    }
}

/// Sends probes.
pub struct Prober {
    pub ledger: Arc<Ledger>,
    pub find: FindFrontDoor,
    /// Whom the answers of a front door that is not ours are told.
    pub pulse: Option<Pulse>,
    pub inbox: Arc<Inbox>,
    pub custody: watch::Receiver<Custody>,
    pub signals: BTreeSet<Signal>,
    pub interval_ms: u64,
    pub timeout_ms: u64,
}

impl Prober {
    /// Sends until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = crate::client::new(Duration::from_millis(self.timeout_ms));
        // Without a supervisor this channel is closed, and its branch below is never taken.
        let mut custody = self.custody.clone();
        let mut pace = tokio::time::interval(Duration::from_millis(self.interval_ms));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut in_flight: JoinSet<Result<(), String>> = JoinSet::new();
        let mut streak = Streak::default();
        let mut seq = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(sent) = in_flight.join_next() => {
                    self.note(sent.unwrap_or_else(|e| Err(e.to_string())), &mut streak);
                }
                Ok(()) = custody.changed() => {
                    if custody.borrow_and_update().is_known() {
                        // What was sent to the one before is lost; a new one is proven at once.
                        in_flight.abort_all();
                        pace.reset_immediately();
                    }
                }
                _ = pace.tick() => {
                    seq += 1;
                    for signal in self.due(seq) {
                        self.ledger.left(signal, seq);
                        self.inbox.put(Event::ProbeSent { signal, seq });
                        if in_flight.len() >= IN_FLIGHT_MAX {
                            let busy = "earlier probes are still being sent";
                            self.note(Err(busy.into()), &mut streak);
                        } else {
                            self.send(&client, signal, seq, &mut in_flight, &mut streak);
                        }
                    }
                }
            }
        }
    }

    /// The signals that are probed in round `seq`. The first round proves all of them; after that
    /// metrics and logs take turns, each half as often as traces.
    fn due(&self, seq: u64) -> impl Iterator<Item = Signal> + use<> {
        let due = move |signal: &Signal| match signal {
            Signal::Traces => true,
            Signal::Metrics => seq == 1 || seq.is_multiple_of(2),
            Signal::Logs => !seq.is_multiple_of(2),
        };
        self.signals.clone().into_iter().filter(due)
    }

    fn send(
        &self,
        client: &reqwest::Client,
        signal: Signal,
        seq: u64,
        in_flight: &mut JoinSet<Result<(), String>>,
        streak: &mut Streak,
    ) {
        let Some(front_door) = (self.find)() else {
            self.note(Err("no collector is known".into()), streak);
            return;
        };
        let Ledger { key, run, clock, .. } = &*self.ledger;
        let asked = Question { run, way: Way::Path, signal, seq };
        let body = encode::request(key, asked, clock.wall_ns());
        let request = client
            .post(format!("http://{front_door}/v1/{}", signal.as_str()))
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let pulse = self.pulse.clone();
        in_flight.spawn(async move {
            let answer = request.send().await.map_err(|e| crate::client::chain(&e))?;
            if let Some(pulse) = pulse {
                pulse.answered();
            }
            let status = answer.status();
            // The body is read, so that the connection can be used again.
            drop(answer.bytes().await.map_err(|e| crate::client::chain(&e))?);
            if status.is_success() { Ok(()) } else { Err(format!("the collector said {status}")) }
        });
    }

    fn note(&self, sent: Result<(), String>, streak: &mut Streak) {
        let worked = sent.is_ok();
        let outcome = if worked { ProbeOutcome::Sent } else { ProbeOutcome::SendFailed };
        self.ledger.metrics.probe(outcome);
        match streak.note(worked) {
            Some(Turn::ToWorking) => info!("the collector takes probes"),
            Some(Turn::ToFailing) => warn!(words = sent.err(), "probes cannot be sent"),
            None => {}
        }
    }
}
