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
use watchdog_core::verdict::{ProbeEvidence, VerdictKind};
use watchdog_core::watch::Shown;

use crate::publish::{Reader, Snapshot};

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
        states(&mut encoder, &snapshot)?;
        each(
            &mut encoder,
            ("beat_age", "Age of the last beat", Some(&Unit::Seconds)),
            &snapshot,
            |shown| shown.beat_age_ms(&snapshot.backdrop).map(seconds),
        )?;
        each(
            &mut encoder,
            ("witness_requests", "Requests by the beats in the window of the witness", None),
            &snapshot,
            |shown| shown.witness().map(|witness| float(witness.requests)),
        )?;
        let observer = snapshot.items.first().map(|_| seconds(snapshot.late_ms()));
        let unit = Some(&Unit::Seconds);
        one(&mut encoder, "observer_late", "Worst lateness of the verdict loop", unit, observer)?;
        let strain = snapshot.items.first().map(|_| f64::from(snapshot.backdrop.strain()));
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

fn states(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Result<(), std::fmt::Error> {
    let mut family =
        encoder.encode_descriptor("verdict", "1 for what holds", None, MetricType::Gauge)?;
    for shown in &snapshot.items {
        let held = snapshot.kind(shown);
        for kind in VerdictKind::ALL {
            let labels = [
                ("service", shown.service().as_str()),
                ("environment", shown.environment().as_str()),
                ("verdict", kind.as_str()),
            ];
            let holds = ConstGauge::new(i64::from(kind == held));
            holds.encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

fn each(
    encoder: &mut DescriptorEncoder<'_>,
    (name, words, unit): (&str, &str, Option<&Unit>),
    snapshot: &Snapshot,
    value: impl Fn(&Shown) -> Option<f64>,
) -> Result<(), std::fmt::Error> {
    let mut family = encoder.encode_descriptor(name, words, unit, MetricType::Gauge)?;
    for shown in &snapshot.items {
        if let Some(value) = value(shown) {
            let labels = [("service", shown.service().as_str())];
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
