//! Webhook targets: told of every freeze by a signed POST, asked for the epoch they hold.
//!
//! ```text
//! POST URL  {"target": "edge", "service": "checkout", "epoch": 7, "statement": "hf1.…"}
//!           X-Holdpoint-Signature: v1=HMAC-SHA-256(secret, body)
//! 200       {"epoch": 7}        it holds 7 durably, and refuses permits that 7 fences off
//! ```
//!
//! Invariant: a target counts as holding an epoch only once it answered 2xx with that epoch or a
//! higher one. Silence, other answers and other epochs are told again, with a growing rest.

use std::sync::Arc;
use std::time::Duration;

use agent_gate_core::ids::Epoch;
use outside::Outside;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Known, Told};
use crate::config::Fence;
use crate::driver::command::Command;
use crate::driver::{self, Shared};
use crate::lead::{Desk, Lead};
use crate::permit::{Issuer, Statement};
use crate::revert::webhook::signed;

const REST_MIN: Duration = Duration::from_millis(250);
const REST_MAX: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, Serialize)]
struct Body<'a> {
    target: &'a str,
    service: &'a str,
    epoch: u64,
    statement: &'a str,
}

/// The body of a target's answer; what else it says is its own.
#[derive(Debug, Deserialize)]
struct Answer {
    epoch: u64,
}

/// Tells all targets that have a webhook, each by a task of its own.
pub fn start(
    shared: &Shared,
    desk: &Desk,
    issuer: &Issuer,
    stop: &CancellationToken,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for known in shared.fences.targets() {
        if matches!(known.target.fence, Fence::Webhook { .. }) {
            tasks.spawn(tell(known, shared.clone(), desk.clone(), issuer.clone(), stop.clone()));
        }
    }
    tasks
}

/// Tells one target until `stop`.
async fn tell(known: Known, shared: Shared, desk: Desk, issuer: Issuer, stop: CancellationToken) {
    let mut hears = shared.fences.hear();
    let (mut holds, mut rest) = (None::<Epoch>, REST_MIN);
    loop {
        let told = hears.borrow_and_update().clone();
        // A gate that stands by was told nothing by its own driver; the deciding one tells.
        let is_leading = matches!(desk.lead(), Lead::Own(_));
        let due = told.filter(|told| is_leading && holds.is_none_or(|epoch| epoch < told.epoch));
        let pause = match due {
            None => REST_MAX,
            Some(told) => match post(&known, &told, &issuer, &shared.outside).await {
                Ok(epoch) => {
                    holds = Some(epoch);
                    confirm(&known, epoch, &shared, &desk).await;
                    rest = REST_MIN;
                    continue;
                }
                Err(why) => {
                    let (target, epoch) = (&known.target.name, told.epoch.0);
                    tracing::warn!(%target, epoch, "the target is not fenced: {why}");
                    rest = (rest * 2).min(REST_MAX);
                    rest
                }
            },
        };
        tokio::select! {
            () = stop.cancelled() => return,
            changed = hears.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn confirm(known: &Known, epoch: Epoch, shared: &Shared, desk: &Desk) {
    if shared.fences.hold(&known.target.name, epoch, driver::boot_tick())
        && let Lead::Own(commands) = desk.lead()
    {
        // A driver that is gone takes the epoch up when it starts again and the target is told.
        let _gone = commands.send(Command::Held).await;
    }
}

/// The epoch the target says it holds.
async fn post(
    known: &Known,
    told: &Arc<Told>,
    issuer: &Issuer,
    outside: &Outside,
) -> Result<Epoch, String> {
    let (url, secret, timeout_ms) = match &known.target.fence {
        Fence::Webhook { url, secret, timeout_ms } => (url, secret, *timeout_ms),
        Fence::Apply { .. } | Fence::Missing => return Err("it has no webhook".to_owned()),
    };
    let statement = issuer.state(&Statement::of(told, issuer, driver::wall_ms()));
    let body = Body {
        target: known.target.name.as_str(),
        service: known.service.as_str(),
        epoch: told.epoch.0,
        statement: &statement,
    };
    let body = serde_json::to_vec(&body).expect("texts and numbers are JSON");
    let request = signed(url, &secret.0, body)?;
    let bytes = outside.ask(request, Duration::from_millis(timeout_ms)).await?;
    if bytes.len() > ANSWER_BYTES_MAX {
        return Err("its answer is too long".to_owned());
    }
    let said: Answer = serde_json::from_slice(&bytes)
        .map_err(|error| format!("its answer is not {{\"epoch\": N}}: {error}"))?;
    if said.epoch < told.epoch.0 {
        return Err(format!("it holds epoch {} and was told {}", said.epoch, told.epoch));
    }
    // More than it was told it cannot know; what it was told is what it confirms.
    Ok(told.epoch)
}
