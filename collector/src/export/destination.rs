//! Where an exporter forwards to: a backend, a file, or the log.
//!
//! Invariant: every kind of place answers an attempt as a backend does, so that retries, the
//! breaker and the counts are the same for all.

use std::sync::Arc;

use bytes::Bytes;
use tokio::task::{JoinError, spawn_blocking};

use super::attempt::{Failure, Outcome};
use super::batch;
use super::client::Client;
use super::debug::Debugger;
use super::file::Appender;
use crate::arrival::{Form, Payload};
use crate::config::{ExporterConfig, ExporterKind};
use crate::kind::Kind;

/// Batches up to this size are put together at once.
const QUICK_BYTES: usize = 64 * 1_024;

/// What is sent, and how it is compressed.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub(crate) form: Form,
    pub(crate) bytes: Bytes,
}

/// A place that takes requests.
#[derive(Debug)]
pub(super) enum Destination {
    Backend(Box<Client>),
    File(Arc<Appender>),
    Log(Debugger),
}

impl Destination {
    /// # Errors
    /// Why it cannot be used.
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, String> {
        Ok(match config.kind {
            ExporterKind::Otlp => Self::Backend(Box::new(Client::new(config)?)),
            ExporterKind::File => Self::File(Arc::new(Appender::new(config)?)),
            ExporterKind::Debug => Self::Log(Debugger::new(config.lines_per_s)),
        })
    }

    /// Requests that may be under way at a time; files and the log are written in order.
    pub(super) const fn width(&self, concurrency: usize) -> usize {
        match self {
            Self::Backend(_) => concurrency,
            Self::File(_) | Self::Log(_) => 1,
        }
    }

    /// Whether an attempt can vanish on the way; only then may it be made twice.
    pub(super) const fn is_remote(&self) -> bool {
        matches!(self, Self::Backend(_))
    }

    /// What came as `payloads`, as one request as the place wants it. Much work is done away from
    /// the runtime.
    pub(super) async fn seal(
        &self,
        payloads: Vec<Arc<Payload>>,
        join_compressed: bool,
    ) -> Result<Sealed, JoinError> {
        let came = payloads.first().map_or(Form::Plain, |first| first.form());
        let is_mixed = payloads.iter().any(|payload| payload.form() != came);
        let form = match self {
            Self::Backend(client) => client.form(if is_mixed { Form::Plain } else { came }),
            Self::File(_) | Self::Log(_) => Form::Plain,
        };
        let bytes = payloads.iter().map(|payload| payload.plain_bytes()).sum::<usize>();
        let is_quick = payloads.iter().all(|payload| payload.is_quick_in(form))
            && (payloads.len() == 1 || bytes <= QUICK_BYTES);
        let make = move || match payloads.as_slice() {
            [one] => one.in_form(form),
            many => batch::join(many, form, join_compressed),
        };
        let bytes = if is_quick { make() } else { spawn_blocking(make).await? };
        Ok(Sealed { form, bytes })
    }

    /// Gives it `body` once.
    pub(super) async fn attempt(&self, kind: Kind, body: Sealed) -> Result<Outcome, Failure> {
        let taken = Outcome { rejected: 0, message: String::new() };
        match self {
            Self::Backend(client) => client.attempt(kind, body).await,
            Self::File(file) => {
                let file = Arc::clone(file);
                match spawn_blocking(move || file.append(kind, &body.bytes)).await {
                    Ok(Ok(())) => Ok(taken),
                    Ok(Err(why)) => Err(Failure::Later { why, after: None }),
                    Err(_) => Err(Failure::Later { why: "stopping".to_owned(), after: None }),
                }
            }
            Self::Log(log) => {
                log.show(kind, &body.bytes);
                Ok(taken)
            }
        }
    }
}
