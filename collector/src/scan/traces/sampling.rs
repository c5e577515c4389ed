//! Adjusted counts: how many spans one stands for that head sampling kept.
//!
//! A sampler that follows OpenTelemetry's consistent probability sampling writes its rejection
//! threshold into the tracestate, as `ot=th:HEX`: up to 14 hex digits, to be read as if zeros
//! followed, so that they are 56 bits. A span with threshold T was kept with probability
//! 1 - T/2^56 and stands for the reciprocal of that.
//!
//! Invariant: what is not such a threshold weighs one, and none weighs more than
//! [`WEIGHT_MILLI_MAX`].

/// The weight of a span that stands for itself, in thousandths.
pub(super) const ONE_MILLI: u64 = 1_000;

/// A million: who samples more thinly than that has no counts to compare, and a hostile threshold
/// cannot drown the others.
const WEIGHT_MILLI_MAX: u64 = 1_000_000_000;

const DIGITS: usize = 14;
const ALL: u64 = 1 << (4 * DIGITS);

/// The weight of a span with this tracestate.
pub(super) fn weight_milli(tracestate: &[u8]) -> u64 {
    threshold(tracestate).map_or(ONE_MILLI, |threshold| {
        let kept = u128::from(ALL - threshold);
        let weight = (u128::from(ALL) * u128::from(ONE_MILLI) + kept / 2) / kept;
        u64::try_from(weight).unwrap_or(u64::MAX).min(WEIGHT_MILLI_MAX)
    })
}

/// T of the member `ot`, which is less than [`ALL`].
fn threshold(tracestate: &[u8]) -> Option<u64> {
    let members = tracestate.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    let ours = members.filter_map(|member| member.strip_prefix(b"ot=")).next()?;
    let digits = ours.split(|byte| *byte == b';').find_map(|field| field.strip_prefix(b"th:"))?;
    if digits.is_empty() || digits.len() > DIGITS {
        return None;
    }
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        Some(value << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })?;
    Some(value << (4 * (DIGITS - digits.len())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_the_share_that_was_not_kept() {
        for (tracestate, weight) in [
            ("ot=th:0", 1_000),
            ("ot=th:8", 2_000),
            ("ot=th:c", 4_000),
            ("ot=th:e6666666666666", 10_000),
            ("ot=th:fd70a3d70a3d7", 100_000),
            ("vendor=x, ot=rv:6e6d1a75832a2f;th:8", 2_000),
            ("ot=th:ffffffffffffff", WEIGHT_MILLI_MAX),
        ] {
            assert_eq!(weight_milli(tracestate.as_bytes()), weight, "{tracestate}");
        }
    }

    #[test]
    fn what_is_no_threshold_weighs_one() {
        for tracestate in
            ["", "a=b", "ot=", "ot=th:", "ot=th:g", "ot=th:000000000000000", "not=th:8"]
        {
            assert_eq!(weight_milli(tracestate.as_bytes()), ONE_MILLI, "{tracestate}");
        }
    }
}
