//! What the watchdog said from the moment of a fault on, and whether it was right.
//!
//! Invariant: an answer counts from the moment at which it was asked for, so that a `live` that
//! was on its way is not held against the watchdog, and one that was asked for too late is.

use std::time::{Duration, Instant};

use super::faults::{Fault, Place};
use super::lateness::Lateness;
use super::scene::Scene;

const LOOK: Duration = Duration::from_millis(25);
/// A machine that wakes sleepers later than this (four times 125 ms) stands still now and then, and
/// then the watchdog says so and nothing else.
const ALLOWANCE_MS_MAX: u64 = 500;
/// How long a stage may take until it is live, at first or again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was said, and from when on, in milliseconds after the fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    pub at_ms: u64,
    pub verdict: String,
    pub stage: String,
}

impl Said {
    fn is(&self, place: &Place) -> bool {
        (self.verdict.as_str(), self.stage.as_str()) == *place
    }
}

/// One run of one fault.
#[derive(Debug)]
pub struct Run {
    pub said: Vec<Said>,
    /// When it was no longer `live`; `None`: never.
    pub noticed_ms: Option<u64>,
    /// When what was right was said for the last time before it stood.
    pub located_ms: Option<u64>,
    /// For how long a fault was said to be at a wrong place.
    pub misplaced_ms: u64,
    /// When `live` was said although it was wrong for long.
    pub blind_ms: Option<u64>,
    /// From the lift until it was live again.
    pub healed_ms: u64,
    /// By what the bounds were extended, because this machine ran things late.
    pub allowance_ms: u64,
}

impl Run {
    /// Whether this machine stood still meanwhile, so that the run shows nothing.
    pub const fn is_void(&self) -> bool {
        self.allowance_ms > ALLOWANCE_MS_MAX
    }

    pub const fn is_right(&self) -> bool {
        self.located_ms.is_some() && self.blind_ms.is_none()
    }
}

/// Waits until all services have been live without a break for `dwell`.
pub fn settle(scene: &Scene, fault: &Fault, dwell: Duration) {
    let start = Instant::now();
    let mut since = None;
    loop {
        let verdicts: Vec<_> = (0..fault.services).map(|index| scene.verdict(index)).collect();
        let live = verdicts.iter().flatten().filter(|verdict| verdict["verdict"] == "live");
        if live.count() < fault.services {
            since = None;
        } else if since.get_or_insert_with(Instant::now).elapsed() >= dwell {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{}: not live but {verdicts:#?}\n{}",
            fault.name,
            scene.log()
        );
        std::thread::sleep(LOOK);
    }
}

/// Breaks, watches, mends, and waits until all is live again.
pub fn run(scene: &mut Scene, fault: &Fault) -> Run {
    let lateness = Lateness::watch();
    (fault.inject)(scene);
    let hit = Instant::now();
    let mut said: Vec<Said> = Vec::new();
    let mut last_live = None;
    while !is_over(fault, hit, &said) {
        let at_ms = millis(hit.elapsed());
        let (verdict, stage) = match scene.verdict(0) {
            Some(verdict) => (word(&verdict["verdict"]), word(&verdict["stage"])),
            None => ("-".into(), "-".into()),
        };
        if verdict == "live" {
            last_live = Some(at_ms);
        }
        let now = Said { at_ms, verdict, stage };
        if said.last().is_none_or(|last| (&last.verdict, &last.stage) != (&now.verdict, &now.stage))
        {
            said.push(now);
        }
        std::thread::sleep(LOOK);
    }
    let end_ms = millis(hit.elapsed());
    let allowance_ms = millis(lateness.allowance());
    drop(lateness);
    (fault.lift)(scene);
    let lifted = Instant::now();
    settle(scene, fault, Duration::ZERO);
    Run {
        noticed_ms: said.iter().find(|said| said.verdict != "live").map(|said| said.at_ms),
        located_ms: located(fault, &said),
        misplaced_ms: misplaced(fault, &said, end_ms),
        blind_ms: blind(fault, &said, last_live, allowance_ms),
        healed_ms: millis(lifted.elapsed()),
        allowance_ms,
        said,
    }
}

fn ends_by_itself(fault: &Fault) -> bool {
    fault.window_ms == 0
}

fn is_over(fault: &Fault, hit: Instant, said: &[Said]) -> bool {
    if ends_by_itself(fault) {
        hit.elapsed() > PATIENCE || said.last().is_some_and(|last| last.verdict == "live")
    } else {
        hit.elapsed() > Duration::from_millis(fault.window_ms)
    }
}

/// When the right place was first said without another one after it. Where the watchdog itself was
/// late it says so, or nothing, and that is no place.
fn located(fault: &Fault, said: &[Said]) -> Option<u64> {
    let right = |said: &&Said| fault.expect.iter().any(|place| said.is(place));
    if ends_by_itself(fault) {
        let meanwhile = said.iter().take_while(|said| said.verdict != "live");
        let honest = meanwhile.clone().all(|said| said.verdict == "unknown");
        return meanwhile.take(1).find(right).filter(|_| honest).map(|said| said.at_ms);
    }
    let seeing = said.iter().rev().filter(|said| !is_blind(said));
    seeing.take_while(right).last().map(|said| said.at_ms)
}

/// Whether the watchdog said that it was late itself, or could not say anything.
fn is_blind(said: &Said) -> bool {
    said.verdict == "-" || said.is(&("unknown", "observer"))
}

fn misplaced(fault: &Fault, said: &[Said], end_ms: u64) -> u64 {
    let ends = said.iter().skip(1).map(|next| next.at_ms).chain([end_ms]);
    let wrong = |said: &Said| {
        let fine = said.stage == "-" || is_blind(said);
        !fine && !fault.expect.iter().any(|(_, stage)| said.stage == *stage)
    };
    said.iter().zip(ends).filter(|(said, _)| wrong(said)).map(|(said, end)| end - said.at_ms).sum()
}

fn blind(fault: &Fault, said: &[Said], last_live: Option<u64>, allowance_ms: u64) -> Option<u64> {
    if ends_by_itself(fault) {
        // It is over when it is live: then what came first must have been something else.
        return said.first().filter(|first| first.verdict == "live").map(|first| first.at_ms);
    }
    last_live.filter(|at| *at > fault.bound_ms + allowance_ms)
}

fn word(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).expect("seconds")
}
