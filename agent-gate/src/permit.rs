//! What the gate signs: permits, and what it says of the freezes to those who hold targets.
//!
//! ```text
//! permit      hp1. base64url(payload) . base64url(Ed25519(payload))
//! statement   hf1. base64url(payload) . base64url(Ed25519("hf1." payload))
//! ```
//!
//! A permit is a lease, and whoever applies the change checks it offline with the public key
//! alone: for this rollout, this digest, this epoch, not expired. Revoking one needs no message,
//! because it dies by itself. A statement carries all freezes, so that a fence needs only the
//! newest one it can get; a thaw is believed of nobody else.
//!
//! Invariant: what is signed is the exact payload bytes that travel, nothing of a payload is read
//! before its signature holds, and no signature of one kind is good for the other.

use agent_gate_core::freeze_set::FreezeSet;
use agent_gate_core::policy::OnFreeze;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::fences::Told;

/// What every permit begins with; the number is the version of the form.
pub const PREFIX: &str = "hp1.";
/// A permit is far smaller; what is longer is not one.
const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// What every statement begins with, and its signature too.
pub const STATEMENT_PREFIX: &str = "hf1.";
/// Room for thousands of freezes in force.
const STATEMENT_BYTES_MAX: usize = 1024 * 1024;

/// What a permit allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// The id of the lease; a renewal keeps it.
    pub permit: String,
    pub rollout: String,
    pub service: String,
    pub environment: String,
    pub agent: String,
    /// The revision that may be put in place.
    pub to: String,
    /// What exactly may be applied: the digest that was decided on.
    pub digest: String,
    pub scope: String,
    /// The fencing epoch. A target that has seen a higher one refuses.
    pub epoch: u64,
    /// Unix time in milliseconds at which it was signed, by the gate's clock.
    pub issued_at_ms: u64,
    /// Unix time in milliseconds at which the permit is dead.
    pub expires_at_ms: u64,
    /// What the fence does with a command under way when the permit is gone.
    pub on_freeze: OnFreeze,
}

/// What the gate knows of the freezes, for a fence at a target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Statement {
    /// Who numbers the freezes: [`origin`] of the key that signs.
    pub origin: String,
    /// The gate's epoch; who holds this statement holds every freeze up to it.
    pub epoch: u64,
    pub freezes: FreezeSet,
    /// Unix time in milliseconds at which it was signed, by the gate's clock.
    pub at_ms: u64,
}

impl Statement {
    /// What `told` says, as `issuer` states it.
    #[must_use]
    pub fn of(told: &Told, issuer: &Issuer, now_ms: u64) -> Self {
        Self {
            origin: origin(&issuer.public_key()),
            epoch: told.epoch.0,
            freezes: told.freezes.clone(),
            at_ms: now_ms,
        }
    }
}

/// The name under which freezes of the gate with `public_key` are known.
#[must_use]
pub fn origin(public_key: &[u8; 32]) -> String {
    hex::encode(&public_key[..8])
}

/// Why a text is not a permit of this gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("not a permit: it must look like hp1.PAYLOAD.SIGNATURE (a statement: hf1.…)")]
    Form,
    #[error("the signature is wrong: it was not issued by this gate, or was changed")]
    Signature,
}

/// Signs permits.
#[derive(Clone)]
pub struct Issuer(SigningKey);

impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Issuer(…)")
    }
}

impl Issuer {
    /// An issuer with the Ed25519 seed `seed`.
    #[must_use]
    pub fn new(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key that verifies what this issuer signs.
    #[must_use]
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The token of `payload`.
    #[must_use]
    pub fn issue(&self, payload: &Payload) -> String {
        let bytes = serde_json::to_vec(payload).expect("a payload of texts and numbers is JSON");
        written(PREFIX, &bytes, &self.0.sign(&bytes))
    }

    /// The token of `statement`.
    #[must_use]
    pub fn state(&self, statement: &Statement) -> String {
        let bytes = serde_json::to_vec(statement).expect("texts and numbers are JSON");
        let signed = [STATEMENT_PREFIX.as_bytes(), &bytes].concat();
        written(STATEMENT_PREFIX, &bytes, &self.0.sign(&signed))
    }
}

fn written(prefix: &str, payload: &[u8], signature: &Signature) -> String {
    let (payload, signature) =
        (URL_SAFE_NO_PAD.encode(payload), URL_SAFE_NO_PAD.encode(signature.to_bytes()));
    format!("{prefix}{payload}.{signature}")
}

/// The parts of a token that begins with `prefix`, not verified.
fn parts(token: &str, prefix: &str, bytes_max: usize) -> Option<(Vec<u8>, Signature)> {
    let rest = Some(token).filter(|token| token.len() <= bytes_max)?.strip_prefix(prefix)?;
    let (payload, signature) = rest.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    Some((URL_SAFE_NO_PAD.decode(payload).ok()?, Signature::from_slice(&signature).ok()?))
}

/// The payload of `token`, if it was signed with the key that `public_key` belongs to. Whether it
/// is still alive and for the right digest is the caller's question.
///
/// # Errors
/// [`PermitError`] if the text is no permit or its signature does not hold.
pub fn verify(token: &str, public_key: &[u8; 32]) -> Result<Payload, PermitError> {
    let (payload, signature) = parts(token, PREFIX, TOKEN_BYTES_MAX).ok_or(PermitError::Form)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| PermitError::Signature)?;
    key.verify_strict(&payload, &signature).map_err(|_| PermitError::Signature)?;
    serde_json::from_slice(&payload).map_err(|_| PermitError::Form)
}

/// The statement in `token`, if it was signed with the key that `public_key` belongs to.
///
/// # Errors
/// [`PermitError`] if the text is no statement of that key.
pub fn verify_statement(token: &str, public_key: &[u8; 32]) -> Result<Statement, PermitError> {
    let (payload, signature) =
        parts(token, STATEMENT_PREFIX, STATEMENT_BYTES_MAX).ok_or(PermitError::Form)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| PermitError::Signature)?;
    let signed = [STATEMENT_PREFIX.as_bytes(), &payload].concat();
    key.verify_strict(&signed, &signature).map_err(|_| PermitError::Signature)?;
    let statement: Statement = serde_json::from_slice(&payload).map_err(|_| PermitError::Form)?;
    let is_own = statement.origin == origin(public_key);
    is_own.then_some(statement).ok_or(PermitError::Signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Payload {
        Payload {
            permit: "p-000001".into(),
            rollout: "r-000001".into(),
            service: "checkout".into(),
            environment: "default".into(),
            agent: "improver".into(),
            to: "r2".into(),
            digest: "sha256:ab".into(),
            scope: "service=checkout".into(),
            epoch: 7,
            issued_at_ms: 1_700_000_000_000,
            expires_at_ms: 1_700_000_015_000,
            on_freeze: OnFreeze::Stop,
        }
    }

    #[test]
    fn a_permit_is_verified_offline_with_the_public_key_alone() {
        let issuer = Issuer::new(&[7; 32]);
        let token = issuer.issue(&payload());
        assert_eq!(verify(&token, &issuer.public_key()), Ok(payload()));
    }

    #[test]
    fn a_permit_that_was_changed_or_signed_by_another_is_refused() {
        let issuer = Issuer::new(&[7; 32]);
        let token = issuer.issue(&payload());
        let other = Issuer::new(&[8; 32]);
        assert_eq!(verify(&token, &other.public_key()), Err(PermitError::Signature));

        let longer = Payload { expires_at_ms: u64::MAX, ..payload() };
        let forged = serde_json::to_vec(&longer).expect("JSON");
        let signature = token.rsplit_once('.').expect("three parts").1;
        let forged = format!("{PREFIX}{}.{signature}", URL_SAFE_NO_PAD.encode(forged));
        assert_eq!(verify(&forged, &issuer.public_key()), Err(PermitError::Signature));
    }

    #[test]
    fn text_that_is_no_permit_is_refused() {
        let key = Issuer::new(&[7; 32]).public_key();
        for text in ["", "hp1.", "hp1.a.b", "hp2.e30.e30", "hp1.e30", &"x".repeat(10_000)] {
            assert_eq!(verify(text, &key), Err(PermitError::Form), "{text:.20}");
        }
    }

    #[test]
    fn a_statement_is_no_permit_and_a_permit_no_statement() {
        let issuer = Issuer::new(&[7; 32]);
        let key = issuer.public_key();
        let freezes = FreezeSet::default();
        let statement = Statement { origin: origin(&key), epoch: 7, freezes, at_ms: 1 };
        let token = issuer.state(&statement);
        assert_eq!(verify_statement(&token, &key), Ok(statement.clone()));
        let as_permit = token.replacen(STATEMENT_PREFIX, PREFIX, 1);
        assert_eq!(verify(&as_permit, &key), Err(PermitError::Signature));
        let as_statement = issuer.issue(&payload()).replacen(PREFIX, STATEMENT_PREFIX, 1);
        assert_eq!(verify_statement(&as_statement, &key), Err(PermitError::Signature));

        let other = Statement { origin: "0011223344556677".into(), ..statement };
        assert_eq!(verify_statement(&issuer.state(&other), &key), Err(PermitError::Signature));
    }
}
