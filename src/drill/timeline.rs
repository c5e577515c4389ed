//! What happened, in the order it happened, as a person reads it and as data.
//!
//! Invariant: an entry is written where it happens and carries the time since the drill began, so
//! the two acts share one clock.

use std::io::{IsTerminal as _, Write as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use crate::driver::Stopwatch;

/// Who did or saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    Drill,
    Fleet,
    Agent,
    Watchdog,
    Gate,
    Operator,
}

impl Who {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Drill => "drill",
            Self::Fleet => "fleet",
            Self::Agent => "agent",
            Self::Watchdog => "watchdog",
            Self::Gate => "gate",
            Self::Operator => "operator",
        }
    }
}

/// What kind of entry it is. Each has a sign and a colour, and the sign alone is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// The stage is set.
    Step,
    /// Something asks or changes.
    Change,
    /// Something is proven good.
    Good,
    /// Sight is lost.
    Lost,
    /// The line is stopped.
    Stop,
}

impl Mark {
    const fn sign(self) -> char {
        match self {
            Self::Step => '·',
            Self::Change => '→',
            Self::Good => '✓',
            Self::Lost => '✗',
            Self::Stop => '■',
        }
    }

    /// SGR codes.
    const fn colour(self) -> &'static str {
        match self {
            Self::Step => "2",
            Self::Change => "36",
            Self::Good => "32",
            Self::Lost => "1;31",
            Self::Stop => "1;33",
        }
    }
}

/// One line of the timeline.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Milliseconds since the drill began.
    pub at_ms: u64,
    pub who: Who,
    pub mark: Mark,
    pub what: String,
}

/// Where the timeline is shown while it grows.
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    /// It is the data the person asked for.
    OnStdout,
    /// The data comes as JSON; this is by the way.
    OnStderr,
}

/// The growing timeline.
#[derive(Debug)]
pub struct Timeline {
    began: Stopwatch,
    shown: Shown,
    colour: bool,
    entries: Mutex<Vec<Entry>>,
}

impl Timeline {
    pub fn begin(shown: Shown) -> Self {
        let colour = match shown {
            Shown::OnStdout => std::io::stdout().is_terminal(),
            Shown::OnStderr => std::io::stderr().is_terminal(),
        };
        // https://no-color.org: set and not empty means no colour.
        let colour = colour && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self { began: Stopwatch::start(), shown, colour, entries: Mutex::default() }
    }

    /// Milliseconds since the drill began.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Writes an entry.
    pub fn note(&self, who: Who, mark: Mark, what: impl Into<String>) {
        let entry = Entry { at_ms: self.now_ms(), who, mark, what: what.into() };
        self.show(&line(&entry, self.colour));
        self.entries().push(entry);
    }

    /// Begins an act with its title.
    pub fn title(&self, title: &str) {
        let title = if self.colour { format!("\x1b[1m{title}\x1b[0m") } else { title.to_owned() };
        self.show(&format!("\n{title}\n"));
    }

    /// The entries since the last call.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.entries())
    }

    pub const fn is_coloured(&self) -> bool {
        self.colour
    }

    fn show(&self, text: &str) {
        // A reader that closed the pipe has seen enough; the drill goes on to its exit code.
        let _ = match self.shown {
            Shown::OnStdout => writeln!(std::io::stdout().lock(), "{text}"),
            Shown::OnStderr => writeln!(std::io::stderr().lock(), "{text}"),
        };
    }

    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Minutes of reading go by in this format, so the columns never move.
fn line(entry: &Entry, colour: bool) -> String {
    let (seconds, tenths) = (entry.at_ms / 1_000, entry.at_ms % 1_000 / 100);
    let (who, sign) = (entry.who.as_str(), entry.mark.sign());
    let clock = format!("{seconds:>3}.{tenths} s");
    if colour {
        let code = entry.mark.colour();
        format!("{clock}  {who:<8}  \x1b[{code}m{sign} {}\x1b[0m", entry.what)
    } else {
        format!("{clock}  {who:<8}  {sign} {}", entry.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at_ms: u64) -> Entry {
        Entry { at_ms, who: Who::Gate, mark: Mark::Stop, what: "fleet frozen".into() }
    }

    #[test]
    fn a_line_reads_the_same_without_colour() {
        assert_eq!(line(&entry(12_345), false), " 12.3 s  gate      ■ fleet frozen");
        assert_eq!(
            line(&entry(999), true),
            "  0.9 s  gate      \u{1b}[1;33m■ fleet frozen\u{1b}[0m"
        );
    }
}
