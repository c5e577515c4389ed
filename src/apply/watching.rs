//! `holdpoint fence`: keeps every freeze of the gate at a target, whether or not a command runs.
//!
//! A fence that hears of a freeze only when it is asked to apply something cannot confirm one. This
//! process does: it polls, puts what it hears on disk, and confirms it. Cut off from the gate it
//! changes nothing: what was frozen stays frozen here.
//!
//! Invariant: an epoch is confirmed only after all freezes up to it are on disk.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use super::{ApplyError, Ending, Site, enter, keep_heard, say, tell};
use crate::cli::{Globals, WatchArgs};

const POLL_WAIT_MS: u64 = 5_000;
const REST: Duration = Duration::from_millis(500);

/// `holdpoint fence`.
pub fn watch(globals: &Globals, args: WatchArgs) -> Ending {
    enter(async {
        let site = Site::open(globals, &args.fence, false)?;
        let service = args.fence.service.clone().ok_or_else(|| {
            ApplyError::Usage("--service NAME says which service this target runs".to_owned())
        })?;
        let mut terminate = signal(SignalKind::terminate()).map_err(ApplyError::Start)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(ApplyError::Start)?;
        tokio::select! {
            ended = keep(&site, &service) => ended,
            _ = terminate.recv() => Ok(Ending::Done),
            _ = interrupt.recv() => Ok(Ending::Done),
        }
    })
}

async fn keep(site: &Site, service: &str) -> Result<Ending, ApplyError> {
    let fence = site.fence(service)?;
    let mut version: Option<String> = None;
    let mut is_cut_off = false;
    loop {
        let held = fence.read()?.told;
        // Looked for anew each time: the gate may have come back elsewhere.
        let heard = match site.office(service) {
            Ok(office) => match office.hear(held, version.as_deref(), POLL_WAIT_MS).await {
                Ok(heard) => Ok((office, heard)),
                Err(error) => Err(ApplyError::from(error)),
            },
            Err(error) => Err(error),
        };
        match heard {
            Ok((office, heard)) => {
                if is_cut_off {
                    say("the gate answers again");
                }
                is_cut_off = false;
                keep_heard(&fence, &heard.statement)??;
                if version.as_ref() != Some(&heard.version) {
                    let kept = fence.read()?;
                    let frozen = kept.freezes.in_force().count();
                    say(&format!("epoch {}, {frozen} freezes in force", heard.statement.epoch));
                }
                version = Some(heard.version);
                tell(&fence, Some(&office)).await?;
            }
            Err(error) => {
                if !is_cut_off {
                    say(&format!("cut off; what is frozen stays frozen here: {error}"));
                }
                is_cut_off = true;
                sleep(REST).await;
            }
        }
    }
}
