//! One child of `up`: a role as a process of its own, with a pipe that ends with us.
//!
//! Children run in process groups of their own, so that ctrl-C reaches `up` alone, which drains
//! them in order.
//!
//! Invariant: a child is signalled only through the handle it was started with, never by a pid that
//! may have been recycled.

use std::io::{self, PipeReader, PipeWriter};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

/// A running role.
#[derive(Debug)]
pub struct Child {
    process: tokio::process::Child,
}

/// A pipe that children read as standard input. Nothing is written to it; it says that we are alive
/// by being open. One serves all starts of a role: the collector has it from its watchdog, and
/// lives on with it when the watchdog is replaced.
#[derive(Debug)]
pub struct Lifeline {
    reader: PipeReader,
    _writer: PipeWriter,
}

impl Lifeline {
    /// # Errors
    /// If the system has no pipe to give.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, _writer: writer })
    }
}

impl Child {
    /// Starts `argv` with `program`; `argv[0]` is what a process list shows.
    ///
    /// # Errors
    /// If the system cannot start it.
    pub fn start(program: &Path, argv: &[String], lifeline: &Lifeline) -> io::Result<Self> {
        let (shown, arguments) = argv.split_first().expect("a command line names a program");
        let mut command = std::process::Command::new(program);
        command.arg0(shown).args(arguments).process_group(0);
        command.stdin(Stdio::from(lifeline.reader.try_clone()?));
        Ok(Self { process: Command::from(command).kill_on_drop(true).spawn()? })
    }

    /// The process id, as long as its end was not seen.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// If the system cannot say how it ended.
    pub async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.process.wait().await
    }

    /// Asks for a drain.
    pub fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Ends it at once.
    pub fn kill(&self) {
        self.send(Signal::KILL);
    }

    fn send(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        // `id()` is `None` once the end was seen, so the pid is still that of our child.
        if let Some(pid) = pid {
            kill_process(pid, signal).ok();
        }
    }
}
