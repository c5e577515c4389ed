//! The log as a place to forward to: a person sees what passes, and the log is not flooded.
//!
//! Invariant: at most so many lines are printed in a second, and what is not printed is counted in
//! the next line that is.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use tracing::info;
use watchdog_core::tick::Tick;

use crate::driver;
use crate::kind::Kind;
use crate::scan::{self, Scanned};

/// Services that are named in a line.
const NAMED_MAX: usize = 5;

/// Prints summaries.
#[derive(Debug)]
pub(super) struct Debugger {
    pace: Mutex<Pace>,
}

/// How many lines the present second has had, and what had no line since the last one.
#[derive(Debug)]
struct Pace {
    lines_per_s: u32,
    second: Tick,
    lines: u32,
    unshown: u64,
}

impl Pace {
    /// Whether a line may be printed now, and how many requests had none since the last.
    fn line(&mut self, now: Tick) -> Option<u64> {
        if now.since_ms(self.second) >= 1_000 {
            self.second = now;
            self.lines = 0;
        }
        if self.lines >= self.lines_per_s {
            self.unshown += 1;
            return None;
        }
        self.lines += 1;
        Some(std::mem::take(&mut self.unshown))
    }
}

impl Debugger {
    pub(super) fn new(lines_per_s: u32) -> Self {
        let pace = Pace { lines_per_s, second: driver::now(), lines: 0, unshown: 0 };
        Self { pace: Mutex::new(pace) }
    }

    pub(super) fn show(&self, kind: Kind, body: &[u8]) {
        let line = self.pace.lock().unwrap_or_else(PoisonError::into_inner).line(driver::now());
        let Some(unshown) = line else { return };
        let signal = kind.as_str();
        let (records, services) = summary(kind, body);
        let bytes = body.len();
        info!(signal, records, bytes, services, unshown, "passes");
    }
}

/// Records, and of which services, most first.
fn summary(kind: Kind, body: &[u8]) -> (u64, String) {
    let Kind::Tallied(signal) = kind else {
        return (scan::profiles(body).unwrap_or_default(), String::new());
    };
    // It was scanned when it arrived.
    let Ok(scanned) = Scanned::of(signal, body) else { return (0, String::new()) };
    let mut services = BTreeMap::new();
    scanned.each(|found| {
        let name = found.identity.name.unwrap_or("(unnamed)");
        *services.entry(name).or_insert(0) += found.counts.records;
    });
    let mut services: Vec<(&str, u64)> = services.into_iter().collect();
    services.sort_by_key(|(_, records)| std::cmp::Reverse(*records));
    let mut text = String::new();
    for (name, records) in services.iter().take(NAMED_MAX) {
        let comma = if text.is_empty() { "" } else { ", " };
        let _ = write!(text, "{comma}{name} {records}");
    }
    if services.len() > NAMED_MAX {
        let _ = write!(text, ", and {} more", services.len() - NAMED_MAX);
    }
    (scanned.records, text)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use watchdog_core::tally::Signal;

    use super::*;
    use crate::samples;

    #[test]
    fn lines_are_bounded_and_what_has_none_is_counted_in_the_next() {
        let mut pace = Pace { lines_per_s: 2, second: Tick(0), lines: 0, unshown: 0 };
        let lines: Vec<_> = (0..5).map(|i| pace.line(Tick(i))).collect();
        assert_eq!(lines, [Some(0), Some(0), None, None, None]);
        assert_eq!(pace.line(Tick(1_000)), Some(3));
        assert_eq!(pace.line(Tick(1_001)), Some(0));
    }

    #[test]
    fn a_summary_names_the_services_that_send_most() {
        let request: Vec<u8> =
            (1..=7).flat_map(|n| samples::spans(&format!("s{n}"), n, 0).encode_to_vec()).collect();
        let (records, services) = summary(Kind::Tallied(Signal::Traces), &request);
        assert_eq!(records, 28);
        assert_eq!(services, "s7 7, s6 6, s5 5, s4 4, s3 3, and 2 more");
    }
}
