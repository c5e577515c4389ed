//! Reading metric probes back from the backend, by the query that people use (PromQL), and sending
//! some straight to it, so that a stalled exporter, a dead backend and a lying one are told apart.
//!
//! Invariant: a query that fails, or whose answer cannot be read, is told as such.

use std::sync::Arc;
use std::time::Duration;

use http::Request;
use http::header::CONTENT_TYPE;
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::probe::{POINT_RUN, POINT_WAY, PROBE_METRIC, ProbeEcho, Way};
use watchdog_core::tally::Signal;
use watchdog_core::watch::{Event, ReadBack};

use super::answer::Question;
use super::{Ledger, encode};
use crate::config::ReadbackConfig;
use crate::inbox::Inbox;
use crate::streak::{Streak, Turn};
use outside::Outside;

/// Integers from here on are not exact in a double.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Asks the backend at a steady pace.
pub struct Readback {
    pub config: ReadbackConfig,
    pub outside: Outside,
    /// The base of the query API, as in `http://127.0.0.1:9090`.
    pub promql: String,
    pub ledger: Arc<Ledger>,
    pub inbox: Arc<Inbox>,
}

/// An instant vector, as far as it matters.
#[derive(Debug, Deserialize)]
struct Answered {
    data: Vector,
}

#[derive(Debug, Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Debug, Deserialize)]
struct Sample {
    metric: std::collections::BTreeMap<String, String>,
    value: (f64, String),
}

impl Readback {
    /// Asks until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pace = tokio::time::interval(Duration::from_millis(self.config.interval_ms));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut sends, mut asks) = (Streak::default(), Streak::default());
        let mut seq = 0;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = pace.tick() => {}
            }
            if let Some(otlp) = &self.config.otlp {
                seq += 1;
                let sent = self.send(otlp, seq).await;
                note(&mut sends, sent.err(), "probes can be sent straight to the backend");
            }
            let asked = self.ask().await;
            for way in Way::ALL {
                if way == Way::Direct && self.config.otlp.is_none() {
                    continue;
                }
                let found = match &asked {
                    Ok(samples) => self.ledger.read_back(way, samples_of(way, samples)),
                    Err(_) => ReadBack::Unverifiable,
                };
                self.inbox.put(Event::ReadBack { way, found });
            }
            note(&mut asks, asked.err(), "probes can be read back from the backend");
        }
    }

    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.config.interval_ms)
    }

    async fn send(&self, otlp: &str, seq: u64) -> Result<(), String> {
        let Ledger { key, run, clock, .. } = &*self.ledger;
        let asked = Question { run, way: Way::Direct, signal: Signal::Metrics, seq };
        let body = encode::request(key, asked, clock.wall_ns());
        self.ledger.noted(Way::Direct, seq);
        let url = format!("{}/v1/metrics", otlp.trim_end_matches('/'));
        let request = Request::post(&url).header(CONTENT_TYPE, "application/x-protobuf");
        let request = request.body(Full::from(body)).map_err(|e| format!("{url}: {e}"))?;
        self.outside.ask(request, self.timeout()).await.map(drop)
    }

    async fn ask(&self) -> Result<Vec<Sample>, String> {
        let query = format!("{PROBE_METRIC}{{{POINT_RUN}=\"{}\"}}", self.ledger.run);
        // The last two are for VictoriaMetrics, which else answers what was half a minute ago.
        let url = format!(
            "{}/api/v1/query?query={}&nocache=1&latency_offset=1ms",
            self.promql.trim_end_matches('/'),
            percent(&query)
        );
        let request =
            Request::get(&url).body(Full::default()).map_err(|e| format!("{url}: {e}"))?;
        let body = self.outside.ask(request, self.timeout()).await?;
        let answered: Answered = serde_json::from_slice(&body)
            .map_err(|e| format!("the answer is not an instant vector: {e}"))?;
        Ok(answered.data.result)
    }
}

/// The values of the series of one way.
fn samples_of(way: Way, samples: &[Sample]) -> impl Iterator<Item = &str> {
    samples
        .iter()
        .filter(move |s| s.metric.get(POINT_WAY).is_some_and(|said| said == way.as_str()))
        .map(|sample| sample.value.1.as_str())
}

impl Ledger {
    /// Judges what the backend gives for one way.
    fn read_back<'s>(&self, way: Way, values: impl Iterator<Item = &'s str>) -> ReadBack {
        let found = values.map(|value| self.read_one(way, value));
        let rank = |found: &ReadBack| match found {
            ReadBack::Right { age_ms } => (0, *age_ms),
            ReadBack::Wrong => (1, 0),
            ReadBack::Unverifiable => (2, 0),
            ReadBack::Absent => (3, 0),
        };
        // Replicas may lag: the freshest right one counts.
        found.min_by_key(rank).unwrap_or(ReadBack::Absent)
    }

    fn read_one(&self, way: Way, value: &str) -> ReadBack {
        let Some(value) = whole(value) else { return ReadBack::Wrong };
        let echo = ProbeEcho {
            signal: Signal::Metrics,
            run: self.run.clone(),
            seq: String::new(),
            value,
            mac: String::new(),
            age_ms: 0,
        };
        match self.sent_at(way, &echo) {
            Ok(Some(at)) => ReadBack::Right { age_ms: self.clock.now().since_ms(at) },
            // Right, and so old that nobody remembers when it was sent.
            Ok(None) => ReadBack::Right { age_ms: u64::from(u32::MAX) },
            Err(()) => ReadBack::Wrong,
        }
    }
}

/// A sample as a whole number in decimal; `None` if it is none.
fn whole(value: &str) -> Option<String> {
    let value: f64 = value.parse().ok()?;
    let is_exact = (0.0..EXACT).contains(&value) && value.fract() == 0.0;
    is_exact.then(|| format!("{value:.0}"))
}

/// Percent-encodes everything but letters and digits.
fn percent(text: &str) -> String {
    let mut out = String::with_capacity(3 * text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

fn note(streak: &mut Streak, error: Option<String>, what: &str) {
    match streak.note(error.is_none()) {
        Some(Turn::ToWorking) => info!("{what} again"),
        Some(Turn::ToFailing) => warn!(words = error, "it fails that {what}"),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_as_a_whole_number_however_it_is_written() {
        assert_eq!(whole("9007199254740991").as_deref(), Some("9007199254740991"));
        assert_eq!(whole("4.294967297e+09").as_deref(), Some("4294967297"));
        for wrong in ["NaN", "+Inf", "-1", "1.5", "9007199254740993", ""] {
            assert_eq!(whole(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_query_survives_its_way_into_an_address() {
        assert_eq!(percent("a{b=\"c-1\"}"), "a%7Bb%3D%22c%2D1%22%7D");
    }
}
