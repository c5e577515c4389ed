//! What the configuration file says to the gate: where it listens, and how each service is
//! brought back.
//!
//! Revert actions stand here and never in what an agent sends, so an agent cannot choose the
//! command that runs in its name. Every default is the documented one.
//!
//! Invariant: a value that passed deserialization can be used; there is no later "invalid".

mod target;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use watchdog_core::names::{Environment, Service};

use crate::store::postgres::Database;

pub use target::{Fence, Target};

/// How long a revert action may run where the configuration does not say, in milliseconds.
pub const REVERT_TIMEOUT_MS: u64 = 20_000;

/// The shortest lease: the gate keeps it by a write every third of it.
const LEASE_MIN_MS: u64 = 1_000;

/// The environment of a service that names none.
pub const ENVIRONMENT_DEFAULT: &str = "default";

/// The `[gate]` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where the API listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where decisions are kept.
    pub store: StoreKind,
    /// On Postgres: for how long a gate may write after its last commit before another takes over.
    pub lease_ms: u64,
    /// On Postgres: where the other gates reach this one; `http://LISTEN` if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub own_url: Option<String>,
    /// What `approval_url` in answers begins with; `http://LISTEN` if it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval_url: Option<String>,
    /// Connections the API serves at once.
    pub connections_max: usize,
    /// Calls a second that one token may make, and as many at once. Freezes are always taken.
    pub calls_per_s: NonZeroU32,
    /// The authorities of the `https` URLs that the gate calls; those of the system if not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Whether what the gate calls may stand at a link-local address or a metadata service.
    pub allow_link_local: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7080)),
            store: StoreKind::Sqlite,
            lease_ms: 10_000,
            own_url: None,
            approval_url: None,
            connections_max: 1024,
            calls_per_s: const { NonZeroU32::new(500).expect("it is not zero") },
            ca_file: None,
            allow_link_local: false,
        }
    }
}

impl Config {
    /// The keys whose values cannot work, with what would.
    #[must_use]
    pub fn mistakes(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.connections_max == 0 {
            found.push(("connections_max", "must be at least 1".to_owned()));
        }
        if !self.approval_url.as_deref().is_none_or(is_web) {
            found.push(("approval_url", "must begin with http:// or https://".to_owned()));
        }
        if !self.own_url.as_ref().is_none_or(|url| url.starts_with("http://")) {
            found.push(("own_url", "must begin with http://".to_owned()));
        }
        if self.lease_ms < LEASE_MIN_MS {
            found.push(("lease_ms", format!("must be at least {LEASE_MIN_MS}")));
        }
        found
    }
}

/// Whether `url` is one of the web, with a host in it.
pub(crate) fn is_web(url: &str) -> bool {
    let is_http = url.starts_with("http://") || url.starts_with("https://");
    is_http && url.parse::<http::Uri>().is_ok_and(|uri| uri.host().is_some_and(|h| !h.is_empty()))
}

/// Printed in place of a database's URL.
const HIDDEN_URL: &str = "postgres://(hidden)";

/// Which store keeps the gate's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StoreKind {
    /// One file, `gate.db` in the data directory.
    Sqlite,
    /// A PostgreSQL database that several gates may share; its URL may hold a password.
    Postgres(Secret),
}

impl TryFrom<String> for StoreKind {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "sqlite" {
            return Ok(Self::Sqlite);
        }
        if text == HIDDEN_URL {
            return Err(format!(
                "is {HIDDEN_URL:?}, which is printed in place of the URL; write \
                                it, best as \"${{ENV}}\""
            ));
        }
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            // Tried now, so that a mistake is found with the configuration.
            Database::new(&text)?;
            return Ok(Self::Postgres(Secret(text)));
        }
        // What else was written may still hold a password, so it is not repeated.
        Err("unknown store; set store = \"sqlite\" or \"postgres://…\"".to_owned())
    }
}

impl From<StoreKind> for String {
    fn from(kind: StoreKind) -> Self {
        match kind {
            StoreKind::Sqlite => "sqlite".to_owned(),
            // For printing alone; where it came from the environment, the reference is printed.
            StoreKind::Postgres(_) => HIDDEN_URL.to_owned(),
        }
    }
}

/// What the gate takes from one `[[service]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceConfig {
    pub name: Service,
    #[serde(default = "environment_default")]
    pub environment: Environment,
    /// The way back. Without one every request for the service is held (`no_revert`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<RevertAction>,
    /// Where it is changed, and what fences it there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<Target>,
    /// Keys of `[policy]` that differ for this service.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub policy: serde_json::Map<String, serde_json::Value>,
}

impl ServiceConfig {
    /// The URLs of this table that the gate calls.
    pub(crate) fn urls(&self) -> impl Iterator<Item = &str> {
        let revert = self.revert.as_ref().and_then(RevertAction::url);
        let targets = self.target.iter().filter_map(|target| match &target.fence {
            Fence::Apply { .. } | Fence::Missing => None,
            Fence::Webhook { url, .. } => Some(url.as_str()),
        });
        revert.into_iter().chain(targets)
    }
}

/// One `[[environment]]` table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnvironmentConfig {
    pub name: Environment,
    /// The way back of its services that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revert: Option<RevertAction>,
    /// Keys of `[policy]` that differ for its services.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub policy: serde_json::Map<String, serde_json::Value>,
}

fn environment_default() -> Environment {
    Environment::new(ENVIRONMENT_DEFAULT).expect("the constant is a valid name")
}

/// How a service is brought back to its last good revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RevertTable", into = "RevertTable")]
pub enum RevertAction {
    /// A command, without a shell, in a process group of its own.
    Exec { argv: Vec<String>, timeout_ms: u64 },
    /// A signed POST; any 2xx means taken.
    Webhook { url: String, secret: Secret, timeout_ms: u64 },
}

impl RevertAction {
    /// The URL that the gate calls for it.
    pub(crate) fn url(&self) -> Option<&str> {
        match self {
            Self::Exec { .. } => None,
            Self::Webhook { url, .. } => Some(url),
        }
    }
}

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The `revert = {…}` table as it is written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RevertTable {
    #[serde(skip_serializing_if = "Option::is_none")]
    exec: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<Secret>,
    #[serde(skip_serializing)]
    git: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
}

impl TryFrom<RevertTable> for RevertAction {
    type Error = String;

    fn try_from(table: RevertTable) -> Result<Self, Self::Error> {
        if table.git.is_some() {
            return Err("a revert by git is not supported by this version; use \
                        exec = [\"/path\", \"arg\"] or webhook = \"http://…\""
                .to_owned());
        }
        let timeout_ms = table.timeout_ms.unwrap_or(REVERT_TIMEOUT_MS);
        if timeout_ms == 0 {
            return Err("revert timeout_ms must be at least 1".to_owned());
        }
        match (table.exec, table.webhook, table.secret) {
            (Some(argv), None, None) => {
                if argv.first().is_none_or(String::is_empty) {
                    return Err("revert exec needs a program: exec = [\"/path\", \"arg\"]".into());
                }
                Ok(Self::Exec { argv, timeout_ms })
            }
            (None, Some(url), Some(secret)) => {
                if !is_web(&url) {
                    return Err(format!("revert webhook {url:?} is not an http(s):// URL"));
                }
                if secret.0.is_empty() {
                    return Err("revert secret is empty; it signs the webhook".to_owned());
                }
                Ok(Self::Webhook { url, secret, timeout_ms })
            }
            (None, Some(_), None) => {
                Err("revert webhook needs a secret that signs it: secret = \"${ENV}\"".to_owned())
            }
            (Some(_), None, Some(_)) => Err("revert exec takes no secret".to_owned()),
            (Some(_), Some(_), _) => Err("revert has exec and webhook; keep one".to_owned()),
            (None, None, _) => {
                Err("revert needs exec = [\"/path\", \"arg\"] or webhook = \"http://…\"".to_owned())
            }
        }
    }
}

impl From<RevertAction> for RevertTable {
    fn from(action: RevertAction) -> Self {
        match action {
            RevertAction::Exec { argv, timeout_ms } => {
                Self { exec: Some(argv), timeout_ms: Some(timeout_ms), ..Self::default() }
            }
            RevertAction::Webhook { url, secret, timeout_ms } => Self {
                webhook: Some(url),
                secret: Some(secret),
                timeout_ms: Some(timeout_ms),
                ..Self::default()
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revert(json: &str) -> Result<RevertAction, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn a_revert_is_a_command_or_a_signed_webhook_and_nothing_else() {
        assert_eq!(
            revert(r#"{"exec": ["/bin/revert", "x"]}"#),
            Ok(RevertAction::Exec {
                argv: vec!["/bin/revert".into(), "x".into()],
                timeout_ms: REVERT_TIMEOUT_MS
            })
        );
        assert!(revert(r#"{"webhook": "http://x/", "secret": "s", "timeout_ms": 5}"#).is_ok());
        assert!(revert(r#"{"webhook": "https://x/", "secret": "s"}"#).is_ok());
        for (json, says) in [
            (r#"{"exec": []}"#, "needs a program"),
            (r#"{"webhook": "http://x/"}"#, "needs a secret"),
            (r#"{"webhook": "file:///x", "secret": "s"}"#, "not an http(s):// URL"),
            (r#"{"webhook": "https://", "secret": "s"}"#, "not an http(s):// URL"),
            (r#"{"exec": ["a"], "webhook": "http://x/", "secret": "s"}"#, "keep one"),
            (r#"{"git": {"repository": "x"}}"#, "git is not supported"),
            (r#"{"exec": ["a"], "timeout_ms": 0}"#, "at least 1"),
            (r#"{"exec": ["a"], "shell": true}"#, "unknown field"),
            (r#"{}"#, "needs exec"),
        ] {
            let error = revert(json).expect_err(json);
            assert!(error.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn values_that_cannot_work_are_named() {
        assert!(Config::default().mistakes().is_empty());
        let wrong = Config {
            connections_max: 0,
            approval_url: Some("gate.example".into()),
            ..Config::default()
        };
        let keys: Vec<_> = wrong.mistakes().into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, ["connections_max", "approval_url"]);
    }

    #[test]
    fn a_store_is_a_word_or_a_url_and_its_password_is_never_shown() {
        let read = |store: &str| {
            let text = serde_json::json!({"store": store}).to_string();
            serde_json::from_str::<Config>(&text).map_err(|error| error.to_string())
        };
        let config = read("postgres://u:hunter2@h/d").expect("a URL of a database");
        assert!(!format!("{config:?}").contains("hunter2"), "{config:?}");
        let printed = serde_json::to_value(&config).expect("JSON");
        assert!(read(printed["store"].as_str().expect("a text")).is_err(), "{printed}");
        for wrong in ["mysql://u:hunter2@h/d", "postgres://u:hunter2@[h/d"] {
            let error = read(wrong).expect_err(wrong);
            assert!(error.contains("postgres://") && !error.contains("hunter2"), "{error}");
        }
    }
}
