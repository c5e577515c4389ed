//! Apply and bake: the time in which a rollout is watched, and what it comes to.
//!
//! The clock runs only in live sight (and, while applying, under a live permit). Bad news takes
//! the rollout back at once; no news makes it inconclusive in the end, and never confirmed.
//!
//! Invariant: `confirmed` needs a whole bake in live sight on the new revision, enough records of
//! it, and a comparison that is not worse.

use serde::{Deserialize, Serialize};
use watchdog_core::tally::Durations;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{RevisionEvidence, VerdictKind, WitnessState};

use crate::comparison::{self, Arms, Comparison, Counts, Finding, Terms};
use crate::gate::clock::Clock;
use crate::gate::decision::{
    Code, Decision, DecisionKind, Inputs, Question, Reason, decide as judge,
};
use crate::gate::effect::{Call, CallReason, Effect};
use crate::gate::ledger::{Ledger, Step};
use crate::gate::revert::Way;
use crate::gate::rollout::{Inconclusive, Proof, Rollout, State, reverts};
use crate::gate::sight::Evidence;
use crate::ids::RolloutId;
use crate::policy::OnInconclusive;

/// A rollout that is applied and watched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bake {
    pub applied_at: Tick,
    /// The new revision must be seen by then.
    pub appear_by: Tick,
    /// `None` until it is.
    pub clock: Option<Clock>,
    /// What each revision had shown when the bake began; what it shows more is the bake's.
    pub candidate: Mark,
    pub baseline: Mark,
    /// Durations count from here on: what has just started is slow while it warms up.
    #[serde(default)]
    pub is_warm: bool,
}

/// The part of a bake that is given to warming up.
const WARM_UP_PART: u64 = 4;

/// Counts at one moment, to be subtracted from later ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark(pub Counts);

/// The bake as the judge sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BakeSeen {
    pub appeared: bool,
    pub appear_overdue: bool,
    /// Milliseconds of live sight.
    pub ran_ms: u64,
    /// Milliseconds without it, in all.
    pub stood_ms: u64,
    /// Milliseconds without it at a stretch, up to now.
    pub gap_ms: Option<u64>,
    pub candidate: Counts,
    pub baseline: Option<Counts>,
    pub arms: Arms,
}

/// What a bake comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ruling")]
pub enum Ruling {
    /// Watch on.
    Watch,
    /// Watch on, with the clock standing still.
    Stand,
    Confirm,
    TakeBack {
        verdict: VerdictKind,
    },
    Regressed,
    Inconclusive {
        why: Inconclusive,
    },
}

/// Decides about [`Question::Bake`].
pub(crate) fn decide(inputs: &Inputs) -> Decision {
    let seen = inputs.bake.as_ref().expect("a bake is asked about with what was seen of it");
    let policy = &inputs.policy;
    let terms = Terms {
        alpha: policy.alpha,
        error_share_max: policy.error_share_max,
        slow_tolerance: policy.slow_tolerance,
        records_min: policy.evidence_min,
    };
    let compared = comparison::compare(seen.candidate, seen.baseline, seen.arms, terms);
    let (ruling, code, message) = rule(inputs, seen, &compared);
    let kind = match ruling {
        Ruling::Confirm => DecisionKind::Allow,
        Ruling::Watch | Ruling::Stand | Ruling::Inconclusive { .. } => DecisionKind::Hold,
        Ruling::TakeBack { .. } | Ruling::Regressed => DecisionKind::Deny,
    };
    Decision {
        kind,
        reasons: vec![Reason {
            code,
            message,
            service: Some(inputs.request.service.clone()),
            rule: None,
        }],
        permit: None,
        retry_after_ms: None,
        needs_approval: false,
        ruling: Some(ruling),
        comparison: Some(Box::new(compared)),
    }
}

fn rule(inputs: &Inputs, seen: &BakeSeen, compared: &Comparison) -> (Ruling, Code, String) {
    let Inputs { evidence, policy, request, blocked, .. } = inputs;
    let service = &request.service;
    let inconclusive = |why: Inconclusive| {
        (Ruling::Inconclusive { why }, Code::Inconclusive, why.sentence().to_owned())
    };
    // Bad news first: it counts even before the new revision says who it is.
    if reverts(evidence.verdict) {
        let verdict = evidence.verdict;
        let message = format!("{service} is {}: {}", verdict.as_str(), evidence.reason);
        return (Ruling::TakeBack { verdict }, Code::of_verdict(verdict), message);
    }
    if compared.finding == Finding::Regressed {
        let message = format!("{service} has more errors on {} than before", request.to);
        return (Ruling::Regressed, Code::Regressed, message);
    }
    if blocked.is_some() {
        return inconclusive(Inconclusive::Blocked);
    }
    if !seen.appeared {
        if seen.appear_overdue {
            return inconclusive(Inconclusive::NotAppeared);
        }
        let message = format!("{} of {service} has not been seen yet", request.to);
        return (Ruling::Watch, Code::NotAppeared, message);
    }
    if seen.gap_ms.is_some_and(|gap_ms| gap_ms > policy.gap_max_ms) {
        return inconclusive(Inconclusive::Gap);
    }
    if seen.stood_ms > policy.patience_ms {
        return inconclusive(Inconclusive::Patience);
    }
    if !evidence.is_live() {
        let code = Code::of_verdict(evidence.verdict);
        let message = format!("{service} is {}: the clock stands", evidence.verdict.as_str());
        return (Ruling::Stand, code, message);
    }
    if let (Finding::Slower, Some(told)) = (compared.finding, compared.latency) {
        let message = format!(
            "{service} is slower on {}: {} took longer than {} ms, {} before",
            request.to,
            part(told.candidate),
            told.bound_ms,
            part(told.baseline)
        );
        return (Ruling::Regressed, Code::Slower, message);
    }
    if compared.finding == Finding::BetterThanPossible {
        let message = if compared.latency.is_some_and(|told| told.no_time) {
            format!("the requests of {service} take no time on {}", request.to)
        } else {
            format!("{service} has fewer errors and fewer records for the same work")
        };
        return (Ruling::Stand, Code::BetterThanPossible, message);
    }
    if compared.finding == Finding::RecordsLost {
        let message = format!("{service} records less of its work on {} than before", request.to);
        return (Ruling::Stand, Code::RecordsLost, message);
    }
    if seen.ran_ms < policy.bake_ms {
        let message = format!("{} of {} ms watched", seen.ran_ms, policy.bake_ms);
        return (Ruling::Watch, Code::Baking, message);
    }
    if let Some(message) = unproven(inputs, compared) {
        if seen.ran_ms - policy.bake_ms + seen.stood_ms >= policy.patience_ms {
            return inconclusive(Inconclusive::Thin);
        }
        return (Ruling::Watch, Code::ThinEvidence, message);
    }
    let message = format!("{service} was seen live on {} for {} ms", request.to, seen.ran_ms);
    (Ruling::Confirm, Code::Confirmed, message)
}

fn part([some, all]: [u64; 2]) -> String {
    format!("{some} of {all} requests")
}

/// What is still to be proven at the end of a bake.
fn unproven(inputs: &Inputs, compared: &Comparison) -> Option<String> {
    let Inputs { evidence, request, .. } = inputs;
    let service = &request.service;
    if compared.finding == Finding::Thin {
        return Some(format!(
            "{service} has shown too little on {}: {} records and {} requests are needed",
            request.to, compared.records_needed, compared.requests_needed
        ));
    }
    match evidence.witness {
        // Nobody counts its work, or it never sent what could be compared with it.
        None | Some(WitnessState::Unpaired | WitnessState::Agrees) => None,
        Some(
            WitnessState::Thin
            | WitnessState::Doubtful
            | WitnessState::Short
            | WitnessState::Excess
            | WitnessState::Still,
        ) => Some(format!("it is not proven yet that {service} records the work it does")),
    }
}

impl Mark {
    fn at(seen: Option<&RevisionEvidence>) -> Self {
        Self(seen.map_or_else(Counts::default, counts))
    }

    /// What was shown since the mark.
    fn since(&self, seen: Option<&RevisionEvidence>) -> Counts {
        let Some(now) = seen.map(counts) else { return Counts::default() };
        // What is less than the mark was counted anew from nothing, so all of it is later.
        let more = |now: Option<u64>, mark: Option<u64>| match (now, mark) {
            (Some(now), Some(mark)) if now >= mark => Some(now - mark),
            (now, _) => now,
        };
        let durations = now.durations.map(|mut now| {
            if let Some(mark) = self.0.durations.filter(|mark| !fell(&now, mark)) {
                now.iter_mut().zip(mark).for_each(|(now, mark)| *now -= mark);
            }
            now
        });
        Counts {
            records: more(now.records, self.0.records),
            requests: more(now.requests, self.0.requests),
            errors: more(now.errors, self.0.errors),
            witnessed: more(now.witnessed, self.0.witnessed),
            durations,
        }
    }

    /// Whether counting began anew since the mark.
    fn is_overtaken(&self, seen: Option<&RevisionEvidence>) -> bool {
        let less = |now: Option<u64>, mark: Option<u64>| now.zip(mark).is_some_and(|(n, m)| n < m);
        seen.map(counts).is_some_and(|now| {
            less(now.records, self.0.records)
                || less(now.requests, self.0.requests)
                || less(now.errors, self.0.errors)
                || less(now.witnessed, self.0.witnessed)
                || now.durations.zip(self.0.durations).is_some_and(|(now, mark)| fell(&now, &mark))
        })
    }
}

/// Whether a bucket holds less than before.
fn fell(now: &Durations, mark: &Durations) -> bool {
    now.iter().zip(mark).any(|(now, mark)| now < mark)
}

fn counts(seen: &RevisionEvidence) -> Counts {
    Counts {
        records: seen.records,
        requests: seen.requests,
        errors: seen.errors,
        witnessed: seen.witnessed,
        durations: seen.durations,
    }
}

/// Whether the new revision is seen: an instance says so, or records of it have come since.
fn appeared(bake: &Bake, seen: Option<&RevisionEvidence>) -> bool {
    let grown = |count: Option<u64>| count.is_some_and(|count| count > 0);
    let since = bake.candidate.since(seen);
    seen.is_some_and(|seen| seen.instances > 0) || grown(since.records) || grown(since.requests)
}

impl Bake {
    fn seen(
        &self,
        rollout: &Rollout,
        evidence: &Evidence,
        now: Tick,
        evidence_min: u64,
    ) -> BakeSeen {
        let mut candidate = self.candidate.since(evidence.revision(&rollout.request.to));
        candidate.durations = candidate.durations.filter(|_| self.is_warm);
        let from = rollout.from.as_ref().and_then(|from| evidence.revision(from));
        let beside = self.baseline.since(from);
        // The old revision still runs: the best baseline. Else what it had shown before, from the
        // watchdog's memory or from the ledger's, whichever is longer.
        let known = || from.into_iter().chain(&rollout.baseline);
        let before = known().max_by_key(|seen| seen.requests).map(counts);
        let (baseline, arms) = match before {
            _ if beside.requests.is_some_and(|requests| requests >= evidence_min) => {
                (Some(beside), Arms::Concurrent)
            }
            Some(before) => (Some(before), Arms::BeforeAfter),
            None => (None, Arms::CandidateAlone),
        };
        // Durations are counted from a later mark on, and so may be fewer than requests.
        let told = |durations: &Durations| durations.iter().sum::<u64>();
        let longest = || known().filter_map(|seen| seen.durations).max_by_key(told);
        let beside_took = beside.durations.filter(|durations| told(durations) >= evidence_min);
        let durations = beside_took.or_else(longest);
        let baseline = baseline.map(|counts| Counts { durations, ..counts });
        BakeSeen {
            appeared: self.clock.is_some(),
            appear_overdue: now >= self.appear_by,
            ran_ms: self.clock.map_or(0, |clock| clock.ran_ms(now)),
            stood_ms: self.clock.map_or(0, |clock| clock.stood_ms(now)),
            gap_ms: self.clock.and_then(|clock| clock.gap_ms(now)),
            candidate,
            baseline,
            arms,
        }
    }
}

impl Ledger {
    pub(crate) fn begin_bake(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let rollout = &self.rollouts[&id];
        let service = &rollout.request.service;
        let evidence = step.sight.of(service);
        let from = rollout.from.as_ref().and_then(|from| evidence.revision(from));
        let bake = Bake {
            applied_at: step.now,
            appear_by: step.now.plus_ms(step.policy.of(service).appear_ms),
            clock: None,
            candidate: Mark::at(evidence.revision(&rollout.request.to)),
            baseline: Mark::at(from),
            is_warm: false,
        };
        self.enter(step, id, State::Baking(Box::new(bake)), "applied under a live permit");
    }

    pub(crate) fn turn_baking(&mut self, step: &mut Step<'_>, id: RolloutId, bake: &Bake) {
        let rollout = &self.rollouts[&id];
        let service = rollout.request.service.clone();
        let evidence = step.sight.of(&service);
        let mut bake = bake.clone();
        let candidate = evidence.revision(&rollout.request.to);
        let from = rollout.from.as_ref().and_then(|from| evidence.revision(from));
        if bake.candidate.is_overtaken(candidate) {
            bake.candidate = Mark::default();
        }
        if bake.baseline.is_overtaken(from) {
            bake.baseline = Mark::default();
        }
        if bake.clock.is_none() && appeared(&bake, candidate) {
            bake.clock = Some(Clock::started(step.now));
        }
        let policy = step.policy.of(&service);
        let ran_ms = bake.clock.map_or(0, |clock| clock.ran_ms(step.now));
        if !bake.is_warm && ran_ms >= policy.bake_ms / WARM_UP_PART {
            bake.is_warm = true;
            bake.candidate.0.durations = candidate.and_then(|seen| seen.durations);
            bake.baseline.0.durations = from.and_then(|seen| seen.durations);
        }
        let seen = bake.seen(rollout, evidence, step.now, policy.evidence_min);
        let inputs = self.inputs(step, id, Question::Bake, Some(seen));
        let decision = judge(&inputs);
        let ruling = decision.ruling.expect("a bake's decision has a ruling");
        let why = decision.reasons[0].message.clone();
        if let Some(clock) = &mut bake.clock {
            match ruling {
                Ruling::Watch | Ruling::Confirm => clock.run(step.now),
                Ruling::Stand
                | Ruling::TakeBack { .. }
                | Ruling::Regressed
                | Ruling::Inconclusive { .. } => clock.stand(step.now),
            }
        }
        if !matches!(&self.rollouts[&id].state, State::Baking(before) if **before == bake) {
            self.edit(step, id).state = State::Baking(Box::new(bake));
        }
        match ruling {
            Ruling::Watch | Ruling::Stand => return,
            Ruling::Confirm
            | Ruling::TakeBack { .. }
            | Ruling::Regressed
            | Ruling::Inconclusive { .. } => self.record(step, inputs, decision),
        }
        match ruling {
            Ruling::Watch | Ruling::Stand => {}
            Ruling::Confirm => {
                let state = State::Confirmed { proof: Proof::Live, suspected: false };
                self.enter(step, id, state, &why);
            }
            Ruling::TakeBack { verdict } => self.take_back(step, id, Way::Verdict(verdict)),
            Ruling::Regressed => self.take_back(step, id, Way::Regressed),
            Ruling::Inconclusive { why } => self.give_to_person(step, id, why),
        }
    }

    /// While applying, the clock runs in live sight under a live permit.
    pub(crate) fn turn_applying(&mut self, step: &mut Step<'_>, id: RolloutId) {
        let now = step.now;
        let service = self.rollouts[&id].request.service.clone();
        let verdict = step.sight.of(&service).verdict;
        if reverts(verdict) {
            return self.take_back(step, id, Way::Verdict(verdict));
        }
        let State::Applying { permit, clock } = &self.rollouts[&id].state else { return };
        let policy = step.policy.of(&service);
        let permit = permit.clone().filter(|permit| permit.is_live(now));
        let mut clock = *clock;
        if permit.is_some() && verdict == VerdictKind::Live {
            clock.run(now);
        } else {
            clock.stand(now);
        }
        let why = if clock.gap_ms(now).is_some_and(|gap_ms| gap_ms > policy.gap_max_ms) {
            // In live sight it is the agent who is missing.
            let is_seen = verdict == VerdictKind::Live;
            Some(if is_seen { Inconclusive::AgentSilent } else { Inconclusive::Gap })
        } else {
            (clock.stood_ms(now) > policy.patience_ms).then_some(Inconclusive::Patience)
        };
        let state = State::Applying { permit, clock };
        if self.rollouts[&id].state != state {
            self.edit(step, id).state = state;
        }
        if let Some(why) = why {
            self.give_to_person(step, id, why);
        }
    }

    /// What could not be judged is never confirmed: a person settles it, or policy takes it back.
    fn give_to_person(&mut self, step: &mut Step<'_>, id: RolloutId, why: Inconclusive) {
        self.enter(step, id, State::Inconclusive { why }, why.sentence());
        let service = self.rollouts[&id].request.service.clone();
        let by_policy = step.policy.of(&service).on_inconclusive == OnInconclusive::Revert;
        // The agent's silence alone never takes back what was applied.
        if by_policy && why != Inconclusive::AgentSilent {
            return self.take_back(step, id, Way::Inconclusive);
        }
        let message = format!(
            "{id} of {service} is inconclusive: {}. Settle it as confirmed or reverting",
            why.sentence()
        );
        let why = CallReason::Inconclusive;
        let call = Call { why, rollout: Some(id), service: Some(service), message };
        step.orders.push(Effect::CallPerson(call));
    }
}
