//! Who beats, where to, and how often.
//!
//! Invariant: every name is checked here, once, so that no beat is refused for its form later.

use std::net::SocketAddr;
use std::time::Duration;

use watchdog_core::names::{Instance, Revision, Service};

/// The watchdog's default period.
const INTERVAL: Duration = Duration::from_secs(1);

/// Who beats, where to, and how often.
#[derive(Clone)]
pub struct Sender {
    pub(crate) watchdog: SocketAddr,
    pub(crate) service: Service,
    pub(crate) instance: Instance,
    pub(crate) revision: Option<Revision>,
    pub(crate) interval: Duration,
    pub(crate) key: Option<Vec<u8>>,
}

/// What cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    #[error("beats: {what} `{given}` is no name; use 1 to 255 printable characters, no spaces")]
    Name { what: &'static str, given: String },
    #[error("beats towards {watchdog}: {cause}")]
    Socket { watchdog: SocketAddr, cause: std::io::Error },
}

impl Sender {
    /// Beats of `service` (`name` or `namespace/name`) to the watchdog's UDP port, once a second,
    /// for an instance that is named after this process.
    ///
    /// # Errors
    /// [`SenderError::Name`].
    pub fn new(watchdog: SocketAddr, service: &str) -> Result<Self, SenderError> {
        let pid = std::process::id();
        let instance = Instance::new(format!("pid-{pid}")).expect("digits are a valid name");
        Ok(Self {
            watchdog,
            service: Service::new(service).map_err(|_| no_name("service", service))?,
            instance,
            revision: None,
            interval: INTERVAL,
            key: None,
        })
    }

    /// Names the instance; it must stay the same over a restart that replaces it.
    ///
    /// # Errors
    /// [`SenderError::Name`].
    pub fn instance(self, name: &str) -> Result<Self, SenderError> {
        let instance = Instance::new(name).map_err(|_| no_name("instance", name))?;
        Ok(Self { instance, ..self })
    }

    /// Names the revision, by which the gate sees that a rollout has arrived.
    ///
    /// # Errors
    /// [`SenderError::Name`].
    pub fn revision(self, name: &str) -> Result<Self, SenderError> {
        let revision = Revision::new(name).map_err(|_| no_name("revision", name))?;
        Ok(Self { revision: Some(revision), ..self })
    }

    /// Beats every `interval`; it should be what the service's contract says.
    #[must_use]
    pub fn every(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Signs every beat with HMAC-SHA-256.
    #[must_use]
    pub fn signed(self, key: Vec<u8>) -> Self {
        Self { key: Some(key), ..self }
    }
}

fn no_name(what: &'static str, given: &str) -> SenderError {
    SenderError::Name { what, given: given.to_owned() }
}

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sender")
            .field("watchdog", &self.watchdog)
            .field("service", &self.service)
            .field("instance", &self.instance)
            .field("interval", &self.interval)
            .field("signed", &self.key.is_some())
            .finish_non_exhaustive()
    }
}
