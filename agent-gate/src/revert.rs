//! The way back, carried out: one order to one service's revert action.
//!
//! The core decides that a service goes back and to what; the configuration says by which action.
//! This is the executor and leaves nothing to choose. An order can be carried out more than once
//! with the same effect id (the gate may die while it runs), so what is called must be idempotent.
//!
//! Invariant: an order always ends, by success, failure or timeout, and says which. Whether the
//! service truly came back is judged by its signals, never by this outcome.

use std::time::Duration;

use outside::Outside;
use tracing::field::Empty;
use tracing::{Instrument, info_span};

use crate::config::RevertAction;

pub mod exec;
pub mod webhook;

/// Output that is kept of one action, in bytes; the rest is read and thrown away.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The same for every attempt at the same order.
    pub effect: String,
    pub rollout: String,
    pub service: String,
    /// The revision to leave.
    pub from: String,
    /// The revision to go back to.
    pub to: String,
    /// Grows with every new order for a rollout; an older one must be refused.
    pub generation: u64,
    /// Change nothing; succeed if the action could be carried out.
    pub dry_run: bool,
}

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    pub is_done: bool,
    /// For a person: the end of the output, or what went wrong.
    pub detail: String,
}

impl Outcome {
    fn done(detail: impl Into<String>) -> Self {
        Self { is_done: true, detail: detail.into() }
    }

    fn failed(detail: impl Into<String>) -> Self {
        Self { is_done: false, detail: detail.into() }
    }
}

/// Carries out `order` by `action`.
pub async fn carry_out(action: &RevertAction, order: &Order, outside: &Outside) -> Outcome {
    let Order { rollout, service, dry_run, .. } = order;
    let span = info_span!("revert", rollout, service, dry_run, otel.status_code = Empty);
    let carrying = async {
        match action {
            RevertAction::Exec { argv, timeout_ms } => {
                exec::run(argv, order, Duration::from_millis(*timeout_ms)).await
            }
            RevertAction::Webhook { url, secret, timeout_ms } => {
                let timeout = Duration::from_millis(*timeout_ms);
                webhook::post(outside, url, &secret.0, order, timeout).await
            }
        }
    };
    let outcome = carrying.instrument(span.clone()).await;
    if !outcome.is_done {
        span.record("otel.status_code", "ERROR");
    }
    outcome
}

/// Text from outside, made fit for an operator's screen and bounded: the end is kept, because
/// that is where commands say why they failed.
fn shown(bytes: &[u8]) -> String {
    let tail = &bytes[bytes.len().saturating_sub(OUTPUT_BYTES_MAX)..];
    let text: String = String::from_utf8_lossy(tail)
        .chars()
        .map(|c| if c == '\n' || c == '\t' { ' ' } else { c })
        .filter(|c| !watchdog_core::names::is_unprintable(*c))
        .collect();
    text.trim().to_owned()
}
