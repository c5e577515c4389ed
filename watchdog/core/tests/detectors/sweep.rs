//! The loss sweep: the time between mistakes of our detector against Chen's NFD-S formula.
//!
//! Both send beats every η and trust for the same detection time; NFD-S knows the sender's clock
//! and ours only arrivals, which on a way of 1 ms makes no difference that 10 % would show. Seeds
//! are fixed, and each case has so many mistakes that chance stays below the tolerance.

use watchdog_core::detector::chen::{Quality, Setting, quality};
use watchdog_core::detector::{BeatBounds, Detector};
use watchdog_core::liveness::LivenessContract;
use watchdog_core::tick::Tick;
use watchdog_core::watch::WatchConfig;

const INTERVAL_MS: u64 = 100;
const DELAY_MS: f64 = 1.0;
/// Mistakes in each case: one standard deviation of their number is 0.7 %.
const MISTAKES: f64 = 20_000.0;

struct Chance(u64);

impl Chance {
    /// A number in `(0, 1]`: xorshift64*.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let top = u32::try_from(self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32);
        (f64::from(top.expect("32 bits are left")) + 1.0) / 4_294_967_296.0
    }
}

#[derive(Debug, Default)]
struct Seen {
    mistakes: u32,
    mistaken_ms: u64,
    last_ms: u64,
}

/// Beats with loss `loss`, suspected after `detect_ms` of silence, over `beats` intervals.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small, positive")]
fn watch_beats(loss: f64, detect_ms: u64, beats: u64, seed: u64) -> Seen {
    let config = WatchConfig { slack_ms: 0, ..WatchConfig::default() };
    let contract =
        LivenessContract { detect_ms, mistakes_apart_ms: 1, mistake_ms_max: u64::MAX / 2 };
    let bounds = BeatBounds::for_contract(&contract, INTERVAL_MS, &config);
    let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut detector = Detector::new(Tick(0));
    let mut seen = Seen::default();
    let mut steps = 0;
    for beat in 1..=beats {
        steps += 1;
        if chance.next() <= loss {
            continue;
        }
        let delay = (-chance.next().ln() * DELAY_MS) as u64;
        let at = Tick(beat * INTERVAL_MS + delay);
        let gap = at.since_ms(detector.last());
        let after = detector.suspect_after_ms(&bounds);
        if gap > after {
            seen.mistakes += 1;
            seen.mistaken_ms += gap - after;
        }
        detector.beat(at, steps, &bounds);
        steps = 0;
    }
    seen.last_ms = detector.last().0;
    seen
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of beats")]
fn case(loss: f64, detect_ms: u32) -> (Quality, f64, f64) {
    let interval_s = 0.1;
    let setting = Setting { interval_s, margin_s: f64::from(detect_ms) / 1_000.0 - interval_s };
    let promised = quality(&setting, loss, DELAY_MS / 1_000.0);
    let beats = (MISTAKES * promised.recurrence_s / interval_s) as u64;
    let seen = watch_beats(loss, u64::from(detect_ms), beats, u64::from(detect_ms));
    #[expect(clippy::cast_precision_loss, reason = "days in milliseconds")]
    let (span_s, wrong_s) = (seen.last_ms as f64 / 1e3, seen.mistaken_ms as f64 / 1e3);
    (promised, span_s / f64::from(seen.mistakes), wrong_s / f64::from(seen.mistakes))
}

#[test]
fn mistakes_are_as_far_apart_as_the_formula_of_nfd_s_says() {
    for (loss, detect_ms) in
        [(0.001, 150), (0.01, 150), (0.05, 150), (0.05, 250), (0.1, 250), (0.2, 250), (0.2, 350)]
    {
        let (promised, apart_s, lasting_s) = case(loss, detect_ms);
        let (apart, lasting) =
            (apart_s / promised.recurrence_s - 1.0, lasting_s / promised.duration_s - 1.0);
        println!(
            "loss {:>5.1} %, T_D {detect_ms} ms: T_MR {apart_s:9.2} s ({:+.1} %), \
             T_M {:5.1} ms ({:+.1} %)",
            loss * 100.0,
            apart * 100.0,
            lasting_s * 1e3,
            lasting * 100.0
        );
        assert!(apart.abs() < 0.1, "loss {loss}, T_D {detect_ms}: {apart_s} {promised:?}");
        assert!(lasting.abs() < 0.1, "loss {loss}, T_D {detect_ms}: {lasting_s} {promised:?}");
    }
}
