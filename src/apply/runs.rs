//! Which steps a fence ran, so that none runs twice and none is forgotten.
//!
//! Invariant: a step that ended well is never run again under the same rollout, and an end stays
//! here until the gate has heard of it.

use serde::{Deserialize, Serialize};

/// Runs that are kept; the oldest ones whose end the gate heard go first.
const RUNS_MAX: usize = 256;

/// One step of a rollout, or one order of the way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    pub rollout: String,
    /// The step's name; for the way back the effect's id.
    pub step: String,
    pub digest: String,
    pub epoch: u64,
    /// Which try of the way back it is; `None` on the way forward.
    pub generation: Option<u64>,
    /// The mark its processes carry, and their group.
    pub mark: String,
    pub group: i32,
    pub end: Option<End>,
    /// Whether the gate needs to hear no more of it.
    pub is_told: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    Done,
    Failed {
        code: u8,
    },
    /// It was stopped, and why.
    Stopped {
        why: String,
    },
}

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Runs(Vec<Run>);

impl Runs {
    /// The last run of this step.
    #[must_use]
    pub fn last(&self, rollout: &str, step: &str) -> Option<&Run> {
        self.0.iter().rev().find(|run| run.rollout == rollout && run.step == step)
    }

    /// The highest generation of a way back of `rollout`.
    #[must_use]
    pub fn generation(&self, rollout: &str) -> Option<u64> {
        let of_it = self.0.iter().filter(|run| run.rollout == rollout);
        of_it.filter_map(|run| run.generation).max()
    }

    /// Runs that began and did not end, as far as was written.
    pub fn open(&self) -> impl Iterator<Item = &Run> {
        self.0.iter().filter(|run| run.end.is_none())
    }

    /// Ends the gate has not heard of, oldest first.
    pub fn untold(&self) -> impl Iterator<Item = &Run> {
        self.0.iter().filter(|run| run.end.is_some() && !run.is_told)
    }

    pub fn begin(&mut self, run: Run) {
        if self.0.len() >= RUNS_MAX
            && let Some(oldest) = self.0.iter().position(|run| run.end.is_some() && run.is_told)
        {
            self.0.remove(oldest);
        }
        self.0.push(run);
    }

    /// Changes the run with this mark.
    pub fn edit(&mut self, mark: &str, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.0.iter_mut().rev().find(|run| run.mark == mark) {
            change(run);
        }
    }
}
