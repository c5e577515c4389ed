//! The two-arm count test: do the events fall on the arms as their exposure says?
//!
//! Under the null hypothesis each event belongs to the candidate with probability `share`, its
//! part of the exposure. The alternative is a Beta(1, 1) mixture over all other probabilities.
//! The Bayes factor
//!
//! `BF = B(a + n1, a + n0) / B(a, a) / (share^n1 (1 - share)^n0)`, `a = 1`
//!
//! is a martingale under the null hypothesis, so `1/BF` is a p-value at every stopping time
//! (Lindon and Malek, "Anytime-valid inference for multinomial count data", NeurIPS 2022).
//! Crossing `alpha` once is enough to act, so no running minimum needs to be kept.
//!
//! Invariant: one function of two integers and a share; the same on every machine.

use crate::comparison::ln::{ln, ln_factorial};

/// The natural logarithm of the Bayes factor against "the events fall by exposure".
///
/// `share` is the candidate's part of the exposure. Without exposure on both sides there is
/// nothing to compare, and no evidence: 0.
#[must_use]
pub fn evidence(candidate: u64, baseline: u64, share: f64) -> f64 {
    if !(share > 0.0 && share < 1.0) {
        return 0.0;
    }
    // With a = 1: ln B(1 + n1, 1 + n0) = ln n1! + ln n0! - ln (n1 + n0 + 1)!, and B(1, 1) = 1.
    let mixture = ln_factorial(candidate) + ln_factorial(baseline)
        - ln_factorial(candidate.saturating_add(baseline).saturating_add(1));
    let null = candidate as f64 * ln(share) + baseline as f64 * ln(1.0 - share);
    mixture - null
}
