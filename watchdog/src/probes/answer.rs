//! The right answer to a probe, computed from key, run and sequence alone.
//!
//! The verifier keeps no list of what was sent, so it survives its own restart and cannot forget.
//!
//! Invariant: the value is never 0 and changes with every sequence number, so a path that replays,
//! freezes or zeroes gives a wrong answer and not merely none.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use watchdog_core::probe::ProbeEcho;

/// The key of probes, known to the watchdog alone.
#[derive(Clone)]
pub struct ProbeKey([u8; 32]);

impl std::fmt::Debug for ProbeKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKey")
    }
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

    fn digest(&self, parts: &[&[u8]]) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes any key length");
        for (index, part) in parts.iter().enumerate() {
            if index > 0 {
                mac.update(b"\n");
            }
            mac.update(part);
        }
        mac
    }

    /// The value that probe `seq` of `run` carries.
    pub fn value(&self, run: &str, seq: u64) -> u64 {
        let digest = self.digest(&[b"value", run.as_bytes(), seq.to_string().as_bytes()]);
        let bytes = digest.finalize().into_bytes();
        let (first, _) = bytes.split_first_chunk::<8>().expect("SHA-256 has 32 bytes");
        // An odd number is never 0.
        u64::from_be_bytes(*first) | 1
    }

    /// The MAC that probe `seq` of `run` carries, in hex.
    pub fn mac(&self, run: &str, seq: u64) -> String {
        let value = self.value(run, seq).to_string();
        let digest = self.digest(&[run.as_bytes(), seq.to_string().as_bytes(), value.as_bytes()]);
        hex::encode(digest.finalize().into_bytes())
    }

    /// Judges what the far tap saw.
    pub fn verify(&self, run: &str, echo: &ProbeEcho) -> Answer {
        let seq = echo.seq.parse::<u64>().ok();
        let right = seq.is_some_and(|seq| self.holds(echo, seq));
        match (seq, echo.run == run, right) {
            (Some(seq), true, true) => Answer::Right { seq },
            (seq, true, _) => Answer::Wrong { seq },
            (_, false, true) => Answer::Foreign,
            (_, false, false) => Answer::Unverifiable,
        }
    }

    fn holds(&self, echo: &ProbeEcho, seq: u64) -> bool {
        let Ok(mac) = hex::decode(&echo.mac) else { return false };
        let (run, value) = (echo.run.as_str(), echo.value.as_str());
        let digest = self.digest(&[run.as_bytes(), echo.seq.as_bytes(), value.as_bytes()]);
        // Constant time, and before the value is looked at.
        digest.verify_slice(&mac).is_ok() && value == self.value(run, seq).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn echo(key: &ProbeKey, run: &str, seq: u64) -> ProbeEcho {
        ProbeEcho {
            run: run.into(),
            seq: seq.to_string(),
            value: key.value(run, seq).to_string(),
            mac: key.mac(run, seq),
            age_ms: 0,
        }
    }

    #[test]
    fn a_probe_that_returns_as_sent_is_right() {
        let key = ProbeKey::new([7; 32]);
        assert_eq!(key.verify("r", &echo(&key, "r", 3)), Answer::Right { seq: 3 });
    }

    #[test]
    fn zeroed_frozen_replayed_and_forged_answers_are_wrong() {
        let key = ProbeKey::new([7; 32]);
        let right = echo(&key, "r", 3);
        let zeroed = ProbeEcho { value: "0".into(), ..right.clone() };
        let frozen = ProbeEcho { value: key.value("r", 2).to_string(), ..right.clone() };
        let renumbered = ProbeEcho { seq: "4".into(), ..right.clone() };
        let forged = echo(&ProbeKey::new([8; 32]), "r", 3);
        let garbled = ProbeEcho { mac: "zz".into(), ..right };
        for wrong in [zeroed, frozen, renumbered, forged, garbled] {
            let answer = key.verify("r", &wrong);
            assert!(matches!(answer, Answer::Wrong { .. }), "{wrong:?} is {answer:?}");
        }
    }

    #[test]
    fn a_probe_of_another_run_says_nothing() {
        let key = ProbeKey::new([7; 32]);
        assert_eq!(key.verify("r", &echo(&key, "q", 3)), Answer::Foreign);
        let stranger = echo(&ProbeKey::new([8; 32]), "q", 3);
        assert_eq!(key.verify("r", &stranger), Answer::Unverifiable);
    }

    #[test]
    fn no_value_is_zero_and_no_two_are_equal() {
        let key = ProbeKey::new([7; 32]);
        let values: std::collections::BTreeSet<u64> =
            (0..1_000).map(|s| key.value("r", s)).collect();
        assert_eq!(values.len(), 1_000);
        assert!(!values.contains(&0));
    }
}
