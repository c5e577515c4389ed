//! Who watches the watchdog: the verdict loop tells its service manager and its machine that it
//! turns.
//!
//! Both are told from the verdict loop itself, after it published, and with the sequence of what it
//! published: a timer beside a loop that hangs would keep a dead watchdog alive. `systemd` restarts
//! a watchdog that stays silent (`WatchdogSec`); the machine's own watchdog device, if it is given,
//! restarts the machine.
//!
//! Invariant: only a planned end disarms the device. A loop that hangs, panics or is killed does
//! not say goodbye.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use tracing::{info, warn};

use crate::streak::{Streak, Turn};

/// Those who are told that the loop turns. Nobody by default.
#[derive(Debug, Default)]
pub struct Kicks {
    manager: Option<Manager>,
    device: Option<File>,
    device_streak: Streak,
}

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
    ready: bool,
    streak: Streak,
}

impl Kicks {
    /// Opens the watchdog device, if one is given. From then on the machine restarts unless it is
    /// kicked.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open(device: Option<&Path>) -> io::Result<Self> {
        let opened = device.map(|path| OpenOptions::new().write(true).open(path));
        Ok(Self { device: opened.transpose()?, ..Self::default() })
    }

    /// Tells the service manager too; `path` is its `NOTIFY_SOCKET`, in which `@` begins an
    /// abstract name.
    pub fn tell_manager(&mut self, path: &Path) {
        match Manager::open(path) {
            Ok(manager) => self.manager = Some(manager),
            Err(error) => {
                let path = path.display();
                warn!(%path, %error, "the service manager cannot be told; set NOTIFY_SOCKET right");
            }
        }
    }

    /// The loop turned and published `seq`.
    pub fn kick(&mut self, seq: u64) {
        if let Some(manager) = &mut self.manager {
            manager.kick(seq);
        }
        if let Some(device) = &mut self.device {
            let kicked = device.write_all(b"k");
            match self.device_streak.note(kicked.is_ok()) {
                Some(Turn::ToWorking) => info!("the watchdog device takes kicks again"),
                Some(Turn::ToFailing) => warn!(error = ?kicked.err(), "the watchdog device fails"),
                None => {}
            }
        }
    }

    /// A planned end: the manager is told, and the device is disarmed (magic close).
    pub fn end(&mut self) {
        if let Some(manager) = &self.manager {
            // Whoever does not hear it sees the process end.
            let _unheard = manager.tell("STOPPING=1");
        }
        if let Some(mut device) = self.device.take()
            && let Err(error) = device.write_all(b"V")
        {
            warn!(%error, "the watchdog device cannot be disarmed; the machine may restart");
        }
    }
}

impl Manager {
    fn open(path: &Path) -> io::Result<Self> {
        let name = path.as_os_str().as_bytes();
        let address = match name.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(path)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold the verdicts up.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, address, ready: false, streak: Streak::default() })
    }

    fn tell(&self, words: &str) -> io::Result<()> {
        self.socket.send_to_addr(words.as_bytes(), &self.address).map(drop)
    }

    fn kick(&mut self, seq: u64) {
        let ready = if self.ready { "" } else { "READY=1\n" };
        let words =
            format!("{ready}WATCHDOG=1\nSTATUS=verdicts up to {seq}\nX_HOLDPOINT_SEQ={seq}");
        let told = self.tell(&words);
        self.ready |= told.is_ok();
        match self.streak.note(told.is_ok()) {
            Some(Turn::ToWorking) => info!("the service manager is told again"),
            Some(Turn::ToFailing) => warn!(error = ?told.err(), "the service manager is not told"),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kick_carries_the_sequence_and_only_a_planned_end_disarms() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, device) = (folder.path().join("notify"), folder.path().join("watchdog"));
        let socket = UnixDatagram::bind(&path).expect("a socket");
        std::fs::write(&device, "").expect("a file");
        let mut kicks = Kicks::open(Some(&device)).expect("it is there");
        kicks.tell_manager(&path);
        let heard = || {
            let mut room = [0; 256];
            let length = socket.recv(&mut room).expect("a message");
            String::from_utf8_lossy(&room[..length]).into_owned()
        };
        kicks.kick(7);
        let first = heard();
        assert!(first.starts_with("READY=1\nWATCHDOG=1\n"), "{first}");
        assert!(first.ends_with("X_HOLDPOINT_SEQ=7"), "{first}");
        kicks.kick(8);
        assert!(heard().starts_with("WATCHDOG=1\n"), "ready is said once");
        let mut dropped = Kicks::open(Some(&device)).expect("it is there");
        dropped.kick(1);
        drop(dropped);
        assert!(!std::fs::read_to_string(&device).expect("text").contains('V'));
        kicks.end();
        assert_eq!(heard(), "STOPPING=1");
        assert!(std::fs::read_to_string(&device).expect("text").ends_with('V'));
    }
}
