//! Keeps one role running: starts it, watches its progress, restarts it when it ends or hangs.
//!
//! ```text
//! start ─► (run file, first answer) ready ─► checks ─► ended or hung ─► backoff ─► start
//!    └─ ended with 2 before it was ever ready: give up
//! ```
//!
//! Invariant: a role that never came up is not started for ever; its own words say why, and `up`
//! ends with 2.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::child::{Child, Lifeline};
use super::pulse::{CHECK_EVERY, Check, Misses, check};
use crate::driver::{Deadline, Stopwatch};
use crate::exit::Ending;
use crate::place::{Listen, Place};

/// How long a role may take from its start to its first answer.
const START_MAX: Duration = Duration::from_secs(20);
/// How long a drain may take. A role ends itself after 15 s.
const DRAIN_MAX: Duration = Duration::from_secs(17);
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// A role that ran for so long begins with the shortest backoff again.
const STEADY: Duration = Duration::from_secs(10);

/// A role to keep running.
#[derive(Debug)]
pub struct Keeper {
    pub role: &'static str,
    pub program: PathBuf,
    pub argv: Vec<String>,
    pub place: Place,
    pub lifeline: Lifeline,
    /// Asks for a drain, and no restart after it.
    pub stop: CancellationToken,
    /// Asks for a restart, without a drain.
    pub anew: Notify,
    /// Where the role is, once it answers.
    pub ready: watch::Sender<Option<SocketAddr>>,
}

/// A role that never came up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{role} did not start: {why}")]
pub struct GaveUp {
    pub role: &'static str,
    pub why: String,
}

/// Why a run of the child is over.
#[derive(Debug, PartialEq, Eq)]
enum Over {
    Stopped,
    Renewed,
    Hung(&'static str),
    Exited { code: Option<i32>, text: String },
}

impl Keeper {
    /// Keeps the role until it is asked to stop.
    ///
    /// # Errors
    /// [`GaveUp`] if it refuses its very first start.
    pub async fn keep(&self) -> Result<(), GaveUp> {
        let mut backoff = BACKOFF_MIN;
        loop {
            let ran = Stopwatch::start();
            let mut child = Child::start(&self.program, &self.argv, &self.lifeline)
                .map_err(|error| GaveUp { role: self.role, why: error.to_string() })?;
            let over = self.run(&mut child).await;
            self.end(&mut child, &over).await;
            let was_ready = self.ready.borrow().is_some();
            match over {
                Over::Stopped => return Ok(()),
                Over::Renewed => continue,
                Over::Exited { code: Some(code), text }
                    if !was_ready && code == i32::from(Ending::Undecided.code()) =>
                {
                    return Err(GaveUp { role: self.role, why: text });
                }
                Over::Exited { text, .. } => {
                    tracing::warn!(role = self.role, how = text, "role ended; starting it again");
                }
                Over::Hung(why) => {
                    tracing::warn!(role = self.role, why, "role hangs; killed, starting it again");
                }
            }
            backoff = if ran.elapsed() > STEADY { BACKOFF_MIN } else { backoff };
            tokio::select! {
                () = self.stop.cancelled() => return Ok(()),
                () = sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    async fn run(&self, child: &mut Child) -> Over {
        let pid = child.pid();
        tokio::select! {
            status = child.ended() => match status {
                Ok(status) => Over::Exited { code: status.code(), text: status.to_string() },
                Err(error) => Over::Exited { code: None, text: error.to_string() },
            },
            why = self.hangs(pid) => Over::Hung(why),
            () = self.anew.notified() => Over::Renewed,
            () = self.stop.cancelled() => Over::Stopped,
        }
    }

    /// Returns when the role does not come up in time, or stops to answer.
    async fn hangs(&self, pid: Option<u32>) -> &'static str {
        let deadline = Deadline::after(START_MAX);
        let mut misses = Misses::default();
        let mut answered = false;
        loop {
            sleep(CHECK_EVERY).await;
            let run = self.place.run::<Listen>(self.role).filter(|run| Some(run.pid) == pid);
            let seen = match &run {
                Some(run) => check(run.listen).await,
                None => Check::Silent,
            };
            if let (Some(run), Check::Answered) = (run, seen) {
                answered = true;
                self.ready.send_replace(Some(run.listen));
            }
            if !answered && deadline.has_passed() {
                return "it did not come up in 20 s";
            }
            if misses.take(seen) && answered {
                return "it answers no more";
            }
        }
    }

    /// Sees the child end: by a drain if it was asked to stop, at once if it hangs.
    async fn end(&self, child: &mut Child, over: &Over) {
        match over {
            Over::Exited { .. } => return,
            Over::Hung(_) => child.kill(),
            // Asked to end, the watchdog takes its collector with it. Killed it leaves it to the
            // next one, and telemetry goes on; a killed role is what every other is built for.
            Over::Renewed => child.kill(),
            Over::Stopped => child.terminate(),
        }
        if timeout(DRAIN_MAX, child.ended()).await.is_err() {
            tracing::warn!(role = self.role, "the drain took too long; killed");
            child.kill();
            // SIGKILL cannot be refused; only the kernel can delay it.
            drop(child.ended().await);
        }
    }
}
