//! Which beats count: the replay rule and the signed-once rule.
//!
//! A beat that is replayed, forged or out of an older life of the instance would keep a dead
//! service alive, so it is refused before the watch sees it. The listening thread owns this state,
//! because the answer to the sender (409, 401) depends on it.
//!
//! | rule | refusal |
//! |---|---|
//! | `seq` grows within a boot | [`Refusal::Replayed`] |
//! | a newer boot retires the older one for ever | [`Refusal::OlderBoot`] |
//! | once signed, always signed; off loopback always signed | [`Refusal::Unsigned`] |
//! | a boot starts with its start time in milliseconds | [`Refusal::BootWithoutStart`] |
//! | memory is bounded | [`Refusal::TooManyServices`], [`Refusal::TooManyInstances`] |
//!
//! Invariant: for one instance, the admitted `(start, boot, seq)` only ever grow.

use std::fmt;

use crate::beat::BeatBody;
use crate::directory::Directory;
use crate::names::{Boot, Instance, Service};
use crate::roster::Roster;

/// Whether the beat carried a MAC that was verified. A MAC that is wrong never gets here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seal {
    Signed,
    Unsigned,
}

/// Where the beat came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This host, over loopback or a Unix socket.
    Loopback,
    /// Anywhere else.
    Remote,
}

/// Why a beat does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    Replayed,
    OlderBoot,
    Unsigned,
    BootWithoutStart,
    TooManyServices,
    TooManyInstances,
}

impl Refusal {
    pub const ALL: [Self; 6] = [
        Self::Replayed,
        Self::OlderBoot,
        Self::Unsigned,
        Self::BootWithoutStart,
        Self::TooManyServices,
        Self::TooManyInstances,
    ];

    /// The code in API errors and metrics labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Replayed => "replayed",
            Self::OlderBoot => "older_boot",
            Self::Unsigned => "unsigned",
            Self::BootWithoutStart => "boot_without_start",
            Self::TooManyServices => "too_many_services",
            Self::TooManyInstances => "too_many_instances",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replayed => "a beat with this or a later seq was already heard",
            Self::OlderBoot => "a newer boot of this instance was already heard",
            Self::Unsigned => "this beat must be signed",
            Self::BootWithoutStart => "boot must start with the start time in milliseconds",
            Self::TooManyServices => "too many services beat here",
            Self::TooManyInstances => "too many instances of this service beat here",
        })
    }
}

impl std::error::Error for Refusal {}

/// Most services, and most instances of each, that are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub services: usize,
    pub instances: usize,
}

/// An instance that was silent while so many beats per place were admitted is long dead, and its
/// place may go to another.
const SILENT_ROUNDS: u64 = 16;

/// What was admitted so far.
#[derive(Debug, Clone)]
pub struct Admission {
    bounds: Bounds,
    services: Directory<Admitted>,
}

#[derive(Debug, Clone, Default)]
struct Admitted {
    signed_once: bool,
    /// Beats admitted, to tell who was silent for long without a clock.
    beats: u64,
    instances: Roster<Instance, Life>,
}

#[derive(Debug, Clone)]
struct Life {
    start_ms: u64,
    boot: Boot,
    seq: u64,
    /// What [`Admitted::beats`] was when it last beat.
    heard: u64,
}

impl Admission {
    #[must_use]
    pub const fn new(bounds: Bounds) -> Self {
        Self { bounds, services: Directory::new() }
    }

    /// Lets the beat in, or says why not. A refused beat changes nothing.
    ///
    /// # Errors
    /// The first [`Refusal`] that applies.
    pub fn admit(
        &mut self,
        service: &Service,
        body: &BeatBody,
        seal: Seal,
        origin: Origin,
    ) -> Result<(), Refusal> {
        let start_ms = body.boot.started_ms().ok_or(Refusal::BootWithoutStart)?;
        let is_full = self.services.len() >= self.bounds.services;
        let known = self.services.get_mut(service);
        let signed_once = known.as_ref().is_some_and(|known| known.signed_once);
        let unsigned_counts = matches!(origin, Origin::Loopback) && !signed_once;
        if matches!(seal, Seal::Unsigned) && !unsigned_counts {
            return Err(Refusal::Unsigned);
        }
        let places = self.bounds.instances;
        let admitted = match known {
            None if is_full => return Err(Refusal::TooManyServices),
            None => self.services.entry(service, Admitted::default),
            Some(known) => {
                match known.instances.get(&body.instance) {
                    None if !known.has_place(places) => return Err(Refusal::TooManyInstances),
                    None => {}
                    Some(life) => life.check(start_ms, body)?,
                }
                known
            }
        };
        admitted.signed_once |= matches!(seal, Seal::Signed);
        admitted.remember(body, start_ms, places);
        Ok(())
    }

    /// Forgets an instance, so that its place is free for another.
    pub fn forget(&mut self, service: &Service, instance: &Instance) {
        if let Some(admitted) = self.services.get_mut(service) {
            admitted.instances.remove(instance);
        }
    }

    /// Whether unsigned beats of the service are refused from now on.
    #[must_use]
    pub fn is_signed(&self, service: &Service) -> bool {
        self.services.get(service).is_some_and(|admitted| admitted.signed_once)
    }
}

impl Admitted {
    fn has_place(&self, places: usize) -> bool {
        self.instances.len() < places || self.longest_silent(places).is_some()
    }

    /// The instance that was silent longest, if that is long enough to take its place.
    fn longest_silent(&self, places: usize) -> Option<&Instance> {
        let places = u64::try_from(places).unwrap_or(u64::MAX);
        let (instance, life) = self.instances.iter().min_by_key(|(_, life)| life.heard)?;
        let silent = self.beats.saturating_sub(life.heard);
        (silent >= SILENT_ROUNDS.saturating_mul(places)).then_some(instance)
    }

    fn remember(&mut self, body: &BeatBody, start_ms: u64, places: usize) {
        self.beats += 1;
        let heard = self.beats;
        if let Some(life) = self.instances.get_mut(&body.instance) {
            life.seq = body.seq;
            life.heard = heard;
            // The common case allocates nothing.
            if life.boot != body.boot {
                life.boot = body.boot.clone();
                life.start_ms = start_ms;
            }
            return;
        }
        if self.instances.len() >= places
            && let Some(silent) = self.longest_silent(places).cloned()
        {
            self.instances.remove(&silent);
        }
        let life = Life { start_ms, boot: body.boot.clone(), seq: body.seq, heard };
        self.instances.insert(body.instance.clone(), life);
    }
}

impl Life {
    fn check(&self, start_ms: u64, body: &BeatBody) -> Result<(), Refusal> {
        if self.boot == body.boot {
            return if body.seq > self.seq { Ok(()) } else { Err(Refusal::Replayed) };
        }
        // Two boots in one millisecond are told apart by their text; one of them must lose.
        if (start_ms, &body.boot) > (self.start_ms, &self.boot) {
            Ok(())
        } else {
            Err(Refusal::OlderBoot)
        }
    }
}

#[cfg(test)]
mod tests;
