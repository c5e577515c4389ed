//! What waits for the verdict loop: the facts, and how far the sockets are known to be empty.
//!
//! Beats are kept by instance, the newest wins, so a flood from one sender costs one place and the
//! loop is never starved. Everything else is few and keeps its order.
//!
//! Invariant: `put` never waits for the verdict loop, and the inbox never holds more than
//! `BEATS_MAX` beats and `OTHERS_MAX` other facts.

use std::collections::{BTreeMap, VecDeque};
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
    beats: BTreeMap<(Service, Instance), (Beat, u64)>,
    others: VecDeque<Event>,
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
}

/// Everything that waited at one moment.
#[derive(Debug)]
pub struct Delivery {
    pub events: Vec<Event>,
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
        let key = (beat.service.clone(), beat.body.instance.clone());
        let full = waiting.beats.len() >= BEATS_MAX && !waiting.beats.contains_key(&key);
        if full {
            waiting.shed += 1;
        } else {
            let told = waiting.beats.get(&key).map_or(1, |(_, told)| told + 1);
            waiting.shed += u64::from(told > 1);
            waiting.beats.insert(key, (beat, told));
        }
        self.bell.notify_one();
    }

    /// Leaves any other fact.
    pub fn put(&self, event: Event) {
        let mut waiting = self.lock();
        if waiting.others.len() >= OTHERS_MAX {
            waiting.others.pop_front();
            waiting.shed += 1;
        }
        waiting.others.push_back(event);
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

    /// Waits up to `wait` for something, and takes all there is.
    pub fn take(&self, wait: Duration) -> Delivery {
        let waiting = self.lock();
        let nothing = |w: &mut Waiting| w.beats.is_empty() && w.others.is_empty() && !w.closed;
        let (mut waiting, _) = self
            .bell
            .wait_timeout_while(waiting, wait, nothing)
            .unwrap_or_else(PoisonError::into_inner);
        let beats = std::mem::take(&mut waiting.beats);
        let others = std::mem::take(&mut waiting.others);
        let (drained, closed) = (waiting.drained, waiting.closed);
        let shed = std::mem::take(&mut waiting.shed);
        drop(waiting);
        let beats = beats.into_values().map(|(beat, told)| beat.into_event(told));
        let events = beats.chain(others).collect();
        Delivery { events, drained, shed, closed }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No critical section can leave the maps half written, so a poisoned lock is still good.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Beat {
    fn into_event(self, told: u64) -> Event {
        let Self { service, body, authenticated } = self;
        Event::BeatHeard { service, body, authenticated, told }
    }
}
