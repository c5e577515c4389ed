//! Who may send: TLS, certificates of clients and bearer tokens, as the configuration asks.
//!
//! The two OTLP ports are guarded. The Unix socket is not: the mode of its file says who may
//! connect.
//!
//! Invariant: what is asked for and cannot be had is an error at the start and at a reload, and
//! never an open door.

use std::sync::Arc;

use ::http::HeaderMap;
use front_door::{Bearer, Certificates};

use crate::config::Config;
use crate::refusal::Refusal;

/// What `Config` asks of clients, read and ready.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) certificates: Option<Certificates>,
    bearer: Option<Arc<Bearer>>,
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// A port, for whoever reaches it.
    Port,
    /// The Unix socket, or the admin port.
    Local,
}

impl Guard {
    /// Reads the files that `config` names.
    ///
    /// # Errors
    /// The key and what is wrong with its file.
    pub(crate) async fn of(config: &Config) -> Result<Self, (&'static str, String)> {
        let (tls, tokens) = (config.tls.clone(), config.bearer_token_files.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let certificates = tls.map(|files| Certificates::read(&files)).transpose();
            let certificates = certificates.map_err(|why| ("tls", why))?;
            let bearer = (!tokens.is_empty()).then(|| Bearer::read(tokens)).transpose();
            let bearer = bearer.map_err(|why| ("bearer_token_files", why))?;
            Ok(Self { certificates, bearer: bearer.map(Arc::new) })
        });
        let guard = reading.await.map_err(|error| ("tls", error.to_string()))??;
        if let Some(bearer) = &guard.bearer {
            tokio::spawn(Bearer::keep_fresh(Arc::downgrade(bearer)));
        }
        Ok(guard)
    }

    /// Whether anything is asked of clients at the ports.
    pub(crate) const fn is_shut(&self) -> bool {
        self.certificates.is_some() || self.bearer.is_some()
    }

    /// Whether a request with `headers` may come in at `entrance`.
    pub(super) fn admit(&self, entrance: Entrance, headers: &HeaderMap) -> Result<(), Refusal> {
        match (entrance, &self.bearer) {
            (Entrance::Port, Some(bearer)) if !bearer.admits(headers) => {
                Err(Refusal::Unauthenticated)
            }
            (Entrance::Port | Entrance::Local, _) => Ok(()),
        }
    }
}
