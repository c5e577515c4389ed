//! What waits for the verdict loop: the facts, and how far the sockets are known to be empty.
//!
//! Beats are kept by instance, the newest wins, so a flood from one sender costs one place and the
//! loop is never starved. Everything else is few and keeps its order.
//!
//! A beat rings no bell: it moves a deadline, and no verdict waits for it that the loop's next turn
//! would not draw. It keeps the time at which it was heard, so that waiting makes it no later.
//!
//! Invariant: `put` never waits for the verdict loop, and the inbox never holds more than
//! `BEATS_MAX` beats and `OTHERS_MAX` other facts.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use watchdog_core::beat::BeatBody;
use watchdog_core::names::{Instance, Service};
use watchdog_core::tick::Tick;
use watchdog_core::watch::Event;

/// The most instances whose beats wait at once.
const BEATS_MAX: usize = 65_536;
/// The most other facts that wait at once.
const OTHERS_MAX: usize = 1_024;

/// The place where the listening threads leave what they know.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: Mutex<Waiting>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The newest of each instance, and how many it stands for.
    beats: Vec<(Beat, u64)>,
    /// Where it is among them.
    places: HashMap<(Service, Instance), usize>,
    others: VecDeque<Fact>,
    drained: Option<Tick>,
    shed: u64,
    closed: bool,
}

/// A beat that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beat {
    pub service: Service,
    pub body: BeatBody,
    pub authenticated: bool,
    /// When it was heard.
    pub at: Tick,
}

/// Something that waits to be told.
#[derive(Debug, Clone, PartialEq)]
pub struct Fact {
    /// When it was observed; `None`: it is as of when it is told.
    pub at: Option<Tick>,
    pub event: Event,
}

/// Everything that waited at one moment.
#[derive(Debug)]
pub struct Delivery {
    /// In the order of their times, those without one last.
    pub facts: Vec<Fact>,
    /// Until when every datagram is known to have been read; `None` before the first statement.
    pub drained: Option<Tick>,
    /// Beats that a newer one replaced or that found no room.
    pub shed: u64,
    /// The watchdog stops.
    pub closed: bool,
}

impl Inbox {
    /// Leaves an admitted beat.
    pub fn beat(&self, beat: Beat) {
        let mut waiting = self.lock();
        let Waiting { beats, places, shed, .. } = &mut *waiting;
        match places.entry((beat.service.clone(), beat.body.instance.clone())) {
            Entry::Occupied(place) => {
                let (kept, told) = &mut beats[*place.get()];
                (*kept, *told, *shed) = (beat, *told + 1, *shed + 1);
            }
            Entry::Vacant(place) if beats.len() < BEATS_MAX => {
                place.insert(beats.len());
                beats.push((beat, 1));
            }
            Entry::Vacant(_) => *shed += 1,
        }
    }

    /// Leaves any other fact, as of when it will be told.
    pub fn put(&self, event: Event) {
        self.put_fact(Fact { at: None, event });
    }

    /// Leaves any other fact that was observed at `at`.
    pub fn put_at(&self, event: Event, at: Tick) {
        self.put_fact(Fact { at: Some(at), event });
    }

    fn put_fact(&self, fact: Fact) {
        let mut waiting = self.lock();
        if waiting.others.len() >= OTHERS_MAX {
            waiting.others.pop_front();
            waiting.shed += 1;
        }
        waiting.others.push_back(fact);
        self.bell.notify_one();
    }

    /// States that everything which lay in the sockets at `at` has been left here. It rings no
    /// bell: an empty socket is no reason to judge sooner.
    pub fn drained(&self, at: Tick) {
        let mut waiting = self.lock();
        waiting.drained = waiting.drained.max(Some(at));
    }

    /// Tells the verdict loop to end.
    pub fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    /// Waits up to `wait` for something other than beats, and takes all there is.
    pub fn take(&self, wait: Duration) -> Delivery {
        let waiting = self.lock();
        let nothing = |w: &mut Waiting| w.others.is_empty() && !w.closed;
        let (mut waiting, _) = self
            .bell
            .wait_timeout_while(waiting, wait, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        let beats = std::mem::take(&mut waiting.beats);
        // The table keeps its room for the beats to come.
        waiting.places.clear();
        let others = std::mem::take(&mut waiting.others);
        let (drained, closed) = (waiting.drained, waiting.closed);
        let shed = std::mem::take(&mut waiting.shed);
        drop(waiting);
        let beats = beats.into_iter().map(|(beat, told)| beat.into_fact(told));
        let mut facts: Vec<Fact> = beats.chain(others).collect();
        // Those that have their time already stand in order, but for beats that a newer replaced.
        facts.sort_by_key(|fact| fact.at.map_or((true, Tick(0)), |at| (false, at)));
        Delivery { facts, drained, shed, closed }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No critical section can leave the maps half written, so a poisoned lock is still good.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat {
    fn into_fact(self, told: u64) -> Fact {
        let Self { service, body, authenticated, at } = self;
        Fact { at: Some(at), event: Event::BeatHeard { service, body, authenticated, told } }
    }
}
