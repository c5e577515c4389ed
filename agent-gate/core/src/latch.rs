//! The latch every permit passes on its way out: shut, or clear from an epoch on.
//!
//! The machine decides, the store commits, a permit is signed and sent. Between decision and
//! sending, a freeze may be asked for; the latch is what makes "a freeze is in force before its
//! answer returns" true in memory, before anything is written. A mutex and three words: it costs
//! nothing at these rates and loom explores every interleaving of it.
//!
//! Invariant: after [`Latch::shut`] returned, no admission succeeds until [`Latch::clear`], and
//! then none that was decided under an older epoch.

use crate::ids::Epoch;
use crate::sync::{Mutex, MutexGuard};

/// See the module's head.
#[derive(Debug)]
pub struct Latch {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    shut: bool,
    epoch: Epoch,
    in_flight: u32,
}

/// Why the latch let nothing pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// It is shut.
    Shut,
    /// The decision is of an older epoch than the latch.
    OldEpoch { now: Epoch },
}

/// A permit that passed the latch and is on its way; dropping it says that it has been sent.
#[derive(Debug)]
#[must_use = "the admission ends when it is dropped"]
pub struct Admission<'a> {
    latch: &'a Latch,
}

impl Latch {
    /// A latch is born shut: a gate that starts knows nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(State { shut: true, epoch: Epoch(0), in_flight: 0 }) }
    }

    /// Shuts the latch. When it returns, no admission succeeds any more.
    ///
    /// Returns how many permits passed before and are still on their way.
    pub fn shut(&self) -> u32 {
        let mut state = self.lock();
        state.shut = true;
        state.in_flight
    }

    /// Lets decisions of `epoch` or newer pass again. The epoch never goes back.
    pub fn clear(&self, epoch: Epoch) {
        let mut state = self.lock();
        state.epoch = state.epoch.max(epoch);
        state.shut = false;
    }

    /// Lets a permit pass that was decided under `decided`.
    ///
    /// # Errors
    /// [`Refused`] if the latch is shut or the decision is of an older epoch.
    pub fn admit(&self, decided: Epoch) -> Result<Admission<'_>, Refused> {
        let mut state = self.lock();
        if state.shut {
            return Err(Refused::Shut);
        }
        if decided < state.epoch {
            return Err(Refused::OldEpoch { now: state.epoch });
        }
        state.in_flight += 1;
        Ok(Admission { latch: self })
    }

    /// Whether it is shut.
    #[must_use]
    pub fn is_shut(&self) -> bool {
        self.lock().shut
    }

    /// Permits that passed and are still on their way.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.lock().in_flight
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A poisoned latch means that a thread died half way. A dead gate gives no permits.
        self.state.lock().expect("no thread panics while it holds the latch")
    }
}

impl Default for Latch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        self.latch.lock().in_flight -= 1;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_new_latch_lets_nothing_pass() {
        assert_eq!(Latch::new().admit(Epoch(9)).err(), Some(Refused::Shut));
    }

    #[test]
    fn a_cleared_latch_passes_its_epoch_and_newer_ones_only() {
        let latch = Latch::new();
        latch.clear(Epoch(4));
        assert_eq!(latch.admit(Epoch(3)).err(), Some(Refused::OldEpoch { now: Epoch(4) }));
        assert!(latch.admit(Epoch(4)).is_ok());
        assert!(latch.admit(Epoch(5)).is_ok());
        latch.clear(Epoch(2));
        assert!(latch.admit(Epoch(3)).is_err(), "the epoch never goes back");
    }

    #[test]
    fn shutting_tells_what_is_still_on_its_way() {
        let latch = Latch::new();
        latch.clear(Epoch(1));
        let admission = latch.admit(Epoch(1)).expect("the latch is clear");
        assert_eq!(latch.shut(), 1);
        drop(admission);
        assert_eq!(latch.in_flight(), 0);
        assert!(latch.is_shut());
    }
}
