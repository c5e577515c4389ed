//! The published verdicts as metrics, made anew at every scrape.
//!
//! Invariant: what is not known has no sample. An age that nobody measured is absent, not 0.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use watchdog_core::probe::Way;
use watchdog_core::tally::Signal;
use watchdog_core::verdict::{ProbeEvidence, Verdict, VerdictKind};

use crate::publish::Reader;

mod liveness;

#[derive(Debug)]
pub(super) struct Verdicts {
    reader: Reader,
}

impl Verdicts {
    pub(super) const fn new(reader: Reader) -> Self {
        Self { reader }
    }
}

impl Collector for Verdicts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let snapshot = self.reader.held();
        let items = snapshot.items.as_slice();
        states(&mut encoder, items)?;
        each(
            &mut encoder,
            "beat_age",
            "Age of the last beat",
            Some(&Unit::Seconds),
            items.iter().map(|v| (v, v.beats.age_ms.map(seconds))),
        )?;
        each(
            &mut encoder,
            "witness_requests",
            "Requests by the beats in the window of the witness",
            None,
            items.iter().map(|v| (v, v.witness.as_ref().map(|w| float(w.requests)))),
        )?;
        let observer = items.first().map(|v| seconds(v.observer.late_ms));
        let unit = Some(&Unit::Seconds);
        one(&mut encoder, "observer_late", "Worst lateness of the verdict loop", unit, observer)?;
        let strain = items.first().map(|v| f64::from(v.observer.strain));
        let words = "Eighths by which the watchdog's own lateness stretches its thresholds";
        one(&mut encoder, "observer_strain", words, None, strain)?;
        coverage(&mut encoder, &snapshot.probes)?;
        readback(&mut encoder, &snapshot.readback)?;
        liveness::encode(&mut encoder, &snapshot)
    }
}

fn coverage(
    encoder: &mut DescriptorEncoder<'_>,
    probes: &[(Signal, ProbeEvidence)],
) -> Result<(), std::fmt::Error> {
    let words = "Share of the last probes of a signal that came back right";
    let mut family = encoder.encode_descriptor("probe_coverage", words, None, MetricType::Gauge)?;
    for (signal, told) in probes {
        if let Some(coverage) = told.coverage {
            let labels = [("signal", signal.as_str())];
            ConstGauge::new(coverage).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn readback(
    encoder: &mut DescriptorEncoder<'_>,
    readback: &[(Way, ProbeEvidence)],
) -> Result<(), std::fmt::Error> {
    let words = "Since when the newest probe was sent that the backend gives back right";
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor("readback_age", words, unit, MetricType::Gauge)?;
    for (way, told) in readback {
        if let Some(age_ms) = told.age_ms {
            let labels = [("way", way.as_str())];
            ConstGauge::new(seconds(age_ms)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn states(encoder: &mut DescriptorEncoder<'_>, items: &[Verdict]) -> Result<(), std::fmt::Error> {
    let mut family =
        encoder.encode_descriptor("verdict", "1 for what holds", None, MetricType::Gauge)?;
    for item in items {
        for kind in VerdictKind::ALL {
            let labels = [
                ("service", item.service.as_str()),
                ("environment", item.environment.as_str()),
                ("verdict", kind.as_str()),
            ];
            let holds = ConstGauge::new(i64::from(kind == item.verdict));
            holds.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn each<'v>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    words: &str,
    unit: Option<&Unit>,
    values: impl Iterator<Item = (&'v Verdict, Option<f64>)>,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(name, words, unit, MetricType::Gauge)?;
    for (verdict, value) in values {
        if let Some(value) = value {
            let labels = [("service", verdict.service.as_str())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn one(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    words: &str,
    unit: Option<&Unit>,
    value: Option<f64>,
) -> Result<(), std::fmt::Error> {
    let metric = encoder.encode_descriptor(name, words, unit, MetricType::Gauge)?;
    value.map_or(Ok(()), |value| ConstGauge::new(value).encode(metric))
}

fn seconds(ms: u64) -> f64 {
    float(ms) / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53; a gauge needs no more")]
const fn float(count: u64) -> f64 {
    count as f64
}
