//! `holdpoint up` and `holdpoint sidecar`: the roles as child processes.
//!
//! ```text
//! up ─┬─ gate                      restarted by up when it ends or hangs
//!     └─ watchdog ── collector     the watchdog owns the collector's restarts
//! ```
//!
//! Invariant: a role never shares a process with another, and no role outlives `up`.

mod child;
mod keep;
mod pulse;
mod words;

use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::cli::{Globals, SidecarArgs, UpArgs};
use crate::config;
use crate::driver::Deadline;
use crate::exit::Ending;
use crate::place::{CollectorRun, Place, RoleRun};
use crate::roles::start_log;
use crate::roles::{RoleError, Start, child_argv, drain_on_signal, hold, own_executable, sentence};
use child::Lifeline;
use keep::{GaveUp, Keeper};

/// How long all roles together may take to come up before it is said that they have not.
const READY_MAX: Duration = Duration::from_secs(30);

/// `holdpoint up`.
pub fn up(globals: &Globals, args: &UpArgs) -> ExitCode {
    enter("up", globals, args.lifeline.lifeline, &["--supervise"], true)
}

/// `holdpoint sidecar`.
pub fn sidecar(globals: &Globals, args: &SidecarArgs) -> ExitCode {
    let watchdog = ["--supervise", "--name", &args.name.name];
    enter("sidecar", globals, args.lifeline.lifeline, &watchdog, false)
}

fn enter(
    verb: &'static str,
    globals: &Globals,
    lifeline: bool,
    watchdog: &[&str],
    with_gate: bool,
) -> ExitCode {
    start_log(verb, globals.log_format, Vec::new());
    let shutdown = CancellationToken::new();
    if lifeline {
        hold(shutdown.clone());
    }
    let ran = Start::read(globals).and_then(|start| {
        let _lock = start.place.lock("up")?;
        // One thread: the kernel ends a child when the *thread* that started it ends, so all
        // children are started by the main thread.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(RoleError::Runtime)?;
        let stack = Stack::of(&start, watchdog, with_gate)?;
        runtime.block_on(async {
            drain_on_signal(shutdown.clone()).map_err(RoleError::Runtime)?;
            stack.run(&start, globals, shutdown).await
        })
    });
    match ran {
        Ok(()) => Ending::Done.into(),
        Err(error) => {
            eprintln!("{verb}: {}", sentence(&error));
            Ending::Undecided.into()
        }
    }
}

/// The children.
#[derive(Debug)]
struct Stack {
    watchdog: Keeper,
    gate: Option<Keeper>,
}

impl Stack {
    fn of(start: &Start, watchdog: &[&str], with_gate: bool) -> Result<Self, RoleError> {
        let program = own_executable()?;
        let keeper = |role, more: &[&str]| -> Result<Keeper, RoleError> {
            let lifeline = Lifeline::new().map_err(RoleError::Runtime)?;
            Ok(Keeper {
                lifeline,
                role,
                program: program.clone(),
                argv: child_argv(role, start, &[&["--lifeline"], more].concat()),
                place: start.place.clone(),
                stop: CancellationToken::new(),
                anew: Notify::new(),
                ready: watch::Sender::new(None),
            })
        };
        let gate = with_gate.then(|| keeper("gate", &[])).transpose()?;
        Ok(Self { watchdog: keeper("watchdog", watchdog)?, gate })
    }

    async fn run(
        &self,
        start: &Start,
        globals: &Globals,
        shutdown: CancellationToken,
    ) -> Result<(), RoleError> {
        let watchdog = self.watchdog.keep();
        let gate = async {
            match &self.gate {
                Some(gate) => gate.keep().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(watchdog, gate);
        let (mut watchdog_ended, mut gate_ended) = (false, self.gate.is_none());
        let ended = tokio::select! {
            ended = &mut watchdog => { watchdog_ended = true; ended }
            ended = &mut gate => { gate_ended = true; ended }
            never = self.announce(start, globals) => never,
            never = self.renew_on_hangup(start) => never,
            () = shutdown.cancelled() => Ok(()),
        };
        // The watchdog first, and with it the collector: its last attestations still reach the
        // gate. The gate runs on meanwhile.
        self.watchdog.stop.cancel();
        while !watchdog_ended {
            tokio::select! {
                _ = &mut watchdog => watchdog_ended = true,
                _ = &mut gate, if !gate_ended => gate_ended = true,
            }
        }
        if let (Some(keeper), false) = (&self.gate, gate_ended) {
            keeper.stop.cancel();
            drop(gate.await);
        }
        ended.map_err(|gave_up| RoleError::Start(gave_up.into()))
    }

    /// Waits until all roles answer and says so, then rests.
    async fn announce(&self, start: &Start, globals: &Globals) -> Result<(), GaveUp> {
        let deadline = Deadline::after(READY_MAX);
        let mut warned = false;
        loop {
            let collector = start.place.run::<CollectorRun>("collector").filter(RoleRun::exists);
            let watchdog = *self.watchdog.ready.borrow();
            let gate = self.gate.as_ref().map(|gate| *gate.ready.borrow());
            if let (Some(collector), Some(watchdog), true) =
                (collector, watchdog, gate != Some(None))
                && pulse::check(collector.admin).await == pulse::Check::Answered
            {
                words::up(start, globals, &collector, watchdog, gate.flatten());
                return std::future::pending().await;
            }
            if deadline.has_passed() && !warned {
                warned = true;
                tracing::error!("not all roles are up after 30 s; see their messages above");
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// SIGHUP takes a changed configuration, if it is good, by starting gate and watchdog anew. The
    /// gate that starts knows nothing and holds, so this is safe at any time. The collector takes
    /// it as it runs.
    async fn renew_on_hangup(&self, start: &Start) -> Result<(), GaveUp> {
        let Ok(mut hangups) = signal(SignalKind::hangup()) else {
            return std::future::pending().await;
        };
        while hangups.recv().await.is_some() {
            match config::load(start.config_file.as_deref()) {
                Ok(_) => {
                    tracing::info!("configuration read again; starting gate and watchdog anew");
                    hang_up(&start.place);
                    self.watchdog.anew.notify_one();
                    if let Some(gate) = &self.gate {
                        gate.anew.notify_one();
                    }
                }
                Err(mistakes) => tracing::error!(%mistakes, "the running configuration stays"),
            }
        }
        std::future::pending().await
    }
}

/// Passes SIGHUP on to the collector, which is the watchdog's child and not ours.
fn hang_up(place: &Place) {
    let Some(run) = place.run::<CollectorRun>("collector") else { return };
    let pid = i32::try_from(run.pid).ok().and_then(Pid::from_raw);
    let opened = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    // Asked after the descriptor is held: it is the collector's, or the pid was recycled before.
    if let Some(process) = opened.filter(|_| run.exists())
        && let Err(error) = pidfd_send_signal(process, Signal::HUP)
    {
        tracing::warn!(%error, "the collector was not told of the configuration");
    }
}
