//! The way back at a target: the gate gives its orders at least once, and this makes each one run
//! once.
//!
//! The order comes in the environment, as for every revert command. It needs no permit, because a
//! freeze never blocks a revert; what it needs is to be the newest.
//!
//! Invariant: an effect that ended well is never run again, and an order of an older generation
//! than one that was begun is refused.

use std::time::Duration;

use tokio::time::sleep;

use super::fence::{Fence, FenceError, RunLock};
use super::runs::{End, Run};
use super::ward::{self, Ward};
use super::{ApplyError, Site, clear_up, random, said};
use crate::cli::ApplyArgs;
use crate::driver::{self, Deadline};
use crate::exit::Ending;

/// How long an apply that is under way may take to stop: a freeze has told it to.
const LOCK_WAIT: Duration = Duration::from_secs(15);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

const ORDER: [&str; 6] = [
    "HOLDPOINT_ROLLOUT",
    "HOLDPOINT_SERVICE",
    "HOLDPOINT_FROM",
    "HOLDPOINT_TO",
    "HOLDPOINT_GENERATION",
    "HOLDPOINT_EFFECT_ID",
];

pub async fn run(site: &Site, args: &ApplyArgs) -> Result<Ending, ApplyError> {
    let mut variables: Vec<(&str, String)> = Vec::new();
    for name in ORDER {
        let value = std::env::var(name).map_err(|_| {
            ApplyError::Usage(format!("--revert is for a revert action of the gate: no {name}"))
        })?;
        variables.push((name, value));
    }
    let of =
        |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, v)| v.clone());
    let [rollout, service, generation, effect] =
        ["HOLDPOINT_ROLLOUT", "HOLDPOINT_SERVICE", "HOLDPOINT_GENERATION", "HOLDPOINT_EFFECT_ID"]
            .map(|name| of(name).unwrap_or_default());
    let wrong = |_| ApplyError::Usage(format!("HOLDPOINT_GENERATION is {generation:?}"));
    let number: u64 = generation.parse().map_err(wrong)?;
    if std::env::var_os("HOLDPOINT_DRY_RUN").is_some() {
        variables.push(("HOLDPOINT_DRY_RUN", "1".to_owned()));
        let mut ward = Ward::start(&args.command, &variables).map_err(ApplyError::Start)?;
        return Ok(said(&finish(&mut ward).await, "the dry run"));
    }
    let fence = site.fence(&service)?;
    let _lock = lock(&fence).await?;
    let kept = clear_up(&fence, None).await?;
    if kept.runs.generation(&rollout).is_some_and(|newest| newest > number) {
        let old = format!("generation {number} of {rollout} is old; a newer one was begun here");
        return Err(ApplyError::Mismatch(old));
    }
    if kept.runs.last(&rollout, &effect).is_some_and(|run| run.end == Some(End::Done)) {
        return Ok(Ending::Done);
    }
    let mark = hex::encode(random()?);
    variables.push((ward::RUN_ENV, mark.clone()));
    let run = Run {
        rollout,
        step: effect,
        digest: String::new(),
        epoch: kept.highest,
        generation: Some(number),
        mark: mark.clone(),
        group: 0,
        end: None,
        is_told: true,
    };
    fence.change(driver::clocks(), |kept| kept.runs.begin(run))?;
    let mut ward = Ward::start(&args.command, &variables).map_err(ApplyError::Start)?;
    let group = ward.group();
    fence.change(driver::clocks(), |kept| kept.runs.edit(&mark, |run| run.group = group))?;
    let end = finish(&mut ward).await;
    let ending = said(&end, "the way back");
    fence.change(driver::clocks(), |kept| kept.runs.edit(&mark, |run| run.end = Some(end)))?;
    Ok(ending)
}

async fn lock(fence: &Fence) -> Result<RunLock, FenceError> {
    let deadline = Deadline::after(LOCK_WAIT);
    loop {
        match fence.lock() {
            Err(FenceError::Busy { .. }) if !deadline.has_passed() => sleep(LOOK_AGAIN).await,
            lock => return lock,
        }
    }
}

async fn finish(ward: &mut Ward) -> End {
    let code = ward.child.wait().await.ok().and_then(|status| status.code());
    match code {
        Some(0) => End::Done,
        Some(code) => End::Failed { code: u8::try_from(code).unwrap_or(u8::MAX) },
        None => End::Stopped { why: "its process was killed".to_owned() },
    }
}
