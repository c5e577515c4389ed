//! What the gate holds of us, and what it is to be told next.
//!
//! A small fleet is told as a whole each time. A large one is told in parts: first who has another
//! verdict than the gate holds, the worst first, as many as the gate takes at once; then those of
//! whom more is known than the gate was told, in turn, a few each time. So the gate learns a new
//! verdict at once and counts within seconds, and ten thousand services cost what changes.
//!
//! Invariant: what is taken as told was in a body that the gate has taken, and `base` is its `seq`.

use serde::Serialize;
use watchdog_core::names::{Boot, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{Stage, VerdictKind};
use watchdog_core::watch::Shown;

use crate::publish::Snapshot;

/// A fleet of up to so many services is told as a whole, if it fits.
pub const WHOLE_MAX: usize = 250;
/// The longest list of verdicts, in bytes; the gate takes a mebibyte.
const ITEMS_BYTES_MAX: usize = 900 * 1024;
/// What may be spent each time on those whose verdict stands, in bytes.
const REFRESH_BYTES: usize = 192 * 1024;

/// What the gate was told of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    kind: VerdictKind,
    stage: Option<Stage>,
    judged: Tick,
}

/// What the gate holds.
#[derive(Debug, Default)]
pub struct Told {
    base: Option<u64>,
    /// In the order of names.
    words: Vec<(Service, Word)>,
    /// After whom the next refreshment goes on.
    turn: Option<Service>,
}

/// One body, and what it tells.
#[derive(Debug)]
pub struct Part {
    pub body: Vec<u8>,
    seq: u64,
    base: Option<u64>,
    words: Vec<(Service, Word)>,
    turn: Option<Service>,
}

/// An [`Attestation`](watchdog_core::attestation::Attestation) but for its items.
#[derive(Serialize)]
struct Head<'s> {
    watchdog: &'s str,
    boot: &'s Boot,
    seq: u64,
    ttl_ms: u64,
    mass_silence: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<u64>,
}

/// How the services of a snapshot stand to what the gate was told.
#[derive(Debug, Default)]
struct Standing<'s> {
    /// Those whose verdict the gate does not hold.
    changed: Vec<&'s Shown>,
    /// The places of those of whom more is known than the gate was told.
    known: Vec<usize>,
}

/// The items of a body, as far as there is room.
#[derive(Default)]
struct Items {
    text: Vec<u8>,
    words: Vec<(Service, Word)>,
}

impl Told {
    /// What is to be told of `snapshot`.
    pub fn part(&self, snapshot: &Snapshot, ttl_ms: u64) -> serde_json::Result<Part> {
        let mut items = Items::default();
        let mut turn = None;
        let mut base = None;
        let small = snapshot.items.len() <= WHOLE_MAX;
        if !(small && items.add_all(snapshot)?) {
            items = Items::default();
            base = self.base;
            let Standing { mut changed, known } = self.compare(snapshot);
            changed.sort_by_key(|shown| std::cmp::Reverse(snapshot.kind(shown)));
            for shown in changed {
                if !items.add(snapshot, shown, ITEMS_BYTES_MAX)? {
                    break;
                }
            }
            turn = self.refresh(snapshot, &known, &mut items)?;
        }
        let (watchdog, boot, seq) = (&snapshot.watchdog, &snapshot.boot, snapshot.seq);
        let mass_silence = snapshot.mass_silence;
        let head = Head { watchdog, boot, seq, ttl_ms, mass_silence, base };
        let mut body = serde_json::to_vec(&head)?;
        // The head is an object with members: the items become its last one.
        body.pop();
        body.extend_from_slice(b",\"items\":[");
        body.append(&mut items.text);
        body.extend_from_slice(b"]}");
        Ok(Part { body, seq, base, words: items.words, turn })
    }

    /// The gate has taken `part`.
    pub fn taken(&mut self, part: Part) {
        if part.base.is_none() {
            self.words.clear();
        }
        self.base = Some(part.seq);
        let known = self.words.len();
        for (service, word) in part.words {
            match self.words[..known].binary_search_by(|(told, _)| told.cmp(&service)) {
                Ok(place) => self.words[place].1 = word,
                Err(_) => self.words.push((service, word)),
            }
        }
        if self.words.len() > known {
            self.words.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        }
        self.turn = part.turn;
    }

    /// The gate has refused: it is told from the beginning.
    pub fn refused(&mut self) {
        *self = Self::default();
    }

    /// Compares what the gate was told with what is to be said. Both are in the order of names.
    fn compare<'s>(&self, snapshot: &'s Snapshot) -> Standing<'s> {
        // Without a base the gate holds nothing.
        let held = self.base.map_or(&[][..], |_| self.words.as_slice());
        let mut told = held.iter().peekable();
        let mut standing = Standing::default();
        for (place, shown) in snapshot.items.iter().enumerate() {
            let service = shown.service();
            let same = told.next_if(|(told, _)| told.shares(service)).or_else(|| {
                while told.next_if(|(told, _)| told < service).is_some() {}
                told.next_if(|(told, _)| told == service)
            });
            let now = word(snapshot, shown);
            match same.map(|(_, told)| *told) {
                Some(told) if told == now => {}
                Some(told) if (told.kind, told.stage) == (now.kind, now.stage) => {
                    standing.known.push(place);
                }
                Some(_) | None => standing.changed.push(shown),
            }
        }
        standing
    }

    /// Adds those of whom more is known, as far as there is room; says who was the last.
    fn refresh(
        &self,
        snapshot: &Snapshot,
        known: &[usize],
        items: &mut Items,
    ) -> serde_json::Result<Option<Service>> {
        let is_before = |place: &usize| {
            self.turn.as_ref().is_some_and(|last| snapshot.items[*place].service() <= last)
        };
        let (before, after) = known.split_at(known.partition_point(is_before));
        let mut last = self.turn.clone();
        for place in after.iter().chain(before) {
            let shown = &snapshot.items[*place];
            if !items.add(snapshot, shown, REFRESH_BYTES)? {
                break;
            }
            last = Some(shown.service().clone());
        }
        Ok(last)
    }
}

impl Items {
    /// Adds all there are; says whether there was room.
    fn add_all(&mut self, snapshot: &Snapshot) -> serde_json::Result<bool> {
        for shown in &snapshot.items {
            if !self.add(snapshot, shown, ITEMS_BYTES_MAX)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Adds one; says whether there was room.
    fn add(&mut self, snapshot: &Snapshot, shown: &Shown, most: usize) -> serde_json::Result<bool> {
        let before = self.text.len();
        if before > 0 {
            self.text.push(b',');
        }
        serde_json::to_writer(&mut self.text, &snapshot.verdict(shown))?;
        // One that is too long by itself is sent alone rather than never.
        let fits = self.text.len() <= most || before == 0;
        if fits {
            self.words.push((shown.service().clone(), word(snapshot, shown)));
        } else {
            self.text.truncate(before);
        }
        Ok(fits)
    }
}

fn word(snapshot: &Snapshot, shown: &Shown) -> Word {
    Word { kind: snapshot.kind(shown), stage: shown.stage(), judged: shown.judged() }
}

#[cfg(test)]
mod tests;
