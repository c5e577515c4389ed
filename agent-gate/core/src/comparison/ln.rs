//! Logarithms that are the same on every machine.
//!
//! `f64::ln` is whatever the platform's mathematics library makes of it, and may differ in the
//! last bit. A decision is replayed byte for byte, perhaps elsewhere, so the few functions that
//! statistics need are built here from the four operations that IEEE 754 fixes exactly.
//!
//! Invariant: only `+ - * /`, comparisons and exact conversions of bits.

/// The natural logarithm of a positive, finite, normal number; the method is that of fdlibm's
/// `e_log.c` (Sun Microsystems, 1993), with an error below 1 ulp.
#[must_use]
pub fn ln(x: f64) -> f64 {
    const LN2_HIGH: f64 = 0.6931471803691238;
    const LN2_LOW: f64 = 1.9082149292705877e-10;
    const COEFFICIENTS: [f64; 7] = [
        0.6666666666666735,
        0.3999999999940942,
        0.2857142874366239,
        0.22222198432149784,
        0.1818357216161805,
        0.15313837699209373,
        0.14798198605116586,
    ];
    debug_assert!(x.is_normal() && x > 0.0, "ln is asked for positive normal numbers only");
    // x = 2^k (1 + f) with sqrt(2)/2 < 1 + f < sqrt(2).
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut mantissa = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if mantissa > std::f64::consts::SQRT_2 {
        mantissa *= 0.5;
        exponent += 1;
    }
    let f = mantissa - 1.0;
    let s = f / (2.0 + f);
    let z = s * s;
    let r = COEFFICIENTS.iter().rev().fold(0.0, |sum, coefficient| (sum + coefficient) * z);
    let half = 0.5 * f * f;
    let k = exponent as f64;
    k * LN2_HIGH - ((half - (s * (half + r) + k * LN2_LOW)) - f)
}

/// `ln n!`, exact sums for small `n` and Stirling's series above, with an absolute error below
/// 1e-12 of the result's size.
#[must_use]
pub fn ln_factorial(n: u64) -> f64 {
    const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;
    if n < 16 {
        return (2..=n).map(|each| ln(each as f64)).sum();
    }
    // ln Γ(x) with x = n + 1 (Abramowitz and Stegun 6.1.41).
    let x = n as f64 + 1.0;
    let inverse = 1.0 / x;
    let square = inverse * inverse;
    let series = inverse
        * (1.0 / 12.0 - square * (1.0 / 360.0 - square * (1.0 / 1260.0 - square * (1.0 / 1680.0))));
    (x - 0.5) * ln(x) - x + HALF_LN_TAU + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_logarithm_is_that_of_the_platform_within_an_ulp_or_two() {
        let mut x = 1e-9;
        while x < 1e15 {
            let (ours, theirs) = (ln(x), x.ln());
            assert!((ours - theirs).abs() <= 4.0 * f64::EPSILON * theirs.abs(), "{x}: {ours}");
            x *= 1.000_7;
        }
        assert_eq!(ln(1.0), 0.0);
    }

    #[test]
    fn the_factorial_is_the_sum_of_its_logarithms() {
        let mut sum = 0.0;
        for n in 1..=5_000_u64 {
            sum += (n as f64).ln();
            let ours = ln_factorial(n);
            assert!((ours - sum).abs() <= 1e-11 * (1.0 + sum), "{n}: {ours} is not {sum}");
        }
    }
}
