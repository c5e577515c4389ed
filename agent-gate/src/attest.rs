//! Attestations at the border: who signed them, and whether they are new.
//!
//! A watchdog's bearer token only opens the door. What counts is the Ed25519 signature over the
//! exact bytes with the key configured for that watchdog's name, and a sequence number that was
//! not used: an attestation that was overheard cannot be sent again to keep a blind gate clear.
//!
//! Invariant: nothing of a body is believed before its signature holds, and no `seq` of a boot is
//! taken twice.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signature, VerifyingKey};
use serde::{Deserialize, Serialize};
use watchdog_core::attestation::Attestation;
use watchdog_core::names::Boot;

/// The largest attestation, in bytes: thousands of services with their evidence.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// What the signature header begins with.
const SCHEME: &str = "ed25519=";

/// Why an attestation is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    #[error("the body is not an attestation: {0}")]
    Form(String),
    #[error("no key is configured for watchdog {0:?}")]
    UnknownWatchdog(String),
    #[error("the header X-Holdpoint-Signature: ed25519=HEX is missing or malformed")]
    NoSignature,
    #[error("the signature does not hold over these bytes")]
    WrongSignature,
    #[error("seq {seq} of boot {boot} is not newer than seq {known}")]
    Replayed { boot: Boot, seq: u64, known: u64 },
    #[error("boot {boot} is not newer than boot {known}")]
    OldBoot { boot: Boot, known: Boot },
}

/// The public keys of the watchdogs, by name.
#[derive(Debug, Clone)]
pub struct Keys(BTreeMap<String, VerifyingKey>);

impl Keys {
    /// Takes the keys that are valid; a key that is none can verify nothing and is left out.
    #[must_use]
    pub fn new(keys: &BTreeMap<String, [u8; 32]>) -> Self {
        let valid = keys.iter().filter_map(|(name, bytes)| {
            let key = VerifyingKey::from_bytes(bytes);
            if key.is_err() {
                tracing::error!(watchdog = %name, "the public key of this watchdog is not valid");
            }
            Some((name.clone(), key.ok()?))
        });
        Self(valid.collect())
    }

    /// The attestation in `body`, if `header` signs exactly these bytes with its watchdog's key.
    ///
    /// # Errors
    /// [`AttestError`] saying which check failed.
    pub fn verify(&self, header: Option<&str>, body: &[u8]) -> Result<Attestation, AttestError> {
        let signature = header
            .and_then(|text| text.strip_prefix(SCHEME))
            .and_then(|text| hex::decode(text).ok())
            .and_then(|bytes| Signature::from_slice(&bytes).ok())
            .ok_or(AttestError::NoSignature)?;
        // The name in the unverified body only picks the key to verify with.
        let claim: Claim =
            serde_json::from_slice(body).map_err(|error| AttestError::Form(error.to_string()))?;
        let key = self.0.get(&claim.watchdog);
        let key = key.ok_or(AttestError::UnknownWatchdog(claim.watchdog))?;
        key.verify_strict(body, &signature).map_err(|_| AttestError::WrongSignature)?;
        serde_json::from_slice(body).map_err(|error| AttestError::Form(error.to_string()))
    }
}

#[derive(Deserialize)]
struct Claim {
    watchdog: String,
}

/// The newest attestation of each watchdog.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    marks: BTreeMap<String, Mark>,
    /// The watchdogs whose marks are not kept yet.
    changed: BTreeSet<String>,
}

/// The newest attestation of one watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    boot: Boot,
    seq: u64,
}

impl Seen {
    /// Notes `attestation` as the newest of its watchdog.
    ///
    /// # Errors
    /// [`AttestError`] if it is not newer than what was seen.
    pub fn take(&mut self, attestation: &Attestation) -> Result<(), AttestError> {
        let (boot, seq) = (attestation.boot.clone(), attestation.seq);
        if boot.started_ms().is_none() {
            return Err(AttestError::Form(format!("boot {boot} does not begin with its time")));
        }
        if let Some(known) = self.marks.get(&attestation.watchdog) {
            if known.boot == boot && seq <= known.seq {
                return Err(AttestError::Replayed { boot, seq, known: known.seq });
            }
            if known.boot != boot && boot.started_ms() <= known.boot.started_ms() {
                return Err(AttestError::OldBoot { boot, known: known.boot.clone() });
            }
        }
        self.changed.insert(attestation.watchdog.clone());
        self.marks.insert(attestation.watchdog.clone(), Mark { boot, seq });
        Ok(())
    }

    /// A mark as it was kept.
    pub fn found(&mut self, watchdog: &str, mark: Mark) {
        self.marks.insert(watchdog.to_owned(), mark);
    }

    /// The marks that changed since the last time this was asked: they are to be kept.
    pub fn changed(&mut self) -> impl Iterator<Item = (String, &Mark)> {
        let changed = std::mem::take(&mut self.changed);
        changed.into_iter().filter_map(|name| {
            let mark = self.marks.get(&name)?;
            Some((name, mark))
        })
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer, SigningKey};

    use super::*;

    fn attestation(boot: &str, seq: u64) -> Attestation {
        Attestation {
            watchdog: "w".into(),
            boot: Boot::new(boot).expect("a boot"),
            seq,
            ttl_ms: 1000,
            mass_silence: false,
            base: None,
            items: Vec::new(),
        }
    }

    fn signed(key: &SigningKey, body: &[u8]) -> String {
        format!("ed25519={}", hex::encode(key.sign(body).to_bytes()))
    }

    #[test]
    fn only_the_named_watchdogs_signature_over_the_exact_bytes_counts() {
        let key = SigningKey::from_bytes(&[1; 32]);
        let keys = Keys::new(&BTreeMap::from([("w".into(), key.verifying_key().to_bytes())]));
        let body = serde_json::to_vec(&attestation("1-a", 1)).expect("JSON");
        let header = signed(&key, &body);
        assert_eq!(keys.verify(Some(&header), &body), Ok(attestation("1-a", 1)));

        let other = signed(&SigningKey::from_bytes(&[2; 32]), &body);
        assert_eq!(keys.verify(Some(&other), &body), Err(AttestError::WrongSignature));
        let spaced = [body.as_slice(), b" "].concat();
        assert_eq!(keys.verify(Some(&header), &spaced), Err(AttestError::WrongSignature));
        assert_eq!(keys.verify(None, &body), Err(AttestError::NoSignature));
        let unknown = AttestError::UnknownWatchdog("x".into());
        let body =
            serde_json::to_vec(&Attestation { watchdog: "x".into(), ..attestation("1-a", 1) });
        let body = body.expect("JSON");
        assert_eq!(keys.verify(Some(&signed(&key, &body)), &body), Err(unknown));
    }

    #[test]
    fn a_sequence_number_is_taken_once_and_a_boot_only_gives_way_to_a_newer_one() {
        let mut seen = Seen::default();
        assert!(seen.take(&attestation("100-a", 5)).is_ok());
        assert!(matches!(
            seen.take(&attestation("100-a", 5)),
            Err(AttestError::Replayed { known: 5, .. })
        ));
        assert!(seen.take(&attestation("100-a", 4)).is_err());
        assert!(seen.take(&attestation("100-a", 6)).is_ok());
        assert!(seen.take(&attestation("101-b", 1)).is_ok(), "a newer boot begins again");
        assert!(matches!(seen.take(&attestation("100-a", 7)), Err(AttestError::OldBoot { .. })));
        assert!(seen.take(&attestation("101-c", 9)).is_err(), "not newer, only different");
        assert!(seen.take(&attestation("x", 9)).is_err(), "no start time");
    }
}
