//! What is shown of a service, made after it was judged and shared until it is made anew.
//!
//! Ten thousand services are published four times a second, and most of them in between neither
//! told anything nor passed a deadline. Whatever changes by time alone has its moment in
//! [`super::evidence`]'s `next_check`; what is left is ages, which grow with the clock, and what is
//! the same for all services (probes, the observer's lateness), which stands in the [`Backdrop`].
//!
//! Who was heard and judged the same is shown anew in turn ([`Watch::show_some`]), or at once with
//! all others when somebody wants to read it ([`Watch::show`]).
//!
//! Invariant: what is shown is the opinion of the last judgement. If it is as new as that, then
//! before the next one [`Shown::as_of`] gives exactly [`Watch::verdict`] at that moment.

use std::sync::Arc;

use crate::names::{Environment, Service};
use crate::tick::Tick;
use crate::verdict::{
    InstanceEvidence, ProbeEvidence, ProbeState, Stage, Verdict, VerdictKind, WitnessEvidence,
};
use crate::watch::Watch;
use crate::watch::probes::Asked;

/// One service as it was when it was last judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    verdict: Verdict,
    asked: Asked,
    at: Tick,
}

/// What all services have in common at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Backdrop {
    at: Tick,
    late_ms: u64,
    strain: u8,
    /// By the signals that are asked about.
    probes: [ProbeEvidence; Asked::SETS],
}

impl Default for Backdrop {
    /// Before the first turn: nothing was sent, and nothing was late.
    fn default() -> Self {
        let nothing = ProbeEvidence { state: ProbeState::Unknown, coverage: None, age_ms: None };
        let probes = std::array::from_fn(|_| nothing.clone());
        Self { at: Tick(0), late_ms: 0, strain: 0, probes }
    }
}

impl Backdrop {
    /// The worst lateness of the verdict loop of late, in milliseconds.
    #[must_use]
    pub const fn late_ms(&self) -> u64 {
        self.late_ms
    }

    /// How much that strains it, from 0 to 8.
    #[must_use]
    pub const fn strain(&self) -> u8 {
        self.strain
    }
}

impl Shown {
    #[must_use]
    pub const fn service(&self) -> &Service {
        &self.verdict.service
    }

    #[must_use]
    pub const fn environment(&self) -> &Environment {
        &self.verdict.environment
    }

    #[must_use]
    pub const fn kind(&self) -> VerdictKind {
        self.verdict.verdict
    }

    #[must_use]
    pub const fn stage(&self) -> Option<Stage> {
        self.verdict.stage
    }

    /// When it was judged like this.
    #[must_use]
    pub const fn judged(&self) -> Tick {
        self.at
    }

    #[must_use]
    pub fn reason(&self) -> &str {
        &self.verdict.reason
    }

    /// Its instances; their ages are those of its last judgement.
    #[must_use]
    pub fn instances(&self) -> &[InstanceEvidence] {
        &self.verdict.instances
    }

    /// The age of its last beat at the moment of `backdrop`; `None` if it never beat.
    #[must_use]
    pub fn beat_age_ms(&self, backdrop: &Backdrop) -> Option<u64> {
        let passed_ms = backdrop.at.since_ms(self.at);
        self.verdict.beats.age_ms.map(|age_ms| age_ms.saturating_add(passed_ms))
    }

    /// The comparison of its work with its records.
    #[must_use]
    pub const fn witness(&self) -> Option<&WitnessEvidence> {
        self.verdict.witness.as_ref()
    }

    /// The verdict at the moment of `backdrop`, every age with it.
    #[must_use]
    pub fn as_of(&self, backdrop: &Backdrop) -> Verdict {
        let mut verdict = self.verdict.clone();
        verdict.grow_older(backdrop.at.since_ms(self.at));
        verdict.probes = backdrop.probes[self.asked.place()].clone();
        verdict.observer.late_ms = backdrop.late_ms;
        verdict.observer.strain = backdrop.strain;
        verdict
    }
}

/// What is shown of each service, and how old that is.
#[derive(Debug, Clone, Default)]
pub(super) struct Faces {
    shown: Vec<Option<Arc<Shown>>>,
    ages: Vec<Age>,
    /// Where in the order of names the next one to be made anew is looked for.
    turn: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Age {
    /// As of the last judgement.
    Fresh,
    /// The opinion is that of the last judgement, and the evidence is older.
    Older,
    /// It must not be shown any more.
    Outdated,
}

impl Faces {
    pub fn add(&mut self) {
        self.shown.push(None);
        self.ages.push(Age::Outdated);
    }

    /// A service was judged; `anew`: what it is told for has changed.
    pub fn judged(&mut self, index: usize, anew: bool) {
        match self.ages[index] {
            Age::Outdated => {}
            Age::Fresh | Age::Older => {
                self.ages[index] = if anew { Age::Outdated } else { Age::Older };
            }
        }
    }

    pub fn outdate_all(&mut self) {
        self.ages.fill(Age::Outdated);
    }
}

impl Watch {
    /// All services in the order of their names, as of the last turn.
    #[must_use]
    pub fn show(&mut self) -> Vec<Arc<Shown>> {
        self.show_some(usize::MAX)
    }

    /// All services in the order of their names, each with its last opinion. Of those that were
    /// judged the same since, `most` are made anew; the others have their turn in later calls.
    #[must_use]
    pub fn show_some(&mut self, most: usize) -> Vec<Arc<Shown>> {
        let from = self.faces.turn.min(self.order.len());
        let (before, after) = self.order.split_at(from);
        let mut left = most;
        for (step, index) in after.iter().chain(before).enumerate() {
            if left == 0 {
                self.faces.turn = (from + step) % self.order.len();
                break;
            }
            if self.faces.ages[*index] == Age::Older {
                self.faces.ages[*index] = Age::Outdated;
                left -= 1;
            }
        }
        let mut all = Vec::with_capacity(self.order.len());
        for place in 0..self.order.len() {
            let index = self.order[place];
            let shown = match &self.faces.shown[index] {
                Some(shown) if self.faces.ages[index] != Age::Outdated => Arc::clone(shown),
                Some(_) | None => {
                    let shown = Arc::new(self.shown_anew(index));
                    self.faces.ages[index] = Age::Fresh;
                    self.faces.shown[index] = Some(Arc::clone(&shown));
                    shown
                }
            };
            all.push(shown);
        }
        all
    }

    fn shown_anew(&self, index: usize) -> Shown {
        let world = self.world(self.judged);
        let service = &self.services[index];
        let verdict = self.wire(service, service.opinion, &world);
        Shown { verdict, asked: service.asked(&world), at: self.judged }
    }

    /// What is the same for all services at `now`.
    #[must_use]
    pub fn backdrop(&self, now: Tick) -> Backdrop {
        let told = |place| self.probes.evidence(Asked::at(place), now, &self.lens);
        Backdrop {
            at: now,
            late_ms: self.late_ms(now),
            strain: self.strain(now).level(),
            probes: std::array::from_fn(told),
        }
    }
}
