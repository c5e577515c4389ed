//! Probes that were sent, and what became of them, for each signal.
//!
//! The ways of the signals part inside a collector: a filter may drop log records and nothing
//! else. So a service is judged by the probes of the signals that it sends.
//!
//! Invariant: only a right answer proves the path, and only for what was before the probe was
//! sent. "Could not be checked" is not an answer, and a signal that is not probed is not proven by
//! another one.

use std::collections::VecDeque;

use crate::judge::Probes;
use crate::tally::Signal;
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

/// The probes of one signal.
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

    /// How many of the last probes were due, and how many of them came back right.
    fn covered(&self, now: Tick, config: &WatchConfig) -> (u32, u32) {
        let is_due = |sent: &&Sent| sent.returned || now.since_ms(sent.at) > config.probe_late_ms;
        let due = self.sent.iter().filter(is_due).count();
        let right = self.sent.iter().filter(|sent| sent.returned).count();
        let as_u32 = |count: usize| u32::try_from(count).expect("at most PROBES_KEPT");
        (as_u32(due), as_u32(right))
    }
}

/// The probes of all signals.
#[derive(Debug, Clone, Default)]
pub(super) struct Probing {
    ledgers: [ProbeLedger; 3],
}

/// Some of the signals, to be asked about together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Asked([bool; 3]);

impl Asked {
    /// How many there are.
    pub const SETS: usize = 8;

    /// Where it stands among all of them.
    pub fn place(self) -> usize {
        self.iter().map(|index| 1 << index).sum()
    }

    /// The one at `place`.
    pub fn at(place: usize) -> Self {
        Self(std::array::from_fn(|index| place & (1 << index) != 0))
    }

    pub fn of(signals: impl IntoIterator<Item = Signal>) -> Self {
        let mut asked = Self::default();
        for signal in signals {
            asked.0[signal as usize] = true;
        }
        asked
    }

    /// Those of `self` that are in `others` too; `others` if none is.
    pub fn within(self, others: Self) -> Self {
        let both = Self(std::array::from_fn(|index| self.0[index] && others.0[index]));
        if both == Self::default() { others } else { both }
    }

    pub const fn has(self, signal: Signal) -> bool {
        self.0[signal as usize]
    }

    /// The signals that are asked about.
    fn iter(self) -> impl Iterator<Item = usize> {
        (0..3).filter(move |index| self.0[*index])
    }
}

/// How bad a state is, the best first.
const fn rank(state: Probes) -> u8 {
    match state {
        Probes::Returning => 0,
        Probes::Unknown => 1,
        Probes::Late => 2,
        Probes::Lost => 3,
        Probes::Wrong => 4,
    }
}

/// The worse of two states.
pub(super) const fn worse(one: Probes, other: Probes) -> Probes {
    if rank(one) < rank(other) { other } else { one }
}

/// The worst of what probes of `asked` signals say; nothing asked is nothing known.
pub(super) fn worst(states: [Probes; 3], asked: Asked) -> Probes {
    let told = asked.iter().map(|index| states[index]);
    told.max_by_key(|state| rank(*state)).unwrap_or(Probes::Unknown)
}

impl Probing {
    pub fn send(&mut self, signal: Signal, seq: u64, now: Tick) {
        self.ledgers[signal as usize].send(seq, now);
    }

    pub fn receive(&mut self, signal: Signal, seq: u64, right: bool, now: Tick) {
        self.ledgers[signal as usize].receive(seq, right, now);
    }

    pub fn reset(&mut self) {
        self.ledgers.iter_mut().for_each(ProbeLedger::reset);
    }

    pub fn states(&self, now: Tick, config: &WatchConfig) -> [Probes; 3] {
        self.ledgers.each_ref().map(|ledger| ledger.state(now, config))
    }

    /// For how long the oldest probe of `asked` signals has waited for its answer.
    pub fn waiting_ms(&self, asked: Asked, now: Tick) -> Option<u64> {
        asked.iter().filter_map(|index| self.ledgers[index].waiting_ms(now)).max()
    }

    /// When the probes were sent up to which the way of all `asked` signals is proven.
    pub fn proven(&self, asked: Asked) -> Option<Tick> {
        let proven = asked.iter().map(|index| self.ledgers[index].proven());
        // One that is not proven makes all of it not proven.
        proven.reduce(|all, one| all.zip(one).map(|(all, one)| all.min(one))).flatten()
    }

    /// When a state may change by time alone.
    pub fn next_changes<'a>(
        &'a self,
        config: &'a WatchConfig,
    ) -> impl Iterator<Item = Tick> + use<'a> {
        self.ledgers.iter().flat_map(|ledger| ledger.next_changes(config)).flatten()
    }

    pub fn evidence(&self, asked: Asked, now: Tick, config: &WatchConfig) -> ProbeEvidence {
        let state = match worst(self.states(now, config), asked) {
            Probes::Unknown => ProbeState::Unknown,
            Probes::Returning => ProbeState::Returning,
            Probes::Late => ProbeState::Late,
            Probes::Lost => ProbeState::Lost,
            Probes::Wrong => ProbeState::Wrong,
        };
        let covered = asked.iter().map(|index| self.ledgers[index].covered(now, config));
        let (due, right) = covered.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        let coverage = (due > 0).then(|| f64::from(right) / f64::from(due));
        // The oldest of the last right answers: all of it is proven up to there and no further.
        let ages = asked.iter().map(|index| self.ledgers[index].last_right);
        let last = ages.reduce(|all, one| all.zip(one).map(|(all, one)| all.min(one))).flatten();
        ProbeEvidence { state, coverage, age_ms: last.map(|at| now.since_ms(at)) }
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
        assert_eq!(ledger.covered(Tick(2_000), &WatchConfig::default()), (2, 1));
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
    fn the_path_is_proven_only_up_to_the_sending_of_the_probe() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(100));
        ledger.receive(1, true, Tick(150));
        assert_eq!(ledger.proven(), Some(Tick(100)));
    }

    fn all() -> Asked {
        Asked::of(Signal::ALL)
    }

    #[test]
    fn one_signal_that_is_lost_is_lost_for_who_sends_it_and_for_nobody_else() {
        let config = WatchConfig::default();
        let mut probing = Probing::default();
        for signal in Signal::ALL {
            probing.send(signal, 1, Tick(0));
            if signal != Signal::Logs {
                probing.receive(signal, 1, true, Tick(50));
            }
        }
        let now = Tick(2_000);
        let states = probing.states(now, &config);
        assert_eq!(worst(states, Asked::of([Signal::Traces, Signal::Metrics])), Probes::Returning);
        assert_eq!(worst(states, Asked::of([Signal::Traces, Signal::Logs])), Probes::Lost);
        assert_eq!(probing.proven(Asked::of([Signal::Traces])), Some(Tick(0)));
        assert_eq!(probing.proven(all()), None, "logs are not proven");
        let evidence = probing.evidence(all(), now, &config);
        assert_eq!((evidence.state, evidence.age_ms), (ProbeState::Lost, None));
        assert!(evidence.coverage.is_some_and(|part| (part - 2.0 / 3.0).abs() < 1e-9));
    }

    #[test]
    fn the_worst_of_every_three_states_is_told_and_nothing_asked_is_unknown() {
        const STATES: [Probes; 5] =
            [Probes::Unknown, Probes::Returning, Probes::Late, Probes::Lost, Probes::Wrong];
        for (index, first) in STATES.into_iter().enumerate() {
            for second in STATES {
                for third in [STATES[index], Probes::Returning] {
                    let states = [first, second, third];
                    let told = worst(states, all());
                    assert!(states.contains(&told));
                    assert!(states.iter().all(|state| rank(*state) <= rank(told)));
                    assert_eq!(told == Probes::Returning, states == [Probes::Returning; 3]);
                    assert_eq!(worst(states, Asked::default()), Probes::Unknown);
                }
            }
        }
    }

    #[test]
    fn a_service_whose_signals_are_not_probed_is_asked_about_all_that_are() {
        let probed = Asked::of([Signal::Traces, Signal::Metrics]);
        assert_eq!(Asked::of([Signal::Logs]).within(probed), probed);
        assert_eq!(Asked::default().within(probed), probed);
        let both = Asked::of([Signal::Logs, Signal::Traces]).within(probed);
        assert_eq!(both, Asked::of([Signal::Traces]));
    }

    #[test]
    fn every_set_of_signals_has_its_place() {
        for place in 0..Asked::SETS {
            assert_eq!(Asked::at(place).place(), place);
        }
        assert_eq!(all().place(), Asked::SETS - 1);
    }

    #[test]
    fn when_nobody_sends_probes_the_path_is_unknown() {
        let mut ledger = ProbeLedger::default();
        ledger.send(1, Tick(0));
        ledger.receive(1, true, Tick(50));
        assert_eq!(state(&ledger, 5_051), Probes::Unknown);
    }
}
