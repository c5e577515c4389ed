//! What the drill sees of the fleet: the watchdog's verdicts, and the dashboard an agent has.
//!
//! Invariant: [`Sight`] reports what the watchdog and the collector say and concludes nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use watchdog_core::tally::{DURATION_BOUNDS_MS, Red, TallyPage};
use watchdog_core::verdict::{Verdict, VerdictKind};

use super::failure::DrillError;
use super::stack::Addresses;

/// The watchdog's answer; its other fields do not matter here.
#[derive(Debug, Deserialize)]
struct VerdictPage {
    items: Vec<Verdict>,
}

/// Reads verdicts and tallies.
#[derive(Debug, Clone)]
pub struct Sight {
    http: reqwest::Client,
    addresses: Addresses,
}

impl Sight {
    pub const fn new(http: reqwest::Client, addresses: Addresses) -> Self {
        Self { http, addresses }
    }

    /// The watchdog's opinion of every service.
    pub async fn verdicts(&self) -> Result<BTreeMap<String, Verdict>, DrillError> {
        let url = format!("http://{}/v1/verdicts", self.addresses.watchdog);
        let page: VerdictPage = self.read(url, "read the verdicts").await?;
        Ok(page.items.into_iter().map(|item| (item.service.to_string(), item)).collect())
    }

    /// The services that have `verdict`.
    pub async fn with(&self, verdict: VerdictKind) -> Result<BTreeSet<String>, DrillError> {
        let mut verdicts = self.verdicts().await?;
        verdicts.retain(|_, item| item.verdict == verdict);
        Ok(verdicts.into_keys().collect())
    }

    /// The request counts of one revision of a service, as any dashboard behind the collector
    /// has them; `None` if the collector has none.
    pub async fn red(&self, service: &str, revision: &str) -> Result<Option<Red>, DrillError> {
        let url = format!("http://{}/v1/tally?after=0&wait_ms=0", self.addresses.collector);
        let page: TallyPage = self.read(url, "read the tally").await?;
        let counted = page.rows.into_iter().filter(|row| {
            let same_revision = row.revision.as_ref().is_some_and(|of| of.as_str() == revision);
            row.service.as_str() == service && same_revision
        });
        Ok(counted.filter_map(|row| row.red).reduce(|a, b| added(&a, &b)))
    }

    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        url: String,
        what: &str,
    ) -> Result<T, DrillError> {
        let response = self.http.get(url).send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        match response {
            Ok(response) => response.json().await.map_err(DrillError::unreachable(what)),
            Err(error) => Err(DrillError::unreachable(what)(error)),
        }
    }
}

fn added(a: &Red, b: &Red) -> Red {
    let mut durations = a.durations;
    for (sum, more) in durations.iter_mut().zip(b.durations) {
        *sum += more;
    }
    Red { requests: a.requests + b.requests, errors: a.errors + b.errors, durations }
}

/// What a dashboard panel shows of one revision over the last moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    pub errors: u64,
    /// The upper bound of the bucket that holds the 95th percentile.
    pub p95_ms: u64,
}

impl Reading {
    /// Reads a panel as the agents of this world do: what is not there counts as zero. This is
    /// the mistake that the naive act is about, and it is made here and nowhere else.
    pub fn absent_is_zero(before: Option<&Red>, after: Option<&Red>) -> Self {
        let none = Red { requests: 0, errors: 0, durations: [0; DURATION_BOUNDS_MS.len() + 1] };
        let (before, after) = (before.unwrap_or(&none), after.unwrap_or(&none));
        let grown = |index: usize| after.durations[index].saturating_sub(before.durations[index]);
        let all: u64 = (0..after.durations.len()).map(grown).sum();
        let mut counted = 0;
        let slowest = (0..after.durations.len()).find(|index| {
            counted += grown(*index);
            all > 0 && counted * 100 >= all * 95
        });
        let bound = |index: usize| DURATION_BOUNDS_MS.get(index).copied().unwrap_or(u64::MAX);
        Self {
            errors: after.errors.saturating_sub(before.errors),
            p95_ms: slowest.map_or(0, bound),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn red(requests: u64, errors: u64, bucket: usize) -> Red {
        let mut durations = [0; DURATION_BOUNDS_MS.len() + 1];
        durations[bucket] = requests;
        Red { requests, errors, durations }
    }

    #[test]
    fn the_naive_reading_takes_silence_for_a_perfect_score() {
        let silent = Reading::absent_is_zero(None, None);
        assert_eq!(silent, Reading { errors: 0, p95_ms: 0 });
        let same = red(50, 2, 3);
        assert_eq!(Reading::absent_is_zero(Some(&same), Some(&same)), silent);
    }

    #[test]
    fn a_reading_counts_what_came_since() {
        let reading = Reading::absent_is_zero(Some(&red(50, 2, 3)), Some(&red(90, 5, 3)));
        assert_eq!(reading, Reading { errors: 3, p95_ms: DURATION_BOUNDS_MS[3] });
        let slowest = Reading::absent_is_zero(None, Some(&red(1, 0, DURATION_BOUNDS_MS.len())));
        assert_eq!(slowest.p95_ms, u64::MAX);
    }
}
