//! What the drill found: figures of both acts and the checks, as data and as a table.
//!
//! Invariant: a figure that does not apply is `null`, and a dash in the table. It is never 0.

use serde::Serialize;

use super::timeline::Entry;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActName {
    Naive,
    Gated,
}

impl ActName {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Gated => "gated",
        }
    }
}

/// The figures of one act.
#[derive(Debug, Clone, Serialize)]
pub struct Act {
    pub name: ActName,
    pub services: usize,
    /// Services that the agent changed.
    pub changed: usize,
    /// Services that were blind at worst, by the watchdog's verdict.
    pub blind: usize,
    /// Permits the gate granted for the optimisation.
    pub permits: u64,
    /// From the last telemetry of the service to the freeze in force.
    pub freeze_ms: Option<u64>,
    /// From the freeze to the revert verified by the signal on the old revision.
    pub reverted_ms: Option<u64>,
    /// Requests of the agent that were denied after the freeze.
    pub denied_after: Option<u64>,
    pub timeline: Vec<Entry>,
}

/// One assertion and whether it held.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    pub name: String,
    pub ok: bool,
}

impl Check {
    pub fn new(name: impl Into<String>, ok: bool) -> Self {
        Self { name: name.into(), ok }
    }
}

/// The whole drill.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    pub ok: bool,
    pub acts: Vec<Act>,
    pub checks: Vec<Check>,
}

impl Report {
    pub fn of(acts: Vec<Act>, checks: Vec<Check>) -> Self {
        // A drill that checked nothing has proven nothing.
        let ok = !checks.is_empty() && checks.iter().all(|check| check.ok);
        Self { ok, acts, checks }
    }

    /// The table and the checks, for a person.
    pub fn table(&self, colour: bool) -> String {
        let mut text = String::from("\n");
        let titles = self.acts.iter().map(|act| match act.name {
            ActName::Naive => "agent alone".to_owned(),
            ActName::Gated => "behind the gate".to_owned(),
        });
        text.push_str(&row("", titles));
        let count = |value: usize| value.to_string();
        let figures: [(&str, Figure); 7] = [
            ("services", |act, count| count(act.services)),
            ("changed by the agent", |act, count| count(act.changed)),
            ("blind at worst", |act, count| count(act.blind)),
            ("permits granted", |act, _| act.permits.to_string()),
            ("silence to freeze", |act, _| seconds(act.freeze_ms)),
            ("freeze to revert verified", |act, _| seconds(act.reverted_ms)),
            ("requests denied after", |act, _| {
                act.denied_after.map_or_else(dash, |denied| denied.to_string())
            }),
        ];
        for (label, figure) in figures {
            text.push_str(&row(label, self.acts.iter().map(|act| figure(act, count))));
        }
        text.push('\n');
        for check in &self.checks {
            text.push_str(&checked(check, colour));
        }
        let held = self.checks.iter().filter(|check| check.ok).count();
        text.push_str(&format!("\n{held} of {} checks held\n", self.checks.len()));
        text
    }
}

type Figure = fn(&Act, fn(usize) -> String) -> String;

fn row(label: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!("  {cell:>15}")).collect();
    format!("  {label:<26}{cells}\n")
}

fn seconds(ms: Option<u64>) -> String {
    ms.map_or_else(dash, |ms| format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10))
}

fn dash() -> String {
    "–".into()
}

fn checked(check: &Check, colour: bool) -> String {
    let (sign, code) = if check.ok { ('✓', "32") } else { ('✗', "1;31") };
    let sign = if colour { format!("\x1b[{code}m{sign}\x1b[0m") } else { sign.to_string() };
    format!("  {sign} {}\n", check.name)
}
