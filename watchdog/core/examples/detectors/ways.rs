//! The ways that beats take: chance with a fixed seed.
//!
//! Invariant: one way gives the same arrivals every time.

/// From one beat to the next, in milliseconds.
pub const INTERVAL_MS: f64 = 100.0;
/// Ten hours of beats.
const BEATS: u32 = 360_000;

/// A way, or a sender, with its own trouble.
#[derive(Debug, Clone, Copy)]
pub enum Way {
    Loss,
    Jitter,
    Bursts,
    SenderStalls,
}

/// When beats arrived, in order.
pub struct Arrivals {
    /// Sequence and time of arrival in milliseconds.
    pub heard: Vec<(u32, f64)>,
    pub hours: f64,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Loss, Self::Jitter, Self::Bursts, Self::SenderStalls];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Loss => "1 % loss, 1 ms",
            Self::Jitter => "1 % loss, 20 ms jitter",
            Self::Bursts => "loss in bursts (Gilbert-Elliott)",
            Self::SenderStalls => "sender stalls 6/h, 0.3–3 s",
        }
    }

    pub fn arrivals(self) -> Arrivals {
        let mut chance = Chance(0x9E37_79B9_7F4A_7C15);
        let mut bad = false;
        let mut clock_ms = 0.0;
        let mut heard: Vec<(u32, f64)> = Vec::new();
        for seq in 0..BEATS {
            clock_ms += INTERVAL_MS;
            if matches!(self, Self::SenderStalls) && chance.next() < 6.0 / 36_000.0 {
                // The sender's loop goes on late: its whole schedule shifts.
                clock_ms += 300.0 * chance.next().powf(-1.0 / 1.5).min(10.0);
            }
            let (loss, delay_ms) = match self {
                Self::Loss => (0.01, 1.0),
                Self::Jitter => (0.01, 20.0),
                Self::Bursts => {
                    // Bad for five beats on average, and 90 % of those are lost.
                    bad = if bad { chance.next() >= 0.2 } else { chance.next() < 0.002 };
                    (if bad { 0.9 } else { 0.001 }, 1.0)
                }
                Self::SenderStalls => (0.001, 1.0),
            };
            let delay_ms = -chance.next().ln() * delay_ms;
            if chance.next() > loss {
                heard.push((seq, clock_ms + delay_ms));
            }
        }
        heard.sort_by(|a, b| a.1.total_cmp(&b.1));
        Arrivals { heard, hours: clock_ms / 3_600_000.0 }
    }
}

impl Arrivals {
    /// Silences of a living sender that are longer than `ms`: no detector can do better.
    pub fn gaps_longer_than(&self, ms: f64) -> usize {
        self.heard.windows(2).filter(|pair| pair[1].1 - pair[0].1 > ms).count()
    }
}

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
