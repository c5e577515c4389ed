//! Probes that were sent, and what became of them.
//!
//! Invariant: only a right answer proves the path, and only for what was before the probe was
//! sent. "Could not be checked" is not an answer.

use std::collections::VecDeque;

use crate::judge::Probes;
use crate::tick::Tick;
use crate::verdict::{ProbeEvidence, ProbeState};
use crate::watch::WatchConfig;

/// Coverage is told over so many of the last probes.
const PROBES_KEPT: usize = 20;
/// So many right answers in a row outweigh a wrong one.
const RIGHT_AFTER_WRONG: u32 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sent {
    seq: u64,
    at: Tick,
    returned: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct ProbeLedger {
    sent: VecDeque<Sent>,
    /// When the last right answer came.
    last_right: Option<Tick>,
    /// When the latest probe with a right answer was sent: the path is proven up to there.
    proven: Option<Tick>,
    /// When the oldest probe was sent that still waits, younger than every answered one.
    waiting_since: Option<Tick>,
    /// Right answers since the last wrong one; `None` if there was no wrong one of late.
    right_since_wrong: Option<u32>,
}

impl ProbeLedger {
    pub fn send(&mut self, seq: u64, now: Tick) {
        if self.sent.len() >= PROBES_KEPT {
            self.sent.pop_front();
        }
        self.sent.push_back(Sent { seq, at: now, returned: false });
        self.waiting_since = self.waiting_since.or(Some(now));
    }

    pub fn receive(&mut self, seq: u64, right: bool, now: Tick) {
        if !right {
            self.right_since_wrong = Some(0);
            return;
        }
        let Some(sent) = self.sent.iter_mut().find(|sent| sent.seq == seq) else { return };
        if sent.returned {
            // The same answer again proves nothing new.
            return;
        }
        sent.returned = true;
        self.last_right = Some(now);
        let proven = self.proven.map_or(sent.at, |proven| proven.max(sent.at));
        self.proven = Some(proven);
        let waits = |sent: &&Sent| !sent.returned && sent.at > proven;
        self.waiting_since = self.sent.iter().find(waits).map(|sent| sent.at);
        self.right_since_wrong = match self.right_since_wrong {
            Some(rights) if rights + 1 < RIGHT_AFTER_WRONG => Some(rights + 1),
            Some(_) | None => None,
        };
    }

    /// Forgets all: the watch was blind, or another collector runs. A wrong answer is kept.
    pub fn reset(&mut self) {
        self.sent.clear();
        self.last_right = None;
        self.proven = None;
        self.waiting_since = None;
    }

    /// For how long a probe has waited for its answer; `None` if none waits.
    pub fn waiting_ms(&self, now: Tick) -> Option<u64> {
        self.waiting_since.map(|at| now.since_ms(at))
    }

    pub fn state(&self, now: Tick, config: &WatchConfig) -> Probes {
        if self.right_since_wrong.is_some() {
            return Probes::Wrong;
        }
        if let Some(waiting_ms) = self.waiting_ms(now) {
            if waiting_ms > config.probe_lost_ms {
                return Probes::Lost;
            }
            if waiting_ms > config.probe_late_ms {
                return Probes::Late;
            }
        }
        match self.last_right {
            // Answers that nobody has asked for of late are no proof of the path today.
            Some(at) if now.since_ms(at) <= config.drops_ms => Probes::Returning,
            Some(_) | None => Probes::Unknown,
        }
    }

    /// Whether the path is proven for what arrived at `at`, or should have arrived after it.
    pub fn is_proven_since(&self, at: Tick) -> bool {
        self.proven.is_some_and(|proven| proven > at)
    }

    /// When the latest probe was sent that came back right.
    pub const fn proven(&self) -> Option<Tick> {
        self.proven
    }

    /// When the state may change by time alone.
    pub fn next_changes(&self, config: &WatchConfig) -> [Option<Tick>; 4] {
        let waiting = |ms: u64| self.waiting_since.map(|at| at.plus_ms(ms + 1));
        [
            waiting(config.probe_late_ms),
            waiting(config.probe_lost_ms),
            waiting(config.drops_ms),
            self.last_right.map(|at| at.plus_ms(config.drops_ms + 1)),
        ]
    }

    pub fn evidence(&self, now: Tick, config: &WatchConfig) -> ProbeEvidence {
        let state = match self.state(now, config) {
            Probes::Unknown => ProbeState::Unknown,
            Probes::Returning => ProbeState::Returning,
            Probes::Late => ProbeState::Late,
            Probes::Lost => ProbeState::Lost,
            Probes::Wrong => ProbeState::Wrong,
        };
        let is_due = |sent: &&Sent| sent.returned || now.since_ms(sent.at) > config.probe_late_ms;
        let due = self.sent.iter().filter(is_due).count();
        let right = self.sent.iter().filter(|sent| sent.returned).count();
        let as_u32 = |count: usize| u32::try_from(count).expect("at most PROBES_KEPT");
        let coverage = (due > 0).then(|| f64::from(as_u32(right)) / f64::from(as_u32(due)));
        ProbeEvidence { state, coverage, age_ms: self.last_right.map(|at| now.since_ms(at)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(ledger: &ProbeLedger, now: u64) -> Probes {
        ledger.state(Tick(now), &WatchConfig::default())
    }

    #[test]
    fn a_probe_without_an_answer_is_late_and_then_lost() {
        let mut ledger = ProbeLedger::default();
        assert_eq!(state(&ledger, 0), Probes::Unknown);
        ledger.send(1, Tick(0));
        assert_eq!(state(&ledger, 1_000), Probes::Unknown);
        assert_eq!(state(&ledger, 1_001), Probes::Late);
        assert_eq!(state(&ledger, 1_501), Probes::Lost);
        ledger.receive(1, true, Tick(1_600));
        assert_eq!(state(&ledger, 1_600), Probes::Returning);
    }

    #[test]
    fn a_later_answer_outweighs_an_earlier_loss_but_not_in_coverage() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(0));
        ledger.send(2, Tick(250));
        ledger.receive(2, true, Tick(300));
        assert_eq!(state(&ledger, 2_000), Probes::Returning);
        let evidence = ledger.evidence(Tick(2_000), &WatchConfig::default());
        assert_eq!(evidence.coverage, Some(0.5));
        assert_eq!(evidence.age_ms, Some(1_700));
    }

    #[test]
    fn the_same_answer_twice_proves_nothing_new() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(0));
        ledger.receive(1, true, Tick(100));
        ledger.send(2, Tick(200));
        ledger.receive(1, true, Tick(1_900));
        assert_eq!(state(&ledger, 1_901), Probes::Lost);
    }

    #[test]
    fn a_wrong_answer_stays_until_three_right_ones() {
        let mut ledger = ProbeLedger::default();
        for seq in 1..=4 {
            ledger.send(seq, Tick(seq));
        }
        ledger.receive(1, false, Tick(10));
        ledger.receive(2, true, Tick(10));
        ledger.receive(3, true, Tick(10));
        assert_eq!(state(&ledger, 10), Probes::Wrong);
        ledger.receive(4, true, Tick(10));
        assert_eq!(state(&ledger, 10), Probes::Returning);
    }

    #[test]
    fn one_right_answer_told_three_times_does_not_outweigh_a_wrong_one() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(0));
        ledger.receive(1, false, Tick(10));
        (0..3).for_each(|_| ledger.receive(1, true, Tick(20)));
        assert_eq!(state(&ledger, 20), Probes::Wrong);
    }

    #[test]
    fn an_answer_nobody_asked_for_proves_nothing() {
        let mut ledger = ProbeLedger::default();
        ledger.receive(9, true, Tick(10));
        assert_eq!(state(&ledger, 10), Probes::Unknown);
    }

    #[test]
    fn the_path_is_proven_only_for_what_was_before_the_probe() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(100));
        ledger.receive(1, true, Tick(150));
        assert!(ledger.is_proven_since(Tick(99)));
        assert!(!ledger.is_proven_since(Tick(100)));
    }

    #[test]
    fn when_nobody_sends_probes_the_path_is_unknown() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(0));
        ledger.receive(1, true, Tick(50));
        assert_eq!(state(&ledger, 5_051), Probes::Unknown);
    }
}
