//! The watchdog's sequenced, signed statement of its verdicts.
//!
//! It is a lease as well: the gate treats a watchdog whose last attestation is older than
//! `ttl_ms` as silent, and silence holds. So attestations are sent at a steady pace, and at once
//! when a verdict changes.
//!
//! A large fleet is told in parts: an attestation with a `base` names only what is to be told anew,
//! and everything else stands as it was in `base`. So the cost of ten thousand services is that of
//! those that change. A gate that does not hold `base` (it started, or the lease ran out) refuses,
//! and is told from the beginning; what it was not told yet is `unknown` to it.
//!
//! Invariant: what is signed is the exact bytes of the body. A `seq` is used once per `boot`.

use serde::{Deserialize, Serialize};

use crate::names::Boot;
use crate::verdict::Verdict;

/// Body of `POST /v1/attestations`. The header `X-Holdpoint-Signature: ed25519=HEX` signs its
/// exact bytes with the key of the watchdog that `watchdog` names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attestation {
    /// Name of the watchdog; the gate knows its public key by it.
    pub watchdog: String,
    pub boot: Boot,
    /// Grows with every attestation of a boot.
    pub seq: u64,
    /// How long the gate may rely on it, in milliseconds from receipt.
    pub ttl_ms: u64,
    /// Whether most services fell silent in one window: suspect the observer or the backend,
    /// freeze all, restart nothing.
    pub mass_silence: bool,
    /// The sequence of the attestation of this boot that this one goes on from; the gate must have
    /// taken it last. `None`: `items` is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<u64>,
    /// All services the watchdog knows, live or not; with a `base`, those that are told anew.
    pub items: Vec<Verdict>,
}

/// Header that carries the signature.
pub const SIGNATURE_HEADER: &str = "x-holdpoint-signature";
