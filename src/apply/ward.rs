//! The ward: a process between the fence and the deploy command, so that nothing is ever applied
//! that nobody watches.
//!
//! ```text
//! holdpoint apply ──pipe──► ward ──► command        one process group, led by the ward
//!   killed: the pipe ends ──► the ward kills the group, itself with it
//!   the ward killed: apply sees its end and kills the group
//! ```
//!
//! Invariant: while the command runs, its fence runs; when one of the two processes above it dies,
//! however it dies, the whole group does.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitCode, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, getpgrp, kill_process_group};
use tokio::process::{Child, ChildStdin};

use crate::cli::WardArgs;
use crate::roles::own_executable;

/// Marks every process of one run, so that a run whose fence was killed can be found.
pub const RUN_ENV: &str = "HOLDPOINT_RUN";
/// As shells say that a command could not be started.
const NOT_STARTED: u8 = 127;

/// `holdpoint apply-ward`.
pub fn run(args: &WardArgs) -> ExitCode {
    let Some((program, arguments)) = args.command.split_first() else {
        return NOT_STARTED.into();
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let Ok(runtime) = runtime else { return NOT_STARTED.into() };
    runtime.block_on(async {
        // Taken here and thereby not deadly: the command has its grace, and the ward its end.
        let kind = tokio::signal::unix::SignalKind::terminate();
        let Ok(_terminate) = tokio::signal::unix::signal(kind) else { return NOT_STARTED.into() };
        // A plain thread: what ends the group must not wait for a runtime.
        thread::spawn(kill_at_the_end_of_input);
        let mut command = tokio::process::Command::new(program);
        match command.args(arguments).stdin(Stdio::null()).status().await {
            Ok(status) => {
                let by_signal = status.signal().map(|signal| 128 + signal);
                let code = status.code().or(by_signal).and_then(|code| u8::try_from(code).ok());
                code.unwrap_or(u8::MAX).into()
            }
            Err(error) => {
                eprintln!("holdpoint: start {program}: {error}");
                NOT_STARTED.into()
            }
        }
    })
}

fn kill_at_the_end_of_input() {
    let mut byte = [0; 1];
    loop {
        match io::stdin().lock().read(&mut byte) {
            Ok(1..) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => break,
        }
    }
    let _ended = kill_process_group(getpgrp(), Signal::KILL);
}

/// A command at work behind its ward.
#[derive(Debug)]
pub struct Ward {
    pub child: Child,
    group: Pid,
    /// Its other end is the ward's input. Kept apart, because waiting for a child closes its own.
    _pipe: Option<ChildStdin>,
}

impl Ward {
    /// Starts `command` with `variables` in its environment.
    ///
    /// # Errors
    /// If this executable cannot be started again.
    pub fn start(command: &[String], variables: &[(&str, String)]) -> io::Result<Self> {
        let own = own_executable().map_err(io::Error::other)?;
        let mut ward = Command::new(own);
        // A token or an address of the fence's own is not for the command.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HOLDPOINT_") {
                ward.env_remove(name);
            }
        }
        ward.arg0("holdpoint").args(["apply-ward", "--"]).args(command);
        ward.envs(variables.iter().map(|(name, value)| (name, value)));
        ward.stdin(Stdio::piped()).process_group(0);
        let mut child = tokio::process::Command::from(ward).spawn()?;
        let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let group = pid.expect("a child that was just started has a process id");
        let _pipe = child.stdin.take();
        Ok(Self { child, group, _pipe })
    }

    /// The process group's number.
    #[must_use]
    pub fn group(&self) -> i32 {
        self.group.as_raw_nonzero().get()
    }

    /// Sends a signal to the command and all it started.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself in between.
        let _gone = kill_process_group(self.group, signal);
    }
}

impl Drop for Ward {
    fn drop(&mut self) {
        // A ward that ended by itself leaves what its command started; that is the service.
        if self.child.id().is_some() {
            self.signal(Signal::KILL);
        }
    }
}

/// Kills what is left of a run whose fence and ward were both killed: processes of `group` that
/// carry its mark. Says how many there were.
pub fn end_remains(group: i32, mark: &str) -> usize {
    let wanted = format!("{RUN_ENV}={mark}");
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let path = entry.path();
        let is_marked = fs::read(path.join("environ"))
            .is_ok_and(|all| all.split(|byte| *byte == 0).any(|each| each == wanted.as_bytes()));
        let stat = fs::read_to_string(path.join("stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let in_group = fields.split_ascii_whitespace().nth(2) == Some(group.to_string().as_str());
        if is_marked && in_group {
            found.insert(entry.file_name());
        }
    }
    if !found.is_empty()
        && let Some(group) = Pid::from_raw(group)
    {
        let _ended = kill_process_group(group, Signal::KILL);
    }
    found.len()
}
