//! A beat: what a service says of itself around the path that is under suspicion.
//!
//! Invariant: a counter that the service did not send is `None`. It is never 0, because 0 is a
//! claim ("I did no work") and silence is not.

use serde::{Deserialize, Serialize};

use crate::names::{Boot, Instance, Revision, Service};

/// The longest progress token, in bytes of its text.
pub const TOKEN_BYTES_MAX: usize = 64;

/// A beat as it stands in an HTTP body, where the path names the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeatBody {
    pub instance: Instance,
    pub boot: Boot,
    /// Grows by one with every beat of a boot.
    pub seq: u64,
    /// Changes at every turn of the work loop, idle or not.
    pub token: Token,
    /// Requests served since boot, if the service counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<u64>,
    /// Requests that failed since boot, if the service counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// A planned stop of this instance follows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

/// A beat as it stands in a UDP datagram, which has no path and no headers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeatDatagram {
    pub service: Service,
    /// `v1=HEX`, HMAC-SHA-256 over `service \n body`, where body is the datagram with `mac` taken
    /// out, as JSON with sorted keys and no white space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
    #[serde(flatten)]
    pub body: BeatBody,
}

/// A progress token. Only equality matters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Token {
    Number(u64),
    Text(String),
}
