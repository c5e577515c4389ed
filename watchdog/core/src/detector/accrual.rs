//! Accrual detectors: a suspicion that grows with silence, instead of a yes or no.
//!
//! φ is −log₁₀ of the chance that a beat still comes after this much silence (Hayashibara et al.,
//! SRDS 2004). Three forms are in wide use, and all three are here to be compared with: normal in
//! akka's logistic form, exponential as in Cassandra, exponential with a prior as in chitchat. The
//! watch itself does not decide by them: on a local path the two-window detector is as good, and a
//! normal fit multiplies its threshold by a spread that is tiny after calm and huge after trouble.
//!
//! Invariant: none of them says anything before it has seen an interval or been given a prior.

use std::collections::VecDeque;

/// A mean and a spread of intervals, in one unit of the caller's choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normal {
    pub mean: f64,
    pub deviation: f64,
}

impl Normal {
    /// The chance of a value up to `x`, by the logistic approximation that akka uses.
    #[must_use]
    pub fn cdf(&self, x: f64) -> f64 {
        1.0 / (1.0 + self.odds(x))
    }

    /// φ after `silence`.
    #[must_use]
    pub fn phi(&self, silence: f64) -> f64 {
        let odds = self.odds(silence);
        // Two forms of one number, each exact where the other one cancels.
        if silence > self.mean {
            -(odds / (1.0 + odds)).log10()
        } else {
            -(1.0 - 1.0 / (1.0 + odds)).log10()
        }
    }

    fn odds(&self, x: f64) -> f64 {
        let y = (x - self.mean) / self.deviation;
        (-y * (1.5976 + 0.070_566 * y * y)).exp()
    }
}

/// The last so many intervals.
#[derive(Debug, Clone, PartialEq)]
pub struct Intervals {
    kept: VecDeque<f64>,
    most: usize,
}

impl Intervals {
    /// A window of at most `most` intervals.
    #[must_use]
    pub const fn new(most: usize) -> Self {
        Self { kept: VecDeque::new(), most }
    }

    pub fn push(&mut self, interval: f64) {
        if self.kept.len() >= self.most {
            self.kept.pop_front();
        }
        self.kept.push_back(interval);
    }

    fn count(&self) -> Option<f64> {
        let count = u32::try_from(self.kept.len()).ok()?;
        (count > 0).then(|| f64::from(count))
    }

    /// `None` before the first interval.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        Some(self.kept.iter().sum::<f64>() / self.count()?)
    }

    /// `None` before the first interval.
    #[must_use]
    pub fn variance(&self) -> Option<f64> {
        let mean = self.mean()?;
        let squares = self.kept.iter().map(|interval| (interval - mean).powi(2));
        Some(squares.sum::<f64>() / self.count()?)
    }

    /// φ after `silence` if intervals are exponential; `None` before the first interval.
    #[must_use]
    pub fn phi_exponential(&self, silence: f64) -> Option<f64> {
        Some(silence / self.mean()? * std::f64::consts::LOG10_E)
    }

    /// The mean, drawn towards `prior` as if that had been seen `weight` times already.
    #[must_use]
    pub fn smoothed_mean(&self, prior: f64, weight: f64) -> f64 {
        let sum = self.kept.iter().sum::<f64>() + prior * weight;
        self.count().map_or(prior, |count| sum / (count + weight))
    }
}
