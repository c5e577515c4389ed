//! Rounds of proof that everything which carries telemetry still turns.
//!
//! ```text
//!  beat thread ── asks, every 100 ms ──► pipeline's runtime ──► each exporter's task
//!       ▲                                        │                        │
//!       └────────── looks at the pulse ◄── check in ◄─────────────────────┘
//! ```
//!
//! The beat thread asks and the others answer, instead of each having a timer: at rest one wake-up
//! of the runtime a beat is all there is. It asks through a socket, since the runtime wakes one
//! worker for what comes in there; for a task that another thread wakes it wakes two.
//!
//! Invariant: a round is complete only when every member has checked in since it was asked. Who
//! ends well is a member no more; who panics remains one, so its absence is seen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use watchdog_core::pulse::{Pulse, WORKERS_MAX};
use watchdog_core::tick::Tick;

use crate::driver;

const PLACES: usize = WORKERS_MAX as usize;

/// The asking side.
#[derive(Debug)]
pub(crate) struct Rounds {
    pulse: Pulse,
    /// How many members share each bit of the pulse.
    members: Mutex<[u32; PLACES]>,
    asked: watch::Sender<u64>,
    /// When the last round was complete.
    complete: Mutex<Tick>,
}

/// The answering side: one member.
#[derive(Debug)]
pub(crate) struct Turns {
    place: usize,
    rounds: Arc<Rounds>,
    asked: watch::Receiver<u64>,
}

impl Rounds {
    pub(crate) fn new(now: Tick) -> Arc<Self> {
        Arc::new(Self {
            pulse: Pulse::new(now),
            members: Mutex::new([0; PLACES]),
            asked: watch::Sender::new(0),
            complete: Mutex::new(now),
        })
    }

    fn members(&self) -> MutexGuard<'_, [u32; PLACES]> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a member. Beyond [`WORKERS_MAX`] members share a bit, and either answers for both.
    pub(crate) fn join(self: &Arc<Self>) -> Turns {
        let mut members = self.members();
        let (place, count) = members
            .iter_mut()
            .enumerate()
            .min_by_key(|(place, count)| (**count, *place))
            .expect("the pulse has places");
        *count += 1;
        Turns { place, rounds: Arc::clone(self), asked: self.asked.subscribe() }
    }

    /// Asks everyone to check in.
    fn ask(&self) {
        self.asked.send_modify(|round| *round += 1);
    }

    /// Who checked in since the last look, joined with `before`; `None` if the round is complete.
    pub(crate) fn look(&self, before: u16, now: Tick) -> Option<u16> {
        let turned = self.pulse.look().checked_in | before;
        let counts = *self.members();
        let wanted = (0..).zip(counts).filter(|(_, count)| *count > 0);
        if wanted.map(|(place, _)| 1_u16 << place).all(|bit| turned & bit != 0) {
            *self.complete.lock().unwrap_or_else(PoisonError::into_inner) = now;
            return None;
        }
        Some(turned)
    }

    /// When a round was last complete.
    pub(crate) fn complete_at(&self) -> Tick {
        *self.complete.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turns {
    /// Waits until it is asked, and checks in. Dropping the future before loses nothing.
    pub(crate) async fn turn(&mut self) {
        self.asked.changed().await.expect("the rounds are held beside their receiver");
        self.check_in();
    }

    /// Hands on what it was asked to everyone who waits in [`Self::turn`].
    pub(crate) fn ask_others(&self) {
        self.rounds.ask();
    }

    pub(crate) fn check_in(&self) {
        let place = u8::try_from(self.place).expect("the pulse has 16 places");
        self.rounds.pulse.check_in(place, driver::now());
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.rounds.members()[self.place] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_round_is_complete_when_every_member_has_turned() {
        let rounds = Rounds::new(Tick(0));
        let (mut one, mut other) = (rounds.join(), rounds.join());
        rounds.ask();
        one.turn().await;
        let turned = rounds.look(0, Tick(1)).expect("the other has not turned");
        assert_eq!(rounds.complete_at(), Tick(0));
        other.turn().await;
        assert_eq!(rounds.look(turned, Tick(2)), None);
        assert_eq!(rounds.complete_at(), Tick(2));
        drop(other);
        rounds.ask();
        one.turn().await;
        assert_eq!(rounds.look(0, Tick(3)), None, "who ended well is not waited for");
    }

    #[test]
    fn more_members_than_bits_share_them() {
        let rounds = Rounds::new(Tick(0));
        let members: Vec<_> = (0..PLACES + 1).map(|_| rounds.join()).collect();
        assert_eq!(members[PLACES].place, 0);
        drop(members);
        assert_eq!(*rounds.members(), [0; PLACES]);
    }

    #[test]
    fn who_panics_remains_a_member() {
        let rounds = Rounds::new(Tick(0));
        let turns = rounds.join();
        let ended = std::thread::spawn(move || {
            let _turns = turns;
            panic!("as a task may");
        });
        assert!(ended.join().is_err());
        assert!(rounds.look(0, Tick(1)).is_some());
    }
}
