//! Liveness contracts as metrics: what was promised, and what is achieved, side by side.
//!
//! Invariant: a promise that nobody gave and a figure that was not measured have no sample.

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use watchdog_core::watch::{Achieved, Liveness};

use super::{float, seconds};
use crate::publish::Snapshot;

/// One figure of a service's detector; `None` if it was not measured.
type Figure = fn(&Liveness) -> Option<f64>;
type Written = Result<(), std::fmt::Error>;

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Written {
    times(encoder, snapshot, "liveness_promised", "What the contract promises", |l| {
        let Some(promise) = l.promise else { return [None; 3] };
        [promise.detect_ms, promise.mistakes_apart_ms, promise.mistake_ms_max].map(Some)
    })?;
    times(encoder, snapshot, "liveness_achieved", "What the detector achieves", |l| {
        let achieved = &l.achieved;
        [achieved.detect_ms_max, achieved.mistakes_apart_ms, achieved.mistake_ms_mean]
    })?;
    let gauges: [(&str, &str, Figure); 5] = [
        ("liveness_kept", "1 while the promise can be kept on the way as it is", kept),
        ("liveness_accuracy", "Part of the time in which a live service was trusted", |l| {
            l.achieved.accuracy
        }),
        ("suspicion", "Minus the decimal logarithm of the chance that it is alive", |l| {
            l.suspicion
        }),
        ("beat_loss", "Part of the beats that are lost", |l| l.achieved.loss),
        ("liveness_watched_hours", "Time over which the figures were taken", |l| {
            Some(float(l.achieved.watched_ms) / 3_600_000.0)
        }),
    ];
    for (name, words, value) in gauges {
        let mut family = encoder.encode_descriptor(name, words, None, MetricType::Gauge)?;
        for (service, liveness) in snapshot.liveness.iter() {
            if let Some(value) = value(liveness) {
                let labels = [("service", service.as_str())];
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    jitter(encoder, snapshot)?;
    endings(encoder, snapshot)
}

fn kept(liveness: &Liveness) -> Option<f64> {
    liveness.promise.map(|_| if liveness.unkept.is_none() { 1.0 } else { 0.0 })
}

/// One family of times with the label `figure`.
fn times(
    encoder: &mut DescriptorEncoder<'_>,
    snapshot: &Snapshot,
    name: &str,
    words: &str,
    values: impl Fn(&Liveness) -> [Option<u64>; 3],
) -> Written {
    let unit = Some(&Unit::Seconds);
    let mut family = encoder.encode_descriptor(name, words, unit, MetricType::Gauge)?;
    for (service, liveness) in snapshot.liveness.iter() {
        let figures = ["detection", "mistakes_apart", "mistake"];
        for (figure, value) in figures.into_iter().zip(values(liveness)) {
            if let Some(ms) = value {
                let labels = [("service", service.as_str()), ("figure", figure)];
                ConstGauge::new(seconds(ms)).encode(family.encode_family(&labels)?)?;
            }
        }
    }
    Ok(())
}

fn jitter(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Written {
    let unit = Some(&Unit::Seconds);
    let words = "Standard deviation of the delay of beats";
    let mut family = encoder.encode_descriptor("beat_jitter", words, unit, MetricType::Gauge)?;
    for (service, liveness) in snapshot.liveness.iter() {
        if let Some(ms) = liveness.jitter_ms {
            let labels = [("service", service.as_str())];
            ConstGauge::new(ms / 1_000.0).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Suspicions by what became of them.
fn endings(encoder: &mut DescriptorEncoder<'_>, snapshot: &Snapshot) -> Written {
    let words = "Suspicions by what became of them";
    let mut family =
        encoder.encode_descriptor("suspicions_ended", words, None, MetricType::Counter)?;
    for (service, liveness) in snapshot.liveness.iter() {
        let Achieved { mistakes, stalls, losses, .. } = liveness.achieved;
        for (ending, count) in [("mistake", mistakes), ("stall", stalls), ("loss", losses)] {
            let labels = [("service", service.as_str()), ("ending", ending)];
            ConstCounter::new(u64::from(count)).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
