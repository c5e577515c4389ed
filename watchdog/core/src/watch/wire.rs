//! The verdict in its wire form: every age computed as of `now`, every unknown number `None`.
//!
//! Invariant: what is shown is judged as of `now`, not as of the last step, so that a watch whose
//! loop is late does not show an old `live`.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::judge::{Counts, Opinion, Probes, Why, judge};
use crate::roster::Roster;
use crate::tally::Signal;
use crate::tick::Tick;
use crate::verdict::{
    BeatEvidence, BeatState, InstanceEvidence, ObserverEvidence, RevisionEvidence, SignalEvidence,
    SignalState, Verdict, WitnessEvidence, WitnessState,
};
use crate::watch::dating::Dated;
use crate::watch::evidence::World;
use crate::watch::probes::worst;
use crate::watch::service::ServiceWatch;
use crate::watch::stream::{Reading, Stream};
use crate::watch::{Remark, Watch};

/// The worst lateness is shown for this long.
pub(super) const LATENESS_KEPT_MS: u64 = 60_000;

impl Watch {
    /// The verdict as of `now`, whether or not a turn was told since it changed.
    pub(super) fn judged_at(&self, service: &ServiceWatch, now: Tick) -> Verdict {
        let mut world = self.world(now);
        world.sight.strain = self.strain(now);
        world.probe_states = self.probes.states(now, &self.lens);
        world.readback = self.readbacks.states(now);
        let horizon = self.sight.blind_until;
        world.collector_sick = self.collector.is_sick(now, horizon, &self.lens);
        let state = worst(world.probe_states, self.probed);
        let overdue = matches!(state, Probes::Late | Probes::Lost);
        world.backend = self.collector.backend(now, overdue, &self.lens);
        let opinion = judge(&service.evidence(&world, &service.moment(&world)));
        self.wire(service, opinion, &world)
    }

    pub(super) fn wire(
        &self,
        service: &ServiceWatch,
        opinion: Opinion,
        world: &World<'_>,
    ) -> Verdict {
        let now = world.now;
        // The step that would have found the change has not run yet: it began just now.
        let since = if opinion.kind == service.opinion.kind { service.since } else { now };
        Verdict {
            service: service.service.clone(),
            environment: service.environment.clone(),
            verdict: opinion.kind,
            since_ms: now.since_ms(since),
            stage: opinion.stage,
            reason: self.with_remarks(service.sentence(opinion, world)),
            revisions: service.revision_evidence(world),
            signals: service.signal_evidence(world),
            beats: service.beat_evidence(world),
            witness: service.witness_evidence(world),
            probes: self.probes.evidence(service.asked(world), now, &self.lens),
            observer: self.observer_evidence(opinion, now),
            instances: service.instance_evidence(world),
        }
    }

    /// Takes note of what was done about the collector; says whether that is new.
    pub(super) fn remark(&mut self, remark: Remark, on: bool) -> bool {
        let news = if on { self.remarks.insert(remark) } else { self.remarks.remove(&remark) };
        if news {
            self.faces.outdate_all();
        }
        news
    }

    /// A person who reads the reason must see what was done about the collector.
    fn with_remarks(&self, mut reason: Cow<'static, str>) -> Cow<'static, str> {
        for remark in &self.remarks {
            let reason = reason.to_mut();
            write!(reason, "; {}: a person must look", remark.words()).expect("a String takes it");
        }
        reason
    }

    fn observer_evidence(&self, opinion: Opinion, now: Tick) -> ObserverEvidence {
        let healthy = !matches!(opinion.why, Why::JustStarted | Why::ObserverBlind);
        let strain = self.strain(now).level();
        ObserverEvidence { late_ms: self.late_ms(now), healthy, strain }
    }

    /// The worst lateness of the last while.
    pub(super) fn late_ms(&self, now: Tick) -> u64 {
        match self.late {
            Some((at, late_ms)) if now.since_ms(at) <= LATENESS_KEPT_MS => late_ms,
            // The loop kept its times: that is observed, so 0 is a measurement here.
            Some(_) | None => 0,
        }
    }
}

impl ServiceWatch {
    /// One sentence for a person, with the names of what is silent.
    fn sentence(&self, opinion: Opinion, world: &World<'_>) -> Cow<'static, str> {
        let sentence = opinion.why.sentence();
        let Some(wanted) = named(opinion.why) else { return Cow::Borrowed(sentence) };
        let mut text = String::from(sentence);
        let readings = self.readings(&self.moment(world));
        let mut glue = ": ";
        for (stream, reading) in self.streams.iter().zip(readings) {
            if stream.expected && reading == wanted {
                write!(text, "{glue}{}", stream.signal.as_str()).expect("a String takes it all");
                glue = ", ";
            }
        }
        Cow::Owned(text)
    }

    fn signal_evidence(&self, world: &World<'_>) -> Roster<Signal, SignalEvidence> {
        let moment = self.moment(world);
        let shown = |stream: &&Stream| stream.expected || stream.last_arrival.is_some();
        self.streams
            .iter()
            .filter(shown)
            .map(|stream| {
                let reading = stream.reading(&moment);
                let dated = self.dated(stream, world, &moment);
                let evidence = SignalEvidence {
                    state: signal_state(reading, dated, stream.expected),
                    expected: stream.expected,
                    last_arrival_age_ms: stream.last_arrival.map(|at| world.now.since_ms(at)),
                    cadence_ms: stream.pace.learnt_ms(),
                    late_ms: self.late_ms(stream),
                    records: stream.records,
                };
                (stream.signal, evidence)
            })
            .collect()
    }

    /// The worst lateness of the last arrivals of one signal.
    fn late_ms(&self, stream: &Stream) -> Option<i64> {
        let own = self.instances.values().map(|i| i.dating[stream.signal as usize].late_ms);
        let told = own.chain([stream.dating.late_ms]).flatten();
        told.max_by_key(|late_ms| late_ms.unsigned_abs())
    }

    fn beat_evidence(&self, world: &World<'_>) -> BeatEvidence {
        let last = self.instances.values().max_by_key(|instance| instance.detector.last());
        BeatEvidence {
            state: self.beat_state(world),
            age_ms: last.map(|instance| world.now.since_ms(instance.detector.last())),
            interval_ms: last.and_then(|instance| instance.detector.interval_ms()),
            authenticated: last.is_some_and(|instance| instance.authenticated),
        }
    }

    fn witness_evidence(&self, world: &World<'_>) -> Option<WitnessEvidence> {
        if !self.tells_work() {
            return None;
        }
        let idle_ms = world.config.idle_after_ms;
        let still = self.last_work.is_none_or(|at| world.now.since_ms(at) > idle_ms);
        let Some(compared) = self.comparison(world) else {
            let state = match self.streams[0].records {
                None => WitnessState::Unpaired,
                Some(_) if still => WitnessState::Still,
                Some(_) => WitnessState::Thin,
            };
            return Some(WitnessEvidence {
                state,
                requests: self.worked,
                records: None,
                ratio: None,
                interval: None,
            });
        };
        let state = match compared.counts {
            Counts::Short => WitnessState::Short,
            Counts::Doubtful => WitnessState::Doubtful,
            Counts::Excess => WitnessState::Excess,
            Counts::Agree | Counts::Unproven if still => WitnessState::Still,
            Counts::Agree => WitnessState::Agrees,
            Counts::Unproven => WitnessState::Thin,
        };
        Some(WitnessEvidence {
            state,
            requests: compared.requests,
            records: Some(compared.records),
            ratio: Some(compared.ratio),
            interval: compared.interval,
        })
    }

    fn revision_evidence(&self, world: &World<'_>) -> Vec<RevisionEvidence> {
        self.revisions
            .iter()
            .map(|(revision, counts)| {
                let beats = self.instances.values().filter(|instance| {
                    instance.revision.as_ref() == Some(revision)
                        && is_alive(self.state_of(instance, world))
                });
                RevisionEvidence {
                    revision: revision.clone(),
                    instances: u32::try_from(beats.count()).unwrap_or(u32::MAX),
                    records: counts.records,
                    requests: counts.requests,
                    errors: counts.errors,
                    witnessed: counts.witnessed,
                    durations: counts.durations,
                }
            })
            .collect()
    }

    fn instance_evidence(&self, world: &World<'_>) -> Vec<InstanceEvidence> {
        self.instances
            .iter()
            .map(|(name, instance)| InstanceEvidence {
                instance: name.clone(),
                boot: Some(instance.boot.clone()),
                revision: instance.revision.clone(),
                beats: self.state_of(instance, world),
                age_ms: Some(world.now.since_ms(instance.detector.last())),
                leaving: instance.leaving.is_some(),
            })
            .collect()
    }
}

/// What the signals say that are named beside the reason; `None`: it names none.
pub(super) const fn named(why: Why) -> Option<Reading> {
    match why {
        Why::SignalsSilent => Some(Reading::Silent),
        Why::SignalMissing => Some(Reading::Never),
        Why::AllProven
        | Why::NoWork
        | Why::JustStarted
        | Why::ObserverBlind
        | Why::NeverHeard
        | Why::NeverBeat
        | Why::TooFewBeats
        | Why::PlannedStop
        | Why::NeverTelemetry
        | Why::TelemetryDue
        | Why::NoWitness
        | Why::RecordsOld
        | Why::RecordsAhead
        | Why::CountsDoubtful
        | Why::CountsExceed
        | Why::ProbesUnknown
        | Why::ProbesOverdue
        | Why::RuleDrops
        | Why::CollectorRefuses
        | Why::BeatsLost
        | Why::LoopHung
        | Why::TooFewInstances
        | Why::CountsShort
        | Why::InstanceBlind
        | Why::ValuesStanding
        | Why::ProbeWrong
        | Why::WorkWithoutTelemetry
        | Why::AllSilent => None,
    }
}

const fn is_alive(state: BeatState) -> bool {
    match state {
        BeatState::Fresh => true,
        BeatState::Suspect | BeatState::Lost | BeatState::Stuck | BeatState::Never => false,
    }
}

const fn signal_state(reading: Reading, dated: Dated, expected: bool) -> SignalState {
    match reading {
        Reading::Never => SignalState::Never,
        Reading::Fresh => match dated {
            Dated::Timely => SignalState::Fresh,
            Dated::Ahead => SignalState::Skewed,
            Dated::Late => SignalState::Stale,
        },
        Reading::Late | Reading::Due => SignalState::Late,
        // What nobody expects has ended rather than gone silent.
        Reading::Quiet | Reading::Silent | Reading::Mute if !expected => SignalState::Ended,
        Reading::Quiet | Reading::Silent | Reading::Mute => SignalState::Silent,
    }
}
