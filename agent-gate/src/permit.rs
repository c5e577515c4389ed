//! The permit on the wire: `hp1.` + base64url(payload) + `.` + base64url(signature).
//!
//! A permit is a lease, and whoever applies the change checks it offline with the public key
//! alone: for this rollout, this digest, this epoch, not expired. Revoking one needs no message,
//! because it dies by itself.
//!
//! Invariant: what is signed is the exact payload bytes that travel; [`verify`] reads nothing of
//! a payload before its signature holds.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

/// What every permit begins with; the number is the version of the form.
pub const PREFIX: &str = "hp1.";
/// A permit is far smaller; what is longer is not one.
const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// What a permit allows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    pub rollout: String,
    pub service: String,
    /// The revision that may be put in place.
    pub to: String,
    /// What exactly may be applied: the digest that was decided on.
    pub digest: String,
    pub scope: String,
    /// The fencing epoch. A target that has seen a higher one refuses.
    pub epoch: u64,
    /// Unix time in milliseconds at which the permit is dead.
    pub expires_at_ms: u64,
}

/// Why a text is not a permit of this gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PermitError {
    #[error("not a permit: it must look like hp1.PAYLOAD.SIGNATURE")]
    Form,
    #[error("the permit's signature is wrong: it was not issued by this gate, or was changed")]
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
        let signature = self.0.sign(&bytes).to_bytes();
        format!("{PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The payload of `token`, if it was signed with the key that `public_key` belongs to. Whether it
/// is still alive and for the right digest is the caller's question.
///
/// # Errors
/// [`PermitError`] if the text is no permit or its signature does not hold.
pub fn verify(token: &str, public_key: &[u8; 32]) -> Result<Payload, PermitError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(PermitError::Form);
    }
    let rest = token.strip_prefix(PREFIX).ok_or(PermitError::Form)?;
    let (payload, signature) = rest.split_once('.').ok_or(PermitError::Form)?;
    let payload = URL_SAFE_NO_PAD.decode(payload).map_err(|_| PermitError::Form)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| PermitError::Form)?;
    let signature = Signature::from_slice(&signature).map_err(|_| PermitError::Form)?;
    let key = VerifyingKey::from_bytes(public_key).map_err(|_| PermitError::Signature)?;
    key.verify_strict(&payload, &signature).map_err(|_| PermitError::Signature)?;
    serde_json::from_slice(&payload).map_err(|_| PermitError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload() -> Payload {
        Payload {
            rollout: "rol-1".into(),
            service: "checkout".into(),
            to: "r2".into(),
            digest: "sha256:ab".into(),
            scope: "service=checkout".into(),
            epoch: 7,
            expires_at_ms: 1_700_000_015_000,
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
}
