//! One trial: who runs, how fast, what breaks and when. All of it follows from the seed.
//!
//! Invariant: a plan leaves nothing to chance but the weather of its own seed.

use crate::chance::Chance;
use crate::fault::{Fault, Phase};

/// The instances of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One, replaced in its place.
    Alone,
    /// Two; the second one is the candidate beside the baseline. The fault is the candidate's.
    Candidate,
    /// Two, and the fault is of both.
    Both,
}

#[derive(Debug, Clone)]
pub struct Plan {
    pub seed: u64,
    pub fault: Option<Fault>,
    pub phase: Phase,
    pub topology: Topology,
    pub export_ms: u64,
    /// Requests a second, of each instance.
    pub rate: f64,
    pub error_share: f64,
    /// Worst delay of anything on the way, in milliseconds.
    pub delay_ms: u64,
    pub request_at: u64,
    pub apply_ms: u64,
    /// Where in its phase the fault begins, from 0 to 1.
    pub onset: f64,
    /// An agent that applies whether it has a permit or not.
    pub is_rogue: bool,
}

/// More than an hour, so that a clock can be an hour behind.
pub const START: u64 = 10_000_000;
/// A fault that begins later in the bake than this may end after it.
const BAKE_ONSET_MS: f64 = 30_000.0;

impl Plan {
    pub fn new(fault: Option<Fault>, phase: Phase, seed: u64) -> Self {
        let salt = fault.map_or(0, |fault| fault as u64 + 1) * 3 + phase as u64;
        let mut chance = Chance::new(seed.wrapping_mul(97).wrapping_add(salt));
        let topology = chance.pick(&[Topology::Alone, Topology::Candidate, Topology::Both]);
        let topology = match fault {
            Some(Fault::BothArmsSilent) => Topology::Both,
            // Traffic that leaves one of two instances is no fault of the service, and neither is
            // one that never exported and is not the candidate: the whole service is meant.
            Some(Fault::ZeroTraffic) if topology == Topology::Candidate => Topology::Both,
            Some(Fault::NeverMeasured)
                if topology == Topology::Candidate && phase == Phase::AtRequest =>
            {
                Topology::Both
            }
            Some(_) | None => topology,
        };
        Self {
            seed,
            fault,
            phase,
            topology,
            export_ms: chance.pick(&[500, 1_000, 1_000, 2_000]),
            rate: 8.0 + 42.0 * chance.part(),
            error_share: 0.02 * chance.part(),
            delay_ms: chance.pick(&[2, 10, 40]),
            request_at: START
                + chance.between(30_000, 40_000)
                + fault.filter(|_| phase == Phase::AtRequest).map_or(0, Fault::settles_ms),
            apply_ms: chance.between(3_000, 12_000),
            onset: chance.part(),
            is_rogue: chance.one_in(4),
        }
    }

    pub const fn instances(&self) -> usize {
        match self.topology {
            Topology::Alone => 1,
            Topology::Candidate | Topology::Both => 2,
        }
    }

    /// The instance that the rollout changes.
    pub const fn candidate(&self) -> usize {
        self.instances() - 1
    }

    /// The fault as the given instance has it.
    pub fn fault_of(&self, instance: usize) -> Option<Fault> {
        self.fault.filter(|fault| {
            !fault.is_the_services()
                || instance == self.candidate()
                || self.topology == Topology::Both
        })
    }

    /// Why this trial is known to be waved through, if it is. Each is a gap to be closed.
    pub fn known_gap(&self) -> Option<&'static str> {
        (self.fault == Some(Fault::Quartered) && self.phase == Phase::AtRequest)
            .then_some("a loss of a quarter is told from chance in a minute, as a rule")
    }

    /// When the fault begins, once the phase it belongs to has begun at `began`.
    pub fn onset_at(&self, began: u64) -> u64 {
        let within = match (self.phase, self.fault) {
            // Never measured is from the first moment on.
            (_, Some(Fault::NeverMeasured)) | (Phase::AtRequest, _) => 0.0,
            (Phase::Applying, _) => self.apply_ms as f64,
            (Phase::Baking, _) => BAKE_ONSET_MS,
        };
        began + (within * self.onset) as u64
    }
}
