//! How a role ends: a signal, or the end of its lifeline.
//!
//! The lifeline is standard input, a pipe from `up`. Nothing is ever written to it; when `up` dies,
//! however it dies, the pipe ends and so does the role. It is read on a plain thread, because a
//! runtime that hangs must not keep the process alive.
//!
//! Invariant: a role that is asked to end and has not ended after [`DRAIN`] is ended.

use std::io::{self, Read};
use std::process;
use std::thread;
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long a drain may take before the process ends anyway.
pub const DRAIN: Duration = Duration::from_secs(15);

/// Watches standard input; its end asks for a drain, and [`DRAIN`] later ends the process.
pub fn hold(shutdown: CancellationToken) {
    let watch = move || {
        let mut byte = [0; 64];
        loop {
            match io::stdin().lock().read(&mut byte) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        tracing::info!("lifeline ended; draining");
        shutdown.cancel();
        thread::sleep(DRAIN);
        tracing::error!("the drain took too long; ending");
        process::exit(2);
    };
    thread::Builder::new()
        .name("lifeline".to_owned())
        .spawn(watch)
        .expect("a process that has just started can start a thread");
}

/// Has the kernel kill this process when its parent dies. A gate or watchdog that was stopped
/// cannot read its lifeline; this reaches it all the same.
pub fn die_with_parent() {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        tracing::warn!(%error, "the kernel will not end this role with its parent");
    }
}

/// Asks for a drain at SIGTERM or SIGINT; the second one ends the process.
///
/// # Errors
/// If the system refuses to deliver signals.
pub fn drain_on_signal(shutdown: CancellationToken) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        let mut asked = false;
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if asked {
                process::exit(130);
            }
            asked = true;
            tracing::info!("draining; a second signal ends at once");
            shutdown.cancel();
        }
    });
    Ok(())
}
