//! What the fence at a target keeps: the highest epoch it took, all freezes it heard of, and which
//! steps it ran.
//!
//! ```text
//! FENCE/TARGET.json   sha256=… newline, then the state     replaced whole: written aside, synced,
//!                                                          renamed, the directory synced
//! FENCE/TARGET.lock   held while a command runs            one apply at a time
//! FENCE/TARGET.edit   held while the file is changed       between an apply and `holdpoint fence`
//! ```
//!
//! Invariant: the epoch only grows, a freeze leaves only by a thaw its gate signed, and both are on
//! disk before anything is done under them. A file that is damaged is not guessed at: nothing is
//! applied until a person has looked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use agent_gate::permit::{Payload, Statement};
use agent_gate_core::freeze_set::FreezeSet;
use agent_gate_core::ids::{AgentName, Epoch};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use watchdog_core::names::{Environment, Service};

use super::runs::Runs;
use crate::driver::Clocks;

const HEAD: &str = "sha256=";

/// What stands between the fence and its file.
#[derive(Debug, thiserror::Error)]
pub enum FenceError {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error(
        "{path} is damaged ({what}), so nothing is applied here; move it aside when you know that \
         no command of an old permit is still under way: the fence then asks the gate for every \
         freeze before it applies anything"
    )]
    Damaged { path: PathBuf, what: String },
    #[error("another apply is at work at this target ({path} is held)")]
    Busy { path: PathBuf },
    #[error("this fence stands at {kept}, and was told to stand at {asked}")]
    Other { kept: String, asked: String },
}

/// Why a permit or a statement is no good here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    #[error("the permit's epoch {given} is older than {highest}, the highest taken here")]
    OldEpoch { given: u64, highest: u64 },
    #[error("{why}")]
    Barred { why: String, is_final: bool },
    #[error("the permit does not say what it is for: {0}")]
    Name(String),
    #[error(
        "the gate tells of {told} freezes and told of {known} before: it has forgotten some, as \
         after a restored backup. Freeze the fleet at the gate until it is past them"
    )]
    Forgetful { told: u64, known: u64 },
}

/// See the module's head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub service: String,
    /// The highest epoch of a permit that was taken.
    pub highest: u64,
    /// The epoch of the newest statement; `None` before the gate was ever heard.
    pub told: Option<u64>,
    pub freezes: FreezeSet,
    /// The latest time that was ever seen, by this machine's wall clock.
    pub wall_ms: u64,
    pub runs: Runs,
}

impl Kept {
    /// Whether `permit` may be used here at all, as far as is known.
    ///
    /// # Errors
    /// [`Unfit`] with the reason why not.
    pub fn check(&self, permit: &Payload) -> Result<(), Unfit> {
        if permit.epoch < self.highest {
            return Err(Unfit::OldEpoch { given: permit.epoch, highest: self.highest });
        }
        let name = |error: watchdog_core::names::NameError| Unfit::Name(error.to_string());
        let service = Service::new(permit.service.as_str()).map_err(name)?;
        let environment = Environment::new(permit.environment.as_str()).map_err(name)?;
        let agent = AgentName::new(permit.agent.as_str()).map_err(name)?;
        let (epoch, freezes) = (Epoch(permit.epoch), &self.freezes);
        let is_final = freezes.fences_off(&service, &environment, &agent, epoch).is_some();
        match freezes.bars(&service, &environment, &agent, epoch) {
            Some(barred) => Err(Unfit::Barred { why: barred.to_string(), is_final }),
            None => Ok(()),
        }
    }

    /// Takes in what the gate states.
    ///
    /// # Errors
    /// [`Unfit::Forgetful`] if the gate knows less than it did.
    pub fn hear(&mut self, statement: &Statement) -> Result<(), Unfit> {
        let seen = |set: &FreezeSet| set.seen(&statement.origin);
        if let (Some(told), Some(known)) = (seen(&statement.freezes), seen(&self.freezes))
            && told < known
        {
            return Err(Unfit::Forgetful { told, known });
        }
        self.freezes.join(&statement.freezes);
        self.told = self.told.max(Some(statement.epoch));
        Ok(())
    }
}

/// A fence's file. Its run lock is taken separately.
#[derive(Debug, Clone)]
pub struct Fence {
    directory: PathBuf,
    target: String,
    service: String,
}

/// Held while a command runs.
#[derive(Debug)]
pub struct RunLock(#[expect(dead_code, reason = "dropping it is what releases the lock")] File);

impl Fence {
    /// The fence of `target` in `directory`, which is made if it is missing.
    ///
    /// # Errors
    /// [`FenceError`] if it cannot be made, or stands at another service.
    pub fn open(directory: &Path, target: &str, service: &str) -> Result<Self, FenceError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| FenceError::File { path: directory.to_owned(), source })?;
        let target = target.replace('%', "%25").replace('/', "%2F");
        let fence = Self { directory: directory.to_owned(), target, service: service.to_owned() };
        fence.read()?;
        Ok(fence)
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.join(format!("{}.{ending}", self.target))
    }

    /// Takes the right to run a command here.
    ///
    /// # Errors
    /// [`FenceError::Busy`] if another process has it.
    pub fn lock(&self) -> Result<RunLock, FenceError> {
        let (path, file) = self.open_lock("lock")?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(RunLock(file)),
            Err(Errno::WOULDBLOCK) => Err(FenceError::Busy { path }),
            Err(errno) => Err(FenceError::File { path, source: errno.into() }),
        }
    }

    fn open_lock(&self, ending: &str) -> Result<(PathBuf, File), FenceError> {
        let path = self.path(ending);
        let opened =
            OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(|source| FenceError::File { path: path.clone(), source })?;
        Ok((path, file))
    }

    /// What is kept.
    ///
    /// # Errors
    /// [`FenceError`] if the file cannot be read or is damaged.
    pub fn read(&self) -> Result<Kept, FenceError> {
        let path = self.path("json");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Kept { service: self.service.clone(), ..Kept::default() });
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(FenceError::Damaged { path, what: "it is not text".to_owned() });
            }
            Err(source) => return Err(FenceError::File { path, source }),
        };
        let kept = parse(&text).map_err(|what| FenceError::Damaged { path, what })?;
        if kept.service != self.service {
            let (kept, asked) = (kept.service, self.service.clone());
            return Err(FenceError::Other { kept, asked });
        }
        Ok(kept)
    }

    /// Changes what is kept. When this returns the change is on disk, or nothing changed.
    ///
    /// # Errors
    /// [`FenceError`] if the file cannot be read or written.
    pub fn change<T>(
        &self,
        now: Clocks,
        change: impl FnOnce(&mut Kept) -> T,
    ) -> Result<(Kept, T), FenceError> {
        let (path, edit) = self.open_lock("edit")?;
        flock(&edit, FlockOperation::LockExclusive)
            .map_err(|errno| FenceError::File { path, source: errno.into() })?;
        let before = self.read()?;
        let mut kept = before.clone();
        let done = change(&mut kept);
        let is_same = kept == before;
        kept.wall_ms = kept.wall_ms.max(now.wall_ms);
        if !is_same {
            self.write(&kept)?;
        }
        Ok((kept, done))
    }

    fn write(&self, kept: &Kept) -> Result<(), FenceError> {
        let path = self.path("json");
        let fresh = self.path("new");
        let body = serde_json::to_string(kept).expect("texts and numbers are JSON");
        let text = format!("{HEAD}{}\n{body}\n", hex::encode(Sha256::digest(&body)));
        let written = || -> io::Result<()> {
            let mut file = OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        written().map_err(|source| FenceError::File { path, source })
    }
}

fn parse(text: &str) -> Result<Kept, String> {
    let (head, body) = text.split_once('\n').ok_or("it breaks off")?;
    let body = body.strip_suffix('\n').ok_or("it breaks off")?;
    let sum = head.strip_prefix(HEAD).ok_or("it has no checksum")?;
    if hex::encode(Sha256::digest(body)) != sum {
        return Err("its checksum does not hold".to_owned());
    }
    serde_json::from_str(body).map_err(|error| error.to_string())
}
