//! What the gate sees of each service: the watchdogs' attestations and how fresh they are.
//!
//! Sight is volatile on purpose. A gate that starts knows nothing, and a watchdog that starts is
//! believed nothing good before it has been heard for the dwell time. What an attestation says is
//! good for its own `ttl_ms` only, so silence needs no message.
//!
//! Invariant: a service that no fresh attestation names is `unknown`. Bad news counts at once,
//! good news only after the dwell.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use watchdog_core::attestation::Attestation;
use watchdog_core::names::{Boot, Revision, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{RevisionEvidence, Stage, Verdict, VerdictKind, WitnessState};

use crate::gate::quorum::judge;
use crate::gate::rollout::reverts;
use crate::gate::waiver::{Waiver, WaiverSeen};
use crate::policy::PolicySet;

/// What is in sight at one moment, for the services that matter to an event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    pub services: BTreeMap<Service, Evidence>,
    /// A fresh attestation says that most services fell silent in one window.
    pub mass_silence: bool,
    /// What instances run that was never granted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub strange: BTreeMap<Service, Strange>,
}

/// A revision that no permit led to, and for how long a watchdog has seen it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Strange {
    pub revision: Revision,
    pub for_ms: u64,
}

impl Snapshot {
    /// The evidence about `service`.
    #[must_use]
    pub fn of(&self, service: &Service) -> &Evidence {
        static NONE: LazyLock<Evidence> = LazyLock::new(Evidence::none);
        self.services.get(service).unwrap_or(&NONE)
    }
}

/// The evidence about one service at one moment, with ages and sources.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// The worst of what the watchdogs say, and `unknown` where they are silent or new.
    pub verdict: VerdictKind,
    pub basis: Basis,
    /// For how long the gate itself has seen it live without a break.
    pub live_ms: Option<u64>,
    /// The age of the oldest attestation it rests on.
    pub age_ms: Option<u64>,
    pub stage: Option<Stage>,
    /// One sentence for a person.
    pub reason: String,
    /// Whether its records are as many as the work that was witnessed; `None` if nobody counts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<WitnessState>,
    pub revisions: Vec<RevisionEvidence>,
    pub attested: Vec<AttestedBy>,
    /// The watchdog whose word stands alone against at least two that agree.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspect: Option<String>,
    /// The waiver that took a word in it back to `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waived: Option<WaiverSeen>,
}

/// What a piece of evidence rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// No watchdog ever named the service to this gate.
    NeverHeard,
    /// A watchdog that saw it is silent.
    WatchdogSilent,
    /// A watchdog that sees it, or the gate, has just started.
    Settling,
    /// Fewer watchdogs than policy asks for see it.
    NoQuorum,
    Fresh,
}

/// One watchdog's word in a piece of evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestedBy {
    pub watchdog: String,
    pub boot: Boot,
    pub seq: u64,
    pub age_ms: u64,
    pub verdict: VerdictKind,
}

impl Evidence {
    /// No evidence at all.
    #[must_use]
    pub fn none() -> Self {
        Self {
            verdict: VerdictKind::Unknown,
            basis: Basis::NeverHeard,
            live_ms: None,
            age_ms: None,
            stage: None,
            reason: "no watchdog has named this service since the gate started".to_owned(),
            witness: None,
            revisions: Vec::new(),
            attested: Vec::new(),
            suspect: None,
            waived: None,
        }
    }

    #[must_use]
    pub fn is_live(&self) -> bool {
        self.verdict == VerdictKind::Live
    }

    /// What `revision` has shown, if it was ever seen.
    #[must_use]
    pub fn revision(&self, revision: &Revision) -> Option<&RevisionEvidence> {
        self.revisions.iter().find(|seen| &seen.revision == revision)
    }

    /// The revision most instances run, other than `except`; `None` if no instance says.
    #[must_use]
    pub fn running(&self, except: &Revision) -> Option<&Revision> {
        self.revisions
            .iter()
            .filter(|seen| seen.instances > 0 && &seen.revision != except)
            .max_by_key(|seen| (seen.instances, seen.requests, &seen.revision))
            .map(|seen| &seen.revision)
    }
}

/// The volatile half of the gate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sight {
    sources: BTreeMap<Arc<str>, Source>,
    /// What each watchdog last said of a service. By service, because a step asks about few of
    /// the many that are attested.
    seen: BTreeMap<Service, BTreeMap<Arc<str>, Seen>>,
    /// The services that some watchdog, fresh or silent, gave a verdict that takes back.
    lost: BTreeSet<Service>,
    /// By service and watchdog: the revision, and since when it is seen.
    strange: BTreeMap<Service, BTreeMap<String, (Revision, Tick)>>,
}

#[derive(Debug, Clone, PartialEq)]
struct Source {
    boot: Boot,
    seq: u64,
    /// Since when it has been heard without a lapse.
    heard_since: Tick,
    received: Tick,
    expires: Tick,
    mass_silence: bool,
    /// The services it named last.
    names: BTreeSet<Service>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    live_since: Option<Tick>,
    verdict: Verdict,
}

/// Why an attestation is not taken; sight is unchanged then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Untaken {
    /// Its boot or sequence is not newer than what is known; `last` is the last of the known boot.
    Overtaken { last: u64 },
    /// It goes on from one that is not the last that was taken, or that has run out.
    BaseUnknown,
}

impl Sight {
    /// Takes in an attestation received at `now`, good for its own TTL but at most `ttl_max_ms`.
    ///
    /// # Errors
    /// [`Untaken`] if it is not newer, or goes on from what is not known; sight is unchanged then.
    pub fn attest(
        &mut self,
        attestation: Attestation,
        now: Tick,
        ttl_max_ms: u64,
    ) -> Result<(), Untaken> {
        let Attestation { watchdog, boot, seq, ttl_ms, mass_silence, base, items } = attestation;
        let known = self.sources.get(watchdog.as_str());
        if let Some(known) = known.filter(|known| !is_newer(known, &boot, seq)) {
            return Err(Untaken::Overtaken { last: known.seq });
        }
        let unbroken = known.filter(|known| known.boot == boot && now < known.expires);
        if base.is_some() && base != unbroken.map(|known| known.seq) {
            return Err(Untaken::BaseUnknown);
        }
        // Only an unbroken source vouches for the time before: a lapse or another boot begins
        // anew.
        let heard_since = unbroken.map_or(now, |known| known.heard_since);
        let is_unbroken = unbroken.is_some();
        let (watchdog, named) = match self.sources.remove_entry(watchdog.as_str()) {
            Some((watchdog, known)) => (watchdog, known.names),
            None => (watchdog.into(), BTreeSet::new()),
        };
        // With a base, what is not named stands as it was told.
        let (mut names, gone) = match base {
            Some(_) => (named, BTreeSet::new()),
            None => (BTreeSet::new(), named),
        };
        for verdict in items {
            names.insert(verdict.service.clone());
            self.see(&watchdog, verdict, now, is_unbroken);
        }
        for service in gone.difference(&names) {
            self.unsee(&watchdog, service);
        }
        let expires = now.plus_ms(ttl_ms.min(ttl_max_ms));
        let source = Source { boot, seq, heard_since, received: now, expires, mass_silence, names };
        self.sources.insert(watchdog, source);
        Ok(())
    }

    fn see(&mut self, watchdog: &Arc<str>, verdict: Verdict, now: Tick, is_unbroken: bool) {
        let service = verdict.service.clone();
        let by = self.seen.entry(service.clone()).or_default();
        let before = by.get(watchdog).filter(|_| is_unbroken).and_then(|seen| seen.live_since);
        let live_since = (verdict.verdict == VerdictKind::Live).then(|| before.unwrap_or(now));
        by.insert(Arc::clone(watchdog), Seen { live_since, verdict });
        if by.values().any(|seen| reverts(seen.verdict.verdict)) {
            self.lost.insert(service);
        } else {
            self.lost.remove(&service);
        }
    }

    fn unsee(&mut self, watchdog: &str, service: &Service) {
        let Some(by) = self.seen.get_mut(service) else { return };
        by.remove(watchdog);
        if !by.values().any(|seen| reverts(seen.verdict.verdict)) {
            self.lost.remove(service);
        }
        if by.is_empty() {
            self.seen.remove(service);
        }
    }

    /// Notes what `watchdog` said last is run that `is_granted` does not know.
    pub fn compare(
        &mut self,
        watchdog: &str,
        now: Tick,
        is_granted: impl Fn(&Service, &Revision) -> bool,
    ) {
        let Some(source) = self.sources.get(watchdog) else { return };
        for service in &source.names {
            let seen = self.seen.get(service).and_then(|by| by.get(watchdog));
            let revisions = seen.into_iter().flat_map(|seen| &seen.verdict.revisions);
            let mut runs = revisions.filter(|seen| seen.instances > 0);
            if let Some(seen) = runs.find(|seen| !is_granted(service, &seen.revision)) {
                let by = self.strange.entry(service.clone()).or_default();
                let known = by.get(watchdog).filter(|(revision, _)| *revision == seen.revision);
                let since = known.map_or(now, |(_, since)| *since);
                by.insert(watchdog.to_owned(), (seen.revision.clone(), since));
            } else if let Some(by) = self.strange.get_mut(service) {
                by.remove(watchdog);
            }
        }
        self.strange.retain(|service, by| {
            if !source.names.contains(service) {
                by.remove(watchdog);
            }
            !by.is_empty()
        });
    }

    /// What fresh watchdogs see run that was never granted.
    #[must_use]
    pub fn strange(&self, now: Tick) -> BTreeMap<Service, Strange> {
        let is_fresh = |watchdog: &String| {
            self.sources.get(watchdog.as_str()).is_some_and(|source| now < source.expires)
        };
        let oldest = |(service, by): (&Service, &BTreeMap<String, (Revision, Tick)>)| {
            let fresh = by.iter().filter(|(watchdog, _)| is_fresh(watchdog));
            let (_, (revision, since)) = fresh.min_by_key(|(_, (_, since))| *since)?;
            let strange = Strange { revision: revision.clone(), for_ms: now.since_ms(*since) };
            Some((service.clone(), strange))
        };
        self.strange.iter().filter_map(oldest).collect()
    }

    /// Forgets everything: the gate started, or the clocks cannot be trusted.
    pub fn clear(&mut self) {
        self.strange.clear();
        *self = Self::default();
    }

    /// Forgets watchdogs that have been silent for longer than `forget_ms`.
    pub fn forget(&mut self, now: Tick, forget_ms: u64) {
        let is_gone = |source: &Source| now >= source.expires.plus_ms(forget_ms);
        while let Some((watchdog, _)) = self.sources.iter().find(|(_, source)| is_gone(source)) {
            let watchdog = Arc::clone(watchdog);
            let gone = self.sources.remove(&watchdog).expect("it was found just now");
            for service in &gone.names {
                self.unsee(&watchdog, service);
            }
        }
    }

    /// The next moment after `after` at which an attestation runs out.
    #[must_use]
    pub fn lapse(&self, after: Tick) -> Option<Tick> {
        self.sources.values().map(|source| source.expires).filter(|expires| *expires > after).min()
    }

    /// Whether a fresh attestation says that most services fell silent at once.
    #[must_use]
    pub fn mass_silence(&self, now: Tick) -> bool {
        self.sources.values().any(|source| source.mass_silence && now < source.expires)
    }

    /// The services to which a fresh attestation gives a verdict that takes back.
    pub fn lost(&self, now: Tick) -> impl Iterator<Item = &Service> {
        let is_fresh = move |watchdog: &str| {
            self.sources.get(watchdog).is_some_and(|source| now < source.expires)
        };
        self.lost.iter().filter(move |service| {
            self.seen.get(*service).is_some_and(|by| {
                by.iter().any(|(name, seen)| reverts(seen.verdict.verdict) && is_fresh(name))
            })
        })
    }

    /// The verdicts of one service as the watchdogs last stated them, with ages in milliseconds.
    pub fn verdicts<'a>(
        &'a self,
        service: &'a Service,
        now: Tick,
    ) -> impl Iterator<Item = (&'a str, u64, &'a Verdict)> {
        self.seen.get(service).into_iter().flatten().filter_map(move |(watchdog, seen)| {
            let source = self.sources.get(watchdog)?;
            Some((&**watchdog, now.since_ms(source.received), &seen.verdict))
        })
    }

    /// All services that any watchdog has named, ordered, each once.
    #[must_use]
    pub fn known(&self) -> Vec<&Service> {
        self.seen.keys().collect()
    }

    /// The evidence about `service` at `now`, as far as it is not waived.
    #[must_use]
    pub fn look(
        &self,
        service: &Service,
        now: Tick,
        policy: &PolicySet,
        waivers: &[&Waiver],
    ) -> Evidence {
        let terms = policy.of(service);
        let by = self.seen.get(service).into_iter().flatten();
        let each = by.filter_map(|(name, seen)| {
            let said = self.sources.get(name)?.evidence(name, seen, now, terms.dwell_ms);
            Some(waivers.iter().fold(said, |said, waiver| waiver.over(said)))
        });
        together(each.collect(), terms.quorum)
    }

    /// Whether so many watchdogs know the service that one of them can stand alone.
    #[must_use]
    pub fn is_disputed(&self, service: &Service) -> bool {
        self.seen.get(service).is_some_and(|by| by.len() > 2)
    }
}

fn is_newer(known: &Source, boot: &Boot, seq: u64) -> bool {
    if *boot == known.boot {
        return seq > known.seq;
    }
    // A boot begins with its start time: an older one is a replay or a process that should be
    // dead. Boots that do not say are taken in the order they come.
    match (boot.started_ms(), known.boot.started_ms()) {
        (Some(new), Some(old)) => new >= old,
        (None, _) | (_, None) => true,
    }
}

impl Source {
    fn evidence(&self, name: &str, seen: &Seen, now: Tick, dwell_ms: u64) -> Evidence {
        let age_ms = now.since_ms(self.received);
        let said = seen.verdict.verdict;
        let (verdict, basis) = if now >= self.expires {
            (VerdictKind::Unknown, Basis::WatchdogSilent)
        } else if now.since_ms(self.heard_since) < dwell_ms && said < VerdictKind::Unknown {
            (VerdictKind::Unknown, Basis::Settling)
        } else {
            (said, Basis::Fresh)
        };
        let reason = match basis {
            Basis::WatchdogSilent => format!("watchdog {name} has been silent for {age_ms} ms"),
            Basis::Settling => format!("watchdog {name} has been heard for less than the dwell"),
            Basis::Fresh | Basis::NeverHeard | Basis::NoQuorum => seen.verdict.reason.to_string(),
        };
        let live_ms = (now < self.expires)
            .then_some(seen.live_since)
            .flatten()
            .map(|since| now.since_ms(since));
        let attested = AttestedBy {
            watchdog: name.to_owned(),
            boot: self.boot.clone(),
            seq: self.seq,
            age_ms,
            verdict: said,
        };
        Evidence {
            verdict,
            basis,
            live_ms,
            age_ms: Some(age_ms),
            stage: seen.verdict.stage,
            reason,
            witness: seen.verdict.witness.as_ref().map(|witness| witness.state),
            revisions: seen.verdict.revisions.clone(),
            attested: vec![attested],
            suspect: None,
            waived: None,
        }
    }
}

/// What all watchdogs say, by the quorum.
fn together(mut each: Vec<Evidence>, quorum: u32) -> Evidence {
    let words: Vec<VerdictKind> = each.iter().map(|evidence| evidence.verdict).collect();
    let judged = judge(&words, quorum);
    let suspect = judged.suspect.map(|place| each[place].attested[0].watchdog.clone());
    let against = each.iter().position(|evidence| !evidence.is_live());
    let overruled = against.filter(|_| judged.is_overruled).map(|place| each.remove(place));
    let live = words.iter().filter(|word| **word == VerdictKind::Live).count();
    let mut evidence = each.into_iter().reduce(worst).unwrap_or_else(Evidence::none);
    if let Some(overruled) = overruled {
        evidence.attested.extend(overruled.attested);
        evidence.attested.sort_unstable_by(|one, other| one.watchdog.cmp(&other.watchdog));
    }
    if judged.is_short && evidence.verdict != judged.verdict {
        evidence.verdict = judged.verdict;
        evidence.basis = Basis::NoQuorum;
        evidence.reason = format!("{live} of the {quorum} watchdogs that policy asks see it live");
    }
    evidence.suspect = suspect;
    evidence
}

/// The worse of two pieces of evidence, with the sources of both.
fn worst(left: Evidence, right: Evidence) -> Evidence {
    let (mut worse, better) =
        if right.verdict > left.verdict { (right, left) } else { (left, right) };
    worse.live_ms = worse.live_ms.zip(better.live_ms).map(|(one, other)| one.min(other));
    worse.age_ms = worse.age_ms.max(better.age_ms);
    worse.waived = worse.waived.or(better.waived);
    worse.witness = less_proven(worse.witness, better.witness);
    for seen in better.revisions {
        match worse.revisions.iter_mut().find(|known| known.revision == seen.revision) {
            // Two watchdogs may count the same telemetry, so counts are never added up: the one
            // that saw more of a revision speaks for it.
            Some(known) => {
                if (seen.requests, seen.records) > (known.requests, known.records) {
                    let instances = known.instances.max(seen.instances);
                    *known = RevisionEvidence { instances, ..seen };
                } else {
                    known.instances = known.instances.max(seen.instances);
                }
            }
            None => worse.revisions.push(seen),
        }
    }
    worse.revisions.sort_unstable_by(|one, other| one.revision.cmp(&other.revision));
    worse.attested.extend(better.attested);
    worse.attested.sort_unstable_by(|one, other| one.watchdog.cmp(&other.watchdog));
    worse
}

/// Of two watchdogs, the word of the one that is less sure; one that counts nothing has none.
fn less_proven(one: Option<WitnessState>, other: Option<WitnessState>) -> Option<WitnessState> {
    match (one, other) {
        (Some(WitnessState::Agrees), Some(other)) => Some(other),
        (Some(one), _) => Some(one),
        (None, other) => other,
    }
}
