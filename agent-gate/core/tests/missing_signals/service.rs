//! One instance of the service: it works, beats and exports, each as its fault lets it.
//!
//! Invariant: what it exports is what it did since the export before, whoever asks.

use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Boot, Instance, Revision};

use crate::chance::Chance;
use crate::fault::{Beats, Export, Fault};

const HOUR_MS: u64 = 3_600_000;

pub const OLD: &str = "v1";
pub const NEW: &str = "v2";

#[derive(Debug, Clone)]
pub struct Process {
    instance: Instance,
    boot: Boot,
    pub revision: Revision,
    /// The fault it has, once it has begun.
    pub fault: Option<Fault>,
    /// Requests a second.
    rate: f64,
    error_share: f64,
    worked_until: u64,
    unfinished: f64,
    requests: u64,
    unexported: u64,
    sampled: u64,
    seq: u64,
    turns: u64,
    last_beat: Option<BeatBody>,
    /// The last good export.
    last: Option<Batch>,
}

/// What one export brings to the collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch {
    pub spans: u64,
    pub errors: u64,
    /// Points of metrics; 0 for an export without metrics.
    pub points: u64,
    pub changed: bool,
    /// When its newest record was made, by the service's clock.
    pub dated: u64,
}

impl Process {
    pub fn new(index: usize, revision: &str, now: u64, rate: f64, error_share: f64) -> Self {
        Self {
            instance: Instance::new(format!("i{index}")).expect("valid"),
            boot: Boot::new(format!("{now}-{index}")).expect("valid"),
            revision: Revision::new(revision).expect("valid"),
            fault: None,
            rate,
            error_share,
            worked_until: now,
            unfinished: 0.0,
            requests: 0,
            unexported: 0,
            sampled: 0,
            seq: 0,
            turns: 0,
            last_beat: None,
            last: None,
        }
    }

    pub const fn instance(&self) -> &Instance {
        &self.instance
    }

    /// Does the work of the time since it was last asked.
    fn work(&mut self, now: u64, chance: &mut Chance) {
        let elapsed = now - self.worked_until;
        self.worked_until = now;
        if self.fault.is_some_and(|fault| !fault.works()) {
            return;
        }
        let mean = self.rate * elapsed as f64 / 1_000.0;
        self.unfinished += mean * (0.6 + 0.8 * chance.part());
        let done = self.unfinished as u64;
        self.unfinished -= done as f64;
        self.requests += done;
        self.unexported += done;
    }

    /// The beat that is due, if one leaves.
    pub fn beat(&mut self, now: u64, chance: &mut Chance) -> Option<BeatBody> {
        self.work(now, chance);
        match self.fault.map_or(Beats::Fine, Fault::beats) {
            Beats::Lost => return None,
            Beats::Replayed => return self.last_beat.clone(),
            Beats::Hung => {}
            Beats::Fine => self.turns += 1,
        }
        self.seq += 1;
        let body = BeatBody {
            instance: self.instance.clone(),
            boot: self.boot.clone(),
            seq: self.seq,
            token: Token::Number(self.turns),
            requests: Some(self.requests),
            errors: None,
            revision: Some(self.revision.clone()),
            leaving: false,
        };
        self.last_beat = Some(body.clone());
        Some(body)
    }

    /// Of `all` records those that are kept: so many parts `of` so many.
    const fn keep(&mut self, all: u64, parts: u64, of: u64) -> u64 {
        self.sampled += all * parts;
        let kept = self.sampled / of;
        self.sampled %= of;
        kept
    }

    /// The export that is due, if one leaves.
    pub fn export(&mut self, now: u64, chance: &mut Chance) -> Option<Batch> {
        self.work(now, chance);
        let all = std::mem::take(&mut self.unexported);
        let spans = match self.fault.map_or(Export::Fine, Fault::traces) {
            Export::Silent | Export::Standing => 0,
            Export::Fine | Export::Late | Export::Later | Export::Ahead | Export::Behind => all,
            Export::Halved => self.keep(all, 1, 2),
            Export::Quartered => self.keep(all, 3, 4),
            Export::Replayed => return self.last,
        };
        let (points, changed) = match self.fault.map_or(Export::Fine, Fault::metrics) {
            Export::Silent | Export::Replayed => (0, false),
            Export::Standing => (3, false),
            Export::Fine
            | Export::Halved
            | Export::Quartered
            | Export::Late
            | Export::Later
            | Export::Ahead
            | Export::Behind => (3, all > 0),
        };
        let errors = (spans as f64 * self.error_share + chance.part()) as u64;
        let dated = match self.fault.map(Fault::traces) {
            Some(Export::Ahead) => now + HOUR_MS,
            Some(Export::Behind) => now - HOUR_MS,
            Some(_) | None => now,
        };
        let batch = Batch { spans, errors: errors.min(spans), points, changed, dated };
        if self.fault.is_none() {
            self.last = Some(batch);
        }
        (spans > 0 || points > 0).then_some(batch)
    }
}
