//! A watchdog that runs slowly: its verdict loop, and its senders, which poll and probe, each turn
//! at times of their own.
//!
//! What the senders learn waits for their next turn, and then for the loop's. Beats wait for the
//! loop alone. The pauses between turns are from half of the mean to half more.
//!
//! Invariant: nothing is lost by it; all is only late.

use watchdog_core::tick::Tick;
use watchdog_core::watch::Event;

use crate::rig::Rig;

/// What the loop asks for.
const PLANNED_MS: u64 = 50;

/// One of the two that turn.
#[derive(Debug, Clone)]
struct Turning {
    last: u64,
    next: u64,
    facts: Vec<Event>,
}

/// How slow it is, and what waits.
#[derive(Debug, Clone)]
pub struct Slowness {
    mean_ms: u64,
    seed: u64,
    turns: Turning,
    senders: Turning,
}

impl Slowness {
    /// From `now` on, turns are `mean_ms` apart on average.
    pub fn new(mean_ms: u64, now: u64) -> Self {
        let turning = Turning { last: now, next: now + mean_ms, facts: Vec::new() };
        Self { mean_ms, seed: mean_ms, turns: turning.clone(), senders: turning }
    }

    pub fn wait(&mut self, event: Event) {
        match &event {
            Event::BeatHeard { .. }
            | Event::ObserverLate { .. }
            | Event::ClockStepped
            | Event::CollectorStarted { .. }
            | Event::CollectorTended { .. }
            | Event::Turn => self.turns.facts.push(event),
            Event::TallyRead { .. }
            | Event::TallyFailed
            | Event::ProbeSent { .. }
            | Event::ProbeReturned { .. }
            | Event::ProbeUnverifiable
            | Event::EchoLate { .. }
            | Event::KernelAsked { .. }
            | Event::ReadBack { .. } => self.senders.facts.push(event),
        }
    }

    /// Whether the senders ask for a page at `now`; what they asked for before has come by then.
    pub fn polls_at(&self, now: u64) -> bool {
        now == self.senders.last
    }

    /// What the loop finds at `now`; nothing if it does not turn.
    pub fn facts_at(&mut self, now: u64) -> Vec<Event> {
        if now + 1 >= self.senders.next {
            // Their own echo went out at the turn before and is read now.
            let late_ms = now + 1 - self.senders.last;
            self.turns.facts.append(&mut self.senders.facts);
            self.turns.facts.push(Event::EchoLate { late_ms });
            (self.senders.last, self.senders.next) = (now + 1, now + 1 + self.pause_ms());
        }
        if now < self.turns.next {
            return Vec::new();
        }
        let gap_ms = (now - self.turns.last).saturating_sub(PLANNED_MS);
        (self.turns.last, self.turns.next) = (now, now + self.pause_ms());
        let facts = std::mem::take(&mut self.turns.facts);
        std::iter::once(Event::ObserverLate { gap_ms }).chain(facts).collect()
    }

    fn pause_ms(&mut self) -> u64 {
        // Knuth's MMIX generator.
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let thousandths = 500 + (self.seed >> 33) % 1_001;
        self.mean_ms * thousandths / 1_000
    }
}

impl Rig {
    /// One turn of a slow loop; none if there are no facts.
    pub fn turn_with(&mut self, facts: Vec<Event>) {
        if facts.is_empty() {
            return;
        }
        for event in facts {
            assert!(self.watch.step(event, Tick(self.now)).is_empty(), "facts before judgement");
        }
        self.turn();
    }
}
