//! Where a service is changed, and what keeps an old permit out there.
//!
//! ```toml
//! [[service]]
//! target = [
//!   { name = "web-1", secret = "${WEB_1}" },                                 # holdpoint apply
//!   { name = "edge", webhook = "http://10.0.0.9/fence", secret = "${EDGE}" }, # fences by itself
//!   { name = "legacy" },                                                     # nothing fences it
//! ]
//! ```
//!
//! Invariant: a target without a secret is one that cannot be fenced, and is counted as such.

use agent_gate_core::ids::TargetName;
use serde::{Deserialize, Serialize};

use super::{Secret, is_web};

/// How long a target's webhook may take where the configuration does not say, in milliseconds.
const TIMEOUT_MS: u64 = 5_000;

/// One place where a service is changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Target {
    pub name: TargetName,
    pub fence: Fence,
}

/// What refuses old permits at a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fence {
    /// `holdpoint apply`, whose confirmations this secret signs.
    Apply { secret: Secret },
    /// A program of the operator's that is told of every freeze.
    Webhook { url: String, secret: Secret, timeout_ms: u64 },
    /// Nothing.
    Missing,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: TargetName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

impl TryFrom<Written> for Target {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { name, webhook, secret, timeout_ms } = written;
        if secret.as_ref().is_some_and(|secret| secret.0.is_empty()) {
            return Err(format!("target {name}: secret is empty; it signs what the target says"));
        }
        if webhook.is_none() && timeout_ms.is_some() {
            return Err(format!("target {name}: timeout_ms is for a webhook"));
        }
        let fence = match (webhook, secret) {
            (None, None) => Fence::Missing,
            (None, Some(secret)) => Fence::Apply { secret },
            (Some(url), Some(secret)) if is_web(&url) => {
                let timeout_ms = timeout_ms.unwrap_or(TIMEOUT_MS).max(1);
                Fence::Webhook { url, secret, timeout_ms }
            }
            (Some(url), Some(_)) => {
                return Err(format!("target {name}: webhook {url:?} is not an http(s):// URL"));
            }
            (Some(_), None) => {
                return Err(format!("target {name}: a webhook needs a secret that signs it"));
            }
        };
        Ok(Self { name, fence })
    }
}

impl From<Target> for Written {
    fn from(target: Target) -> Self {
        let (webhook, secret, timeout_ms) = match target.fence {
            Fence::Apply { secret } => (None, Some(secret), None),
            Fence::Webhook { url, secret, timeout_ms } => {
                (Some(url), Some(secret), Some(timeout_ms))
            }
            Fence::Missing => (None, None, None),
        };
        Self { name: target.name, webhook, secret, timeout_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_fenced_by_apply_by_a_webhook_or_not_at_all() {
        let target =
            |json: &str| serde_json::from_str::<Target>(json).map_err(|error| error.to_string());
        assert_eq!(target(r#"{"name": "a"}"#).expect("a target").fence, Fence::Missing);
        let apply = target(r#"{"name": "a", "secret": "s"}"#).expect("a target");
        assert_eq!(apply.fence, Fence::Apply { secret: Secret("s".into()) });
        let text = r#"{"name": "a", "webhook": "http://x/", "secret": "s"}"#;
        let webhook = target(text).expect("a target");
        let again = serde_json::to_string(&webhook).expect("JSON");
        assert_eq!(target(&again), Ok(webhook));
        for (json, says) in [
            (r#"{"name": "a", "webhook": "http://x/"}"#, "needs a secret"),
            (r#"{"name": "a", "webhook": "ftp://x/", "secret": "s"}"#, "not an http(s):// URL"),
            (r#"{"name": "a", "secret": ""}"#, "secret is empty"),
            (r#"{"name": "a", "timeout_ms": 5}"#, "for a webhook"),
            (r#"{"name": ""}"#, "empty"),
        ] {
            let error = target(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
