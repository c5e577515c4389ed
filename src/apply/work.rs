//! The command at work: watched until it ends, or until its permit does.
//!
//! ```text
//!  renewals ─────► lease ─┐
//!  long poll ────► freeze ├─► go on │ stop: SIGTERM, grace, SIGKILL │ finish without a permit
//!  own clocks ───► apart ─┘
//! ```
//!
//! Invariant: a command runs on only while its lease does. Silence ends it as surely as a word.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use agent_gate::permit::Payload;
use agent_gate_core::policy::OnFreeze;
use rustix::process::Signal;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::fence::{Fence, FenceError};
use super::lease::{Lease, came_apart};
use super::office::{Heard, Office, Renewed};
use super::runs::End;
use super::ward::Ward;
use super::{keep_heard, say};
use crate::driver::{self, Deadline};

/// How often clocks, lease and the fence's file are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How long a poll waits for news at the gate.
const POLL_WAIT_MS: u64 = 5_000;
/// How long an unanswered poll or renewal rests.
const REST: Duration = Duration::from_millis(500);
/// What is left of a lease when the clocks came apart: time to ask the gate once.
const ASK_ONCE_MS: u64 = 2_500;

/// Word from the gate.
enum News {
    Heard(Box<Heard>),
    Leased(Lease),
    Lost(String),
}

/// One command under one permit.
pub struct Work {
    pub fence: Fence,
    pub office: Option<Arc<Office>>,
    pub permit: Payload,
    pub step: String,
    pub grace: Duration,
    pub lease: Lease,
    /// The version of the freezes that was heard last.
    pub version: Option<String>,
}

/// Why a command has to stop, or goes on without a permit.
#[derive(Debug, Default)]
struct Loss {
    why: Option<String>,
    kill_at: Option<Deadline>,
}

impl Work {
    /// Watches `ward` to its end.
    ///
    /// # Errors
    /// [`FenceError`] if what the gate says cannot be kept; the command is dead then.
    pub async fn watch(mut self, ward: &mut Ward, mut stops: Stops) -> Result<End, FenceError> {
        let (sender, mut news) = mpsc::unbounded_channel();
        let hurry = Arc::new(Notify::new());
        let mut talks = JoinSet::new();
        if let Some(office) = &self.office {
            let (fence, version) = (self.fence.clone(), self.version.clone());
            talks.spawn(hear(Arc::clone(office), fence, version, sender.clone()));
            let (permit, step) = (self.permit.clone(), self.step.clone());
            let renewals =
                renew(Arc::clone(office), permit, step, self.lease, sender, Arc::clone(&hurry));
            talks.spawn(renewals);
        }
        let mut ticks = interval(TICK);
        let mut clocks = driver::clocks();
        let mut loss = Loss::default();
        loop {
            tokio::select! {
                biased;
                status = ward.child.wait() => {
                    let code = status.ok().and_then(|status| status.code());
                    // A ward that was killed leaves a command that nobody watches.
                    if code.is_none() {
                        ward.signal(Signal::KILL);
                    }
                    return Ok(ended(code, loss.why));
                }
                () = stops.heard() => self.lose(ward, &mut loss, None),
                Some(word) = news.recv() => match word {
                    News::Heard(heard) => {
                        if let Err(unfit) = keep_heard(&self.fence, &heard.statement)? {
                            self.lose(ward, &mut loss, Some(unfit.to_string()));
                        }
                    }
                    News::Leased(lease) => self.lease = self.lease.max(lease),
                    News::Lost(why) => self.lose(ward, &mut loss, Some(why)),
                },
                _ = ticks.tick() => {
                    let now = driver::clocks();
                    if came_apart(clocks, now) {
                        say("the clocks disagree about how much time passed; asking the gate");
                        self.lease = self.lease.min(Lease::of_answer(now, ASK_ONCE_MS));
                        hurry.notify_one();
                    }
                    clocks = now;
                    if self.lease.left_ms(now) == 0 {
                        let why = "the permit ended and was not renewed".to_owned();
                        self.lose(ward, &mut loss, Some(why));
                    }
                    // `holdpoint fence` may have heard what this process could not.
                    if let Err(unfit) = self.fence.read()?.check(&self.permit) {
                        self.lose(ward, &mut loss, Some(unfit.to_string()));
                    }
                }
            }
            if loss.kill_at.is_some_and(Deadline::has_passed) {
                ward.signal(Signal::KILL);
            }
        }
    }

    /// The permit is gone, or a person wants the command to end (then there is no `why`).
    fn lose(&self, ward: &Ward, loss: &mut Loss, why: Option<String>) {
        let is_told_to = why.is_none();
        let why = why.unwrap_or_else(|| "holdpoint apply was told to stop".to_owned());
        let is_stopping = loss.kill_at.is_some();
        let is_news = loss.why.is_none();
        let stops = is_told_to || self.permit.on_freeze == OnFreeze::Stop;
        if stops && !is_stopping {
            say(&format!("stopping the command: {why}"));
            ward.signal(Signal::TERM);
            loss.kill_at = Some(Deadline::after(self.grace));
        } else if is_news {
            say(&format!("the command goes on to its end without a permit: {why}"));
        }
        loss.why.get_or_insert(why);
    }
}

fn ended(code: Option<i32>, lost: Option<String>) -> End {
    match (code, lost) {
        (Some(0), _) => End::Done,
        (Some(code), None) => End::Failed { code: u8::try_from(code).unwrap_or(u8::MAX) },
        (None, None) => End::Stopped { why: "its process was killed".to_owned() },
        (_, Some(why)) => End::Stopped { why },
    }
}

/// The wish of a person that a command ends.
pub struct Stops {
    terminate: Signals,
    interrupt: Signals,
}

impl Stops {
    /// Listens from here on. Before a command is started: a signal between must not end its fence
    /// alone.
    ///
    /// # Errors
    /// If the system refuses to deliver signals.
    pub fn listen() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn heard(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn hear(
    office: Arc<Office>,
    fence: Fence,
    mut version: Option<String>,
    news: mpsc::UnboundedSender<News>,
) {
    loop {
        let held = fence.read().ok().and_then(|kept| kept.told);
        match office.hear(held, version.as_deref(), POLL_WAIT_MS).await {
            Ok(heard) => {
                version = Some(heard.version.clone());
                if news.send(News::Heard(Box::new(heard))).is_err() {
                    return;
                }
                // The next poll says what is held by then; give the file its turn.
                tokio::task::yield_now().await;
            }
            Err(_) => sleep(REST).await,
        }
    }
}

async fn renew(
    office: Arc<Office>,
    permit: Payload,
    step: String,
    mut lease: Lease,
    news: mpsc::UnboundedSender<News>,
    hurry: Arc<Notify>,
) {
    loop {
        let left = Duration::from_millis(lease.left_ms(driver::clocks()));
        tokio::select! {
            () = sleep((left / 2).max(REST)) => {}
            () = hurry.notified() => {}
        }
        let asked = driver::clocks();
        let word = match office.renew(&permit, &step).await {
            Ok(Renewed::Granted { expires_in_ms }) => {
                lease = Lease::of_answer(asked, expires_in_ms);
                News::Leased(lease)
            }
            Ok(Renewed::Denied(why)) => News::Lost(why),
            // What is there runs on, and is asked for again until it is over.
            Ok(Renewed::Held(_)) | Err(_) => continue,
        };
        if news.send(word).is_err() {
            return;
        }
    }
}
