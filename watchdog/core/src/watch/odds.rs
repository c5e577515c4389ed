//! How much more likely a count is under one share than under another.
//!
//! A log-likelihood ratio against the least favourable share of a hypothesis is, as requests go by,
//! the logarithm of a supermartingale that starts at 1. By Ville's inequality it passes `ln(1/α)`
//! at any time at all with a chance of at most α, so it may be looked at after every arrival. A
//! mean over several alternatives is such a supermartingale too.
//!
//! Invariant: no requests give no evidence: 0, whatever the share.

/// How records scatter around the share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Law {
    /// Each request is kept or not; one that is kept stands for `weight` requests.
    Kept { weight: f64 },
    /// A request makes several records, `per_request` on average, and scatters as much more.
    Many { per_request: f64 },
}

/// The natural logarithm of the likelihood of `records` of `requests` at share `to` over that at
/// share `from`.
fn log_ratio(requests: f64, records: f64, from: f64, to: f64, law: Law) -> f64 {
    match law {
        Law::Kept { weight } if from < weight && to < weight => {
            let kept = (records / weight).min(requests);
            let (from, to) = (from / weight, to / weight);
            kept * (to / from).ln() + (requests - kept) * ((1.0 - to) / (1.0 - from)).ln()
        }
        Law::Kept { weight } => poisson(requests, records, from, to) / weight.max(1.0),
        Law::Many { per_request } => poisson(requests, records, from, to) / (1.0 + per_request),
    }
}

fn poisson(requests: f64, records: f64, from: f64, to: f64) -> f64 {
    records * (to / from).ln() - requests * (to - from)
}

/// The evidence in nats that the share is `share` times one of `parts` and not `share`.
pub(super) fn evidence<const N: usize>(
    requests: f64,
    records: f64,
    share: f64,
    parts: [f64; N],
    law: Law,
) -> f64 {
    if requests <= 0.0 || share <= 0.0 {
        return 0.0;
    }
    let each = parts.map(|part| log_ratio(requests, records, share, share * part, law));
    let most = each.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = each.iter().map(|one| (one - most).exp()).sum();
    most + (sum / count(N)).ln()
}

/// Standard deviation of the share as measured over `requests`, as a part of it.
pub(super) fn scatter(requests: f64, share: f64, law: Law) -> f64 {
    let variance = match law {
        Law::Kept { weight } => (share * (weight - share)).max(0.0),
        Law::Many { per_request } => share * (1.0 + per_request),
    };
    (variance / requests.max(1.0)).sqrt() / share.max(f64::MIN_POSITIVE)
}

#[expect(clippy::cast_precision_loss, reason = "a handful of alternatives")]
const fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: Law = Law::Kept { weight: 1.0 };
    const LESS: [f64; 4] = [0.3, 0.6, 0.85, 0.95];

    /// Chance from a seed, for counts that scatter.
    fn coin(state: &mut u64) -> f64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        (*state >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn no_requests_are_no_evidence() {
        assert_eq!(evidence(0.0, 0.0, 0.85, LESS, KEPT), 0.0);
    }

    #[test]
    fn half_of_the_records_is_strong_evidence_and_all_of_them_is_none() {
        assert!(evidence(167.0, 92.0, 0.85, LESS, KEPT) > 30.0);
        assert!(evidence(167.0, 160.0, 0.85, LESS, KEPT) < 0.0);
        assert!(evidence(167.0, 142.0, 0.85, LESS, KEPT) < 1.0, "just the share that is allowed");
    }

    /// Ville's inequality, at every look: of 20 000 series at the very border of the hypothesis no
    /// more than one in a hundred may ever pass ln 100.
    #[test]
    fn looking_at_every_request_keeps_the_level() {
        let mut state = 0x9E37_79B9_7F4A_7C15;
        let threshold = 100.0_f64.ln();
        let mut passed = 0;
        for _ in 0..20_000 {
            let mut records = 0.0;
            let crossed = (1..=400).any(|requests| {
                records += f64::from(u8::from(coin(&mut state) < 0.85));
                evidence(f64::from(requests), records, 0.85, LESS, KEPT) >= threshold
            });
            passed += u32::from(crossed);
        }
        assert!(passed <= 200, "{passed} of 20 000");
        assert!(passed > 20, "a test that never passes proves nothing: {passed}");
    }

    #[test]
    fn a_sampled_span_says_as_much_as_one_and_not_as_much_as_it_stands_for() {
        let all = evidence(1_000.0, 500.0, 0.85, LESS, KEPT);
        let tenth = evidence(1_000.0, 500.0, 0.85, LESS, Law::Kept { weight: 10.0 });
        assert!(tenth < all / 5.0, "{tenth} {all}");
        assert!(scatter(1_000.0, 1.0, Law::Kept { weight: 10.0 }) > 0.09);
        assert_eq!(scatter(1_000.0, 1.0, KEPT), 0.0, "every request is a record");
    }

    #[test]
    fn several_records_a_request_scatter_more() {
        let law = Law::Many { per_request: 3.0 };
        assert!(evidence(200.0, 300.0, 2.55, LESS, law) > 10.0);
        assert!(evidence(200.0, 600.0, 2.55, LESS, law) < 0.0);
    }
}
