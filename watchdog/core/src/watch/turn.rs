//! One turn: whom it concerns, and what becomes of each.
//!
//! A turn touches those of whom something was heard and those whose time has come, and nobody
//! else, unless something changed that concerns all. Beats and arrivals push a service's moment
//! out, and its place in the queue is left where it was: when that earlier moment comes, the
//! service goes to its true one and is not judged.
//!
//! Invariant: a service is judged no later than in the first turn at or after the moment at which
//! its verdict may change by time alone.

use crate::judge::{Probes, judge};
use crate::probe::Way;
use crate::tick::Tick;
use crate::verdict::VerdictKind;
use crate::watch::mass::PathReport;
use crate::watch::probes::worst;
use crate::watch::stream::Moment;
use crate::watch::wire::named;
use crate::watch::{Effect, Watch, Weather};

/// Which services an event may concern.
#[derive(Debug, Clone, Default)]
pub(super) struct Touched {
    /// There were facts at all.
    pub any: bool,
    /// In the order of the facts, more than once if there were several.
    pub services: Vec<usize>,
    pub all: bool,
    pub ailing: bool,
}

impl Watch {
    /// Puts through the table what the event or the time has touched.
    pub(super) fn settle(&mut self, mut touched: Touched, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.call_due(&mut touched, now);
        touched.all |= self.look_out(now);
        self.judge_touched(&mut touched, now, &mut effects);
        if let Some(on) = self.mass.turn(now, self.live, self.path_report(), &self.config) {
            self.weather.mass_silence = on;
            effects.push(Effect::MassSilence { on });
            let mut all = Touched { all: true, ..Touched::default() };
            self.judge_touched(&mut all, now, &mut effects);
        }
        self.clear_way();
        if !self.mass.is_on() {
            let horizon = self.sight.blind_until;
            let probes = (&self.probes, self.probed);
            let convicted = self.collector.convict(now, horizon, probes, &self.lens);
            if let Some((boot, reason)) = convicted {
                effects.push(Effect::ConvictCollector { boot, reason });
            }
        }
        effects
    }

    /// Calls up those whose moment has come; who was heard of meanwhile waits for a later one.
    fn call_due(&mut self, touched: &mut Touched, now: Tick) {
        while let Some((at, index)) = self.queue.first().copied()
            && at <= now
        {
            self.queue.pop_first();
            let service = &mut self.services[index];
            service.queued = service.due.filter(|due| *due > now);
            match service.queued {
                Some(due) => {
                    self.queue.insert((due, index));
                }
                None => touched.services.push(index),
            }
        }
    }

    /// Sends those on who stand first and whose moment is later, so that the first of the queue is
    /// the next deadline.
    fn clear_way(&mut self) {
        while let Some((at, index)) = self.queue.first().copied() {
            let service = &mut self.services[index];
            if service.due == Some(at) {
                return;
            }
            self.queue.pop_first();
            service.queued = service.due;
            if let Some(due) = service.due {
                self.queue.insert((due, index));
            }
        }
    }

    /// Looks at what concerns all services; says whether it changed.
    fn look_out(&mut self, now: Tick) -> bool {
        self.collector.backend_proven = self.readbacks.proven(Way::Direct, now);
        let strain = self.adopt_strain(now);
        let probes = self.probes.states(now, &self.lens);
        let overdue = matches!(worst(probes, self.probed), Probes::Late | Probes::Lost);
        let weather = Weather {
            probes,
            collector_sick: self.collector.is_sick(now, self.sight.blind_until, &self.lens),
            backend: self.collector.backend(now, overdue, &self.lens),
            readback: self.readbacks.states(now),
            mass_silence: self.mass.is_on(),
            strain,
        };
        std::mem::replace(&mut self.weather, weather) != weather
    }

    fn path_report(&self) -> PathReport {
        let returning = worst(self.weather.probes, self.probed) == Probes::Returning;
        let fine = returning && !self.weather.collector_sick;
        PathReport { fine, proven: self.probes.proven(self.probed) }
    }

    fn judge_touched(&mut self, touched: &mut Touched, now: Tick, effects: &mut Vec<Effect>) {
        if touched.all {
            (0..self.services.len()).for_each(|index| self.judge_one(index, now, effects));
            return;
        }
        if touched.ailing {
            touched.services.extend(&self.ailing);
        }
        touched.services.sort_unstable();
        touched.services.dedup();
        for index in &touched.services {
            self.judge_one(*index, now, effects);
        }
    }

    fn judge_one(&mut self, index: usize, now: Tick, effects: &mut Vec<Effect>) {
        let world = self.world(now);
        let service = &self.services[index];
        let moment = service.moment(&world);
        let readings = service.readings(&moment);
        let opinion = judge(&service.evidence(&world, &moment));
        let before = service.opinion;
        let service = &mut self.services[index];
        for stream in &mut service.streams {
            stream.keep_silence(&moment);
        }
        service.note_silence(now, self.sight, &self.config);
        service.opinion = opinion;
        self.faces.judged(index, opinion != before || named(opinion.why).is_some());
        let service = &mut self.services[index];
        if opinion.kind != before.kind {
            service.since = now;
            self.recount(index, before.kind, opinion.kind, now);
        }
        if (opinion.kind, opinion.stage) != (before.kind, before.stage) {
            let service = self.services[index].service.clone();
            effects.push(Effect::VerdictChanged { service });
        }
        self.memory_grew |= self.services[index].learn(now, readings, &self.config);
        // What was learnt may ask for another moment; who beats at this one has not changed.
        self.requeue(index, now, &moment);
    }

    /// Keeps the counts over all services in step with one verdict.
    fn recount(&mut self, index: usize, before: VerdictKind, after: VerdictKind, now: Tick) {
        let (was_live, is_live) = (before == VerdictKind::Live, after == VerdictKind::Live);
        match (was_live, is_live) {
            (false, true) => self.live += 1,
            (true, false) => {
                self.live -= 1;
                self.services[index].fell = Some(now);
            }
            (true, true) | (false, false) => {}
        }
        match after {
            VerdictKind::TelemetryLost | VerdictKind::Down => {
                // Beats and telemetry that end together are missed one after the other.
                let recent = |at: Tick| now.since_ms(at) <= self.config.mass_window_ms;
                if self.services[index].fell.is_some_and(recent) {
                    self.mass.fall(index, now);
                }
                self.ailing.insert(index);
            }
            VerdictKind::Lossy
            | VerdictKind::Frozen
            | VerdictKind::Forged
            | VerdictKind::HeartbeatLost => {
                self.ailing.insert(index);
            }
            VerdictKind::Live | VerdictKind::Idle | VerdictKind::Unknown => {
                self.services[index].fell = None;
                self.mass.rise(index);
                self.ailing.remove(&index);
            }
        }
    }

    /// Puts the service into the queue for the first time, or after more became known of it.
    pub(super) fn enqueue(&mut self, index: usize, now: Tick) {
        let moment = self.services[index].moment(&self.world(now));
        self.requeue(index, now, &moment);
    }

    /// Puts the service into the queue. An entry that is too early stays: it costs one look.
    fn requeue(&mut self, index: usize, now: Tick, moment: &Moment) {
        let due = self.services[index].next_check(&self.world(now), moment);
        self.services[index].due = due;
        let Some(at) = due else { return };
        let queued = self.services[index].queued;
        if queued.is_some_and(|queued| queued <= at) {
            return;
        }
        if let Some(queued) = queued {
            self.queue.remove(&(queued, index));
        }
        self.queue.insert((at, index));
        self.services[index].queued = Some(at);
    }
}
