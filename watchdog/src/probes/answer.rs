//! The right answer to a probe, computed from key, run, way, signal and sequence alone.
//!
//! The verifier keeps no list of what was sent, so it survives its own restart and cannot forget.
//!
//! Invariant: the value is never 0 and changes with every sequence number, so a path that replays,
//! freezes or zeroes gives a wrong answer and not merely none.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use watchdog_core::probe::{ProbeEcho, SEQ_BITS, TAG_BITS, Way};
use watchdog_core::tally::Signal;

/// The key of probes, known to the watchdog alone.
#[derive(Clone)]
pub struct ProbeKey([u8; 32]);

impl std::fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKey")
    }
}

/// What one probe is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question<'r> {
    pub run: &'r str,
    pub way: Way,
    pub signal: Signal,
    pub seq: u64,
}

/// What came back, judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The right value under a right MAC.
    Right { seq: u64 },
    /// Ours by its run, but value or MAC is not what was sent: something on the path made it up.
    /// `seq` is what it claims to answer, if that can be read.
    Wrong { seq: Option<u64> },
    /// A probe of another start of a watchdog that has this key. It says nothing about ours.
    Foreign,
    /// Of another run and under another key: nobody here can tell.
    Unverifiable,
}

impl ProbeKey {
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    fn digest(&self, parts: &[&str]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key length");
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                mac.update(b"\n");
            }
            mac.update(part.as_bytes());
        }
        mac
    }

    /// The digest over what is asked and one more word.
    fn of(&self, asked: Question<'_>, seq: &str, word: &str) -> Hmac<Sha256> {
        self.digest(&[asked.run, asked.way.as_str(), asked.signal.as_str(), seq, word])
    }

    /// The first bytes of the digest over what is asked.
    fn number(&self, asked: Question<'_>) -> u64 {
        let bytes = self.of(asked, &asked.seq.to_string(), "number").finalize().into_bytes();
        let (first, _) = bytes.split_first_chunk::<8>().expect("SHA-256 has 32 bytes");
        // An odd number is never 0.
        u64::from_be_bytes(*first) | 1
    }

    /// The value that a probe carries, as text.
    pub fn value(&self, asked: Question<'_>) -> String {
        let number = self.number(asked);
        match asked.signal {
            Signal::Traces | Signal::Logs => number.to_string(),
            Signal::Metrics => {
                let tag = number & ((1 << TAG_BITS) - 1);
                ((low(asked.seq) << TAG_BITS) | tag).to_string()
            }
        }
    }

    /// The MAC that it carries, in hex.
    pub fn mac(&self, asked: Question<'_>) -> String {
        let digest = self.of(asked, &asked.seq.to_string(), &self.value(asked));
        hex::encode(digest.finalize().into_bytes())
    }

    /// Judges what was seen of a probe that went `way`; `newest` is the last one that was sent.
    pub fn verify(&self, run: &str, way: Way, echo: &ProbeEcho, newest: u64) -> Answer {
        let seq = match echo.signal {
            Signal::Traces | Signal::Logs => echo.seq.parse::<u64>().ok(),
            Signal::Metrics => claimed(&echo.value, newest),
        };
        let right = seq.is_some_and(|seq| {
            let asked = Question { run: &echo.run, way, signal: echo.signal, seq };
            self.holds(echo, asked)
        });
        match (seq, echo.run == run, right) {
            (Some(seq), true, true) => Answer::Right { seq },
            (seq, true, _) => Answer::Wrong { seq },
            (_, false, true) => Answer::Foreign,
            (_, false, false) => Answer::Unverifiable,
        }
    }

    fn holds(&self, echo: &ProbeEcho, asked: Question<'_>) -> bool {
        match asked.signal {
            // The value holds the MAC.
            Signal::Metrics => echo.value == self.value(asked),
            Signal::Traces | Signal::Logs => {
                let Ok(mac) = hex::decode(&echo.mac) else { return false };
                let digest = self.of(asked, &echo.seq, &echo.value);
                // Constant time, and before the value is looked at.
                digest.verify_slice(&mac).is_ok() && echo.value == self.value(asked)
            }
        }
    }
}

/// The part of the sequence that the value of a metric probe holds.
const fn low(seq: u64) -> u64 {
    seq & ((1 << SEQ_BITS) - 1)
}

/// The newest sequence up to `newest` whose low bits are in the value of a metric probe.
fn claimed(value: &str, newest: u64) -> Option<u64> {
    let value = value.parse::<u64>().ok().filter(|value| *value > 0)?;
    let behind = low(newest.wrapping_sub(value >> TAG_BITS));
    newest.checked_sub(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEWEST: u64 = 10;

    const fn asked(run: &str, signal: Signal, seq: u64) -> Question<'_> {
        Question { run, way: Way::Path, signal, seq }
    }

    fn echo(key: &ProbeKey, asked: Question<'_>) -> ProbeEcho {
        let (seq, mac) = match asked.signal {
            Signal::Traces | Signal::Logs => (asked.seq.to_string(), key.mac(asked)),
            Signal::Metrics => (String::new(), String::new()),
        };
        let (signal, run, value) = (asked.signal, asked.run.to_owned(), key.value(asked));
        ProbeEcho { signal, run, seq, value, mac, age_ms: 0 }
    }

    fn verify(key: &ProbeKey, echo: &ProbeEcho) -> Answer {
        key.verify("r", Way::Path, echo, NEWEST)
    }

    #[test]
    fn a_probe_that_returns_as_sent_is_right() {
        let key = ProbeKey::new([7; 32]);
        for signal in Signal::ALL {
            let answer = verify(&key, &echo(&key, asked("r", signal, 3)));
            assert_eq!(answer, Answer::Right { seq: 3 }, "{signal:?}");
        }
    }

    #[test]
    fn zeroed_frozen_replayed_and_forged_answers_are_wrong() {
        let key = ProbeKey::new([7; 32]);
        for signal in Signal::ALL {
            let right = echo(&key, asked("r", signal, 3));
            let zeroed = ProbeEcho { value: "0".into(), ..right.clone() };
            let halved = key.value(asked("r", signal, 3)).parse::<u64>().expect("a number") / 2;
            let halved = ProbeEcho { value: halved.to_string(), ..right.clone() };
            let forged = echo(&ProbeKey::new([8; 32]), asked("r", signal, 3));
            let other_way = Question { way: Way::Direct, ..asked("r", signal, 3) };
            let diverted = echo(&key, other_way);
            for wrong in [zeroed, halved, forged, diverted] {
                let answer = verify(&key, &wrong);
                assert!(matches!(answer, Answer::Wrong { .. }), "{wrong:?} is {answer:?}");
            }
        }
    }

    #[test]
    fn an_answer_under_another_number_or_another_signal_is_wrong() {
        let key = ProbeKey::new([7; 32]);
        let right = echo(&key, asked("r", Signal::Traces, 3));
        let renumbered = ProbeEcho { seq: "4".into(), ..right.clone() };
        let value = key.value(asked("r", Signal::Traces, 2));
        let frozen = ProbeEcho { value, ..right.clone() };
        let garbled = ProbeEcho { mac: "zz".into(), ..right.clone() };
        let logged = ProbeEcho { signal: Signal::Logs, ..right };
        for wrong in [renumbered, frozen, garbled, logged] {
            let answer = verify(&key, &wrong);
            assert!(matches!(answer, Answer::Wrong { .. }), "{wrong:?} is {answer:?}");
        }
    }

    #[test]
    fn a_metric_that_stands_still_answers_an_old_question_for_ever() {
        let key = ProbeKey::new([7; 32]);
        let old = echo(&key, asked("r", Signal::Metrics, 3));
        for newest in [3, 4, 1_000, 2_000_000] {
            assert_eq!(key.verify("r", Way::Path, &old, newest), Answer::Right { seq: 3 });
        }
    }

    #[test]
    fn a_metric_is_known_by_its_low_bits_past_their_end() {
        let key = ProbeKey::new([7; 32]);
        let seq = (5 << SEQ_BITS) + 2;
        let late = echo(&key, asked("r", Signal::Metrics, seq));
        assert_eq!(key.verify("r", Way::Path, &late, seq + 40), Answer::Right { seq });
        assert_eq!(key.verify("r", Way::Path, &late, 1), Answer::Wrong { seq: None });
    }

    #[test]
    fn a_probe_of_another_run_says_nothing() {
        let key = ProbeKey::new([7; 32]);
        assert_eq!(verify(&key, &echo(&key, asked("q", Signal::Traces, 3))), Answer::Foreign);
        let stranger = echo(&ProbeKey::new([8; 32]), asked("q", Signal::Traces, 3));
        assert_eq!(verify(&key, &stranger), Answer::Unverifiable);
    }

    #[test]
    fn no_value_is_zero_no_two_are_equal_and_a_metric_is_exact_in_a_double() {
        let key = ProbeKey::new([7; 32]);
        for signal in Signal::ALL {
            let value = |seq| key.value(asked("r", signal, seq)).parse::<u64>().expect("a number");
            let values: std::collections::BTreeSet<u64> = (0..1_000).map(value).collect();
            assert_eq!(values.len(), 1_000);
            assert!(!values.contains(&0));
            if signal == Signal::Metrics {
                assert!(values.last().is_some_and(|value| *value < 1 << 53));
                assert!(value((1 << SEQ_BITS) - 1) < 1 << 53);
            }
        }
    }
}
