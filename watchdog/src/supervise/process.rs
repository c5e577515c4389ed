//! One process, held by a pidfd: started or adopted, waited for, signalled.
//!
//! A pid can be given to another process the moment its owner is reaped; a pidfd cannot. An adopted
//! process is recognised by pid and start time together, checked again after the pidfd was opened.
//!
//! Invariant: no signal is ever sent by pid. Dropping a `Process` leaves the process running, so
//! that the next watchdog can adopt it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::wiring::Supervise;

/// A process that can be waited for and signalled without a race.
#[derive(Debug)]
pub struct Process {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    /// Only a child can be reaped, and only it tells how it ended.
    child: Option<Child>,
}

impl Process {
    /// Starts `command` in a process group of its own, with standard input inherited.
    pub fn start(command: &Supervise) -> io::Result<Self> {
        let mut spawn = Command::new(&command.program);
        if let Some((shown_name, arguments)) = command.argv.split_first() {
            spawn.arg0(shown_name).args(arguments);
        }
        spawn.envs(command.env.iter().map(|(key, value)| (key, value)));
        // A group of its own keeps ctrl-C of a terminal away: whoever drains it sends the signal.
        let child = spawn.stdin(Stdio::inherit()).process_group(0).spawn()?;
        let pid = child.id();
        // The pid is ours until the child is reaped, so this cannot open somebody else's.
        Ok(Self { pid, pidfd: open(pid)?, child: Some(child) })
    }

    /// Takes over a process that runs; `None` if that process is gone or is another one.
    pub fn adopt(pid: u32, start_ticks: u64) -> io::Result<Option<Self>> {
        if !runs(pid, start_ticks) {
            return Ok(None);
        }
        let pidfd = match open(pid) {
            Ok(pidfd) => pidfd,
            Err(e) if e.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return Ok(None);
            }
            Err(e) => return Err(e),
        };
        // Checked again: between the first look and the open the pid may have changed hands.
        Ok(runs(pid, start_ticks).then_some(Self { pid, pidfd, child: None }))
    }

    /// The process id, for people and for `/proc`.
    pub const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the end, and reaps a child. `None` if it was not ours to reap.
    pub async fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        // The guard is dropped without clearing readiness: a pidfd stays readable for ever.
        drop(self.pidfd.readable().await?);
        self.child.as_mut().map(Child::wait).transpose()
    }

    /// Whether a child has ended; it is reaped then.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// Sends a signal. A process that is gone already is no error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(self.pidfd.get_ref(), signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that swap descriptors; this does not"
)]
fn open(pid: u32) -> io::Result<AsyncFd<OwnedFd>> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
    AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::empty())?, Interest::READABLE)
}

/// Whether the process of that pid and start time exists and is not a zombie.
#[must_use]
pub fn runs(pid: u32, start_ticks: u64) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.ok()
        .and_then(|text| parse_stat(&text))
        .is_some_and(|(state, ticks)| ticks == start_ticks && state != 'Z' && state != 'X')
}

/// State and start time, fields 3 and 22. The name in field 2 may hold spaces and parentheses.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, after_name) = text.rsplit_once(')')?;
    let mut fields = after_name.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    let start_ticks = fields.nth(18)?.parse().ok()?;
    Some((state, start_ticks))
}

/// The start time of a process, as adoption wants it.
#[must_use]
pub fn start_ticks(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text).map(|(_, ticks)| ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) b) T 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(parse_stat(text), Some(('T', 4242)));
        assert_eq!(parse_stat("7 (a"), None);
    }

    #[tokio::test]
    async fn a_process_of_another_start_time_is_not_adopted() {
        let own = std::process::id();
        let ticks = start_ticks(own).expect("our own stat is readable");
        assert!(Process::adopt(own, ticks).expect("pidfd_open works").is_some());
        assert!(Process::adopt(own, ticks + 1).expect("no error").is_none());
    }
}
