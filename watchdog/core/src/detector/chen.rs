//! From a liveness contract to a beat interval and a margin, and from these to what they achieve.
//!
//! Chen, Toueg and Aguilera, *On the Quality of Service of Failure Detectors*, IEEE Transactions
//! on Computers 51(5), May 2002 (the January printing has errors). A contract says how fast a
//! crash must be found, how rarely a mistake may happen and how long one may last; the
//! configurator gives the slowest beats that keep it. NFD-S sends beat `i` at `i·η` and trusts
//! until `i·η + δ` later; a crash is found within `η + δ`, always.
//!
//! Seconds throughout, as in the paper.
//!
//! Invariant: what the configurator answers keeps the contract by the same formulas that
//! [`quality`] uses.

/// What a service owner asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Contract {
    /// T_D^U: a crash is found within this time.
    pub detection_s: f64,
    /// T_MR^L: at least this long from one mistake to the next, on average.
    pub recurrence_s: f64,
    /// T_M^U: a mistake lasts at most this long, on average.
    pub duration_s: f64,
}

/// What is known of the way that beats take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link {
    /// Part of the beats that are lost, independently; 0 to 1.
    pub loss: f64,
    pub delay: Delay,
}

/// What is known of the delay of beats.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Delay {
    /// Exponential with this mean.
    Exponential { mean_s: f64 },
    /// Nothing but mean and variance; the bounds hold for every distribution that has them.
    Moments { mean_s: f64, variance_s2: f64 },
}

/// How to beat, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Setting {
    /// η: from one beat to the next.
    pub interval_s: f64,
    /// δ: how long after its sending a beat is waited for.
    pub margin_s: f64,
}

/// What a setting achieves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality {
    /// p_S: the chance that a beat is followed by a mistake.
    pub mistake: f64,
    /// E(T_MR).
    pub recurrence_s: f64,
    /// E(T_M).
    pub duration_s: f64,
    /// P_A: the chance that a question is answered rightly.
    pub accuracy: f64,
}

/// Steps of the numeric integral between two kinks of the integrand.
const STEPS: u32 = 20_000;
/// Halvings of an interval: more than a double has bits for.
const HALVINGS: u32 = 60;
/// The most beats within one detection time that are tried.
const BEATS_MAX: u32 = 10_000;

/// The slowest beats that keep the contract; `None` if none do.
#[must_use]
pub fn configure(contract: &Contract, link: &Link) -> Option<Setting> {
    let span_s = span(contract.detection_s, link);
    let interval_max_s = longest_interval(contract.detection_s, contract.duration_s, link);
    if !(span_s > 0.0 && interval_max_s > 0.0) {
        return None;
    }
    let keeps = |interval_s: f64, beats: u32| {
        bound(contract.detection_s, link, interval_s, beats) >= contract.recurrence_s
    };
    // Within one number of beats the recurrence falls as the interval grows.
    for beats in 1..=BEATS_MAX {
        let lowest = span_s / f64::from(beats);
        if lowest > interval_max_s || !keeps(lowest, beats) {
            continue;
        }
        let mut low = lowest;
        let highest = if beats == 1 { span_s } else { span_s / f64::from(beats - 1) };
        let mut high = highest.min(interval_max_s);
        for _ in 0..HALVINGS {
            let middle = f64::midpoint(low, high);
            if keeps(middle, beats) {
                low = middle;
            } else {
                high = middle;
            }
        }
        return Some(Setting { interval_s: low, margin_s: contract.detection_s - low });
    }
    None
}

/// η_max of the paper: with slower beats a mistake lasts longer than `duration_s` on average.
#[must_use]
pub fn longest_interval(detection_s: f64, duration_s: f64, link: &Link) -> f64 {
    match link.delay {
        Delay::Exponential { mean_s } => {
            (1.0 - link.loss) * (1.0 - tail(detection_s, mean_s)) * duration_s
        }
        Delay::Moments { variance_s2, .. } => {
            let span_s = span(detection_s, link);
            let square = span_s * span_s;
            let gamma = (1.0 - link.loss) * square / (variance_s2 + square);
            (gamma * duration_s).min(span_s)
        }
    }
}

/// At the least, how far apart mistakes are on average when beats come every `interval_s`.
#[must_use]
pub fn recurrence(detection_s: f64, interval_s: f64, link: &Link) -> f64 {
    let span_s = span(detection_s, link);
    let beats = (1..BEATS_MAX).find(|beats| f64::from(*beats) * interval_s >= span_s);
    bound(detection_s, link, interval_s, beats.unwrap_or(BEATS_MAX))
}

/// What the mean delay leaves of the detection time, where only moments are known.
fn span(detection_s: f64, link: &Link) -> f64 {
    match link.delay {
        Delay::Exponential { .. } => detection_s,
        Delay::Moments { mean_s, .. } => detection_s - mean_s,
    }
}

/// f(η) of the paper with `beats` = ⌈T/η⌉: a bound from below on E(T_MR).
fn bound(detection_s: f64, link: &Link, interval_s: f64, beats: u32) -> f64 {
    let late = (1..beats).map(f64::from);
    match link.delay {
        Delay::Exponential { mean_s } => {
            let arrives = (1.0 - link.loss) * (1.0 - tail(detection_s, mean_s));
            let missed = |j: f64| {
                let left = detection_s - j * interval_s;
                link.loss + (1.0 - link.loss) * tail(left, mean_s)
            };
            interval_s / (arrives * late.map(missed).product::<f64>())
        }
        Delay::Moments { mean_s, variance_s2 } => {
            let ratio = |j: f64| {
                let left = detection_s - mean_s - j * interval_s;
                let square = left * left;
                (variance_s2 + square) / (variance_s2 + link.loss * square)
            };
            interval_s * late.map(ratio).product::<f64>()
        }
    }
}

/// Pr(D > t) of an exponential delay.
fn tail(t_s: f64, mean_s: f64) -> f64 {
    if t_s <= 0.0 { 1.0 } else { (-t_s / mean_s).exp() }
}

/// What NFD-S achieves with `setting` on a way with this loss and an exponential delay.
#[must_use]
pub fn quality(setting: &Setting, loss: f64, mean_s: f64) -> Quality {
    let Setting { interval_s, margin_s } = *setting;
    let later = |x: f64, j: u32| {
        loss + (1.0 - loss) * tail(margin_s + x - f64::from(j) * interval_s, mean_s)
    };
    // Beats that could still arrive in time: ⌈δ/η⌉ + 1 of them.
    let beats = (0..BEATS_MAX).take_while(|j| f64::from(*j) < margin_s / interval_s).count();
    let beats = u32::try_from(beats).unwrap_or(BEATS_MAX);
    let none = |x: f64| (0..=beats).map(|j| later(x, j)).product::<f64>();
    let in_time = (1.0 - loss) * (1.0 - tail(margin_s + interval_s, mean_s));
    let mistake = in_time * none(0.0);
    // Where a beat's delay bound crosses zero the integrand has a kink.
    let kinks = (0..=beats).map(|j| f64::from(j) * interval_s - margin_s);
    let mut ends = vec![0.0, interval_s];
    ends.extend(kinks.filter(|x| *x > 0.0 && *x < interval_s));
    ends.sort_by(f64::total_cmp);
    let area: f64 = ends.windows(2).map(|pair| simpson(&none, pair[0], pair[1])).sum();
    let recurrence_s = interval_s / mistake;
    let duration_s = area / mistake;
    Quality { mistake, recurrence_s, duration_s, accuracy: 1.0 - duration_s / recurrence_s }
}

fn simpson(f: &impl Fn(f64) -> f64, from: f64, to: f64) -> f64 {
    let step = (to - from) / f64::from(STEPS);
    let at = |i: u32| f(from + f64::from(i) * step);
    let inner: f64 = (1..STEPS).map(|i| if i % 2 == 1 { 4.0 * at(i) } else { 2.0 * at(i) }).sum();
    (at(0) + inner + f(to)) * step / 3.0
}
