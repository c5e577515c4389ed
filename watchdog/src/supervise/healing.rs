//! Carrying out the cure: which configuration a start takes, what is kept as known good, and the
//! spool that is put aside.
//!
//! The collector says which configuration is in force (`GET /v1/config`), so that a file that
//! changes under it, or that it rejected, is never taken for the one that was proven. The copy is
//! made from the file only while its hash is that one.
//!
//! Invariant: the kept copy is replaced whole (a temporary file and a rename), and one whose hash
//! is not the noted one is not used.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::{error, info, warn};
use watchdog_core::tick::Tick;
use watchdog_core::watch::{Event, Remark};

use super::cure::{Cure, Fall, Hash, Remedy, Source};
use crate::inbox::Inbox;
use crate::metrics::Metrics;
use crate::wiring::{CollectorPlace, Healing, Supervise};

/// How long the collector has to say which configuration is in force.
const TIMEOUT: Duration = Duration::from_millis(300);

/// What stands beside the kept copy.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Note {
    /// SHA-256 of the kept copy.
    sha256: Option<Hash>,
    /// The configuration that fell last, and is not tried again as it is.
    condemned: Option<Hash>,
}

/// The collector's word on what is in force.
#[derive(Debug, Deserialize)]
struct InForce {
    sha256: Hash,
    file: Option<String>,
}

/// The cure, with its files.
#[derive(Debug)]
pub struct Healer {
    cure: Cure,
    files: Option<Healing>,
    dwell_ms: u64,
    client: reqwest::Client,
    metrics: Metrics,
    inbox: Arc<Inbox>,
    on_known_good: bool,
    /// What a changed file was seen as last; it is taken when it stands still.
    changing: Option<Hash>,
}

impl Healer {
    /// Reads what an earlier watchdog kept.
    pub fn new(files: Option<Healing>, dwell_ms: u64, metrics: Metrics, inbox: Arc<Inbox>) -> Self {
        let note = files.as_ref().and_then(recalled);
        let cure = match note {
            Some(Note { sha256, condemned }) => Cure::recalled(sha256, condemned),
            None => Cure::default(),
        };
        let client = crate::client::new(TIMEOUT);
        let on_known_good = false;
        Self { cure, files, dwell_ms, client, metrics, inbox, on_known_good, changing: None }
    }

    /// The command of the next start.
    pub fn command(&mut self, own: &Supervise) -> Supervise {
        let Some(files) = self.files.clone() else { return own.clone() };
        let hash = hash_of(&files.config_file);
        match (self.cure.source(&hash), self.cure.known_good().cloned()) {
            (Source::KnownGood, Some(known_good)) => {
                self.cure.starts(known_good);
                self.takes_known_good(true);
                Supervise { argv: files.known_good_argv, ..own.clone() }
            }
            (Source::KnownGood, None) | (Source::Own, _) => {
                self.cure.starts(hash);
                self.takes_known_good(false);
                own.clone()
            }
        }
    }

    fn remark(&self, remark: Remark, on: bool) {
        self.inbox.put(Event::CollectorTended { remark, on });
    }

    fn takes_known_good(&mut self, known_good: bool) {
        if self.on_known_good != known_good {
            self.remark(Remark::OnKnownGood, known_good);
        }
        self.on_known_good = known_good;
        self.metrics.on_known_good(known_good);
    }

    /// Probes do not return: nothing is proven.
    pub const fn lost(&mut self) {
        self.cure.lost();
    }

    /// Asks what is in force and takes note of it, with whether probes return. What a dwell has
    /// proven is kept.
    pub async fn look(&mut self, place: &CollectorPlace, returning: bool, now: Tick) {
        let Some(files) = self.files.clone() else { return };
        let Some(InForce { sha256: hash, file }) = self.in_force(place).await else { return };
        self.takes_known_good(file.is_some_and(|file| Path::new(&file) == files.known_good));
        let before = self.cure.known_good().cloned();
        if self.cure.look(&hash, returning, self.dwell_ms, now).is_none() {
            return;
        }
        match keep(&files, &hash) {
            Ok(()) => {
                self.note(&files);
                info!(sha256 = hash, "the configuration is proven and kept as known good");
            }
            Err(error) => {
                // It is tried again at the next look, for it is not known good without its copy.
                self.cure = Cure::recalled(before, self.cure.condemned().cloned());
                warn!(%error, "the configuration is proven, and no copy of it can be kept");
            }
        }
    }

    async fn in_force(&self, place: &CollectorPlace) -> Option<InForce> {
        let url = format!("http://{}/v1/config", place.admin);
        let answer = self.client.get(url).send().await.ok()?;
        let body = answer.bytes().await.ok()?;
        serde_json::from_slice(&body).ok()
    }

    /// Whether the fall of what is in force would be healed by another configuration. Asked when
    /// probes are lost, so what is in force is looked up anew.
    pub async fn would_heal(&mut self, place: Option<&CollectorPlace>, now: Tick) -> bool {
        if let Some(place) = place {
            self.look(place, false, now).await;
        }
        self.files.is_some() && self.cure.may_blame_config()
    }

    /// Does what is to be done before the next start.
    pub fn fell(&mut self, how: Fall) {
        match self.cure.fell(how) {
            Remedy::Again => {}
            Remedy::KnownGood => {
                let (condemned, good) = (self.cure.condemned(), self.cure.known_good());
                error!(
                    ?how,
                    condemned,
                    good,
                    "the collector falls with this configuration and goes back to the last one \
                     that was proven; mend the file, and it is tried again"
                );
                self.metrics.fell_back();
                if let Some(files) = self.files.clone() {
                    self.note(&files);
                }
            }
            Remedy::QuarantineSpool => self.quarantine(),
        }
    }

    fn quarantine(&self) {
        let Some(files) = &self.files else { return };
        match (files.quarantine)() {
            Ok(0) => {}
            Ok(moved) => {
                self.metrics.quarantined();
                self.remark(Remark::SpoolAside, true);
                error!(
                    moved,
                    "the collector dies again and again; what waited in its spool is put aside \
                     in spool/quarantine, and a person must look"
                );
            }
            Err(error) => error!(%error, "the spool cannot be put aside"),
        }
    }

    /// Whether people have written another file since theirs was condemned, and it stands still.
    /// `given_up`: nothing runs, and any other file than the last one is worth a try.
    pub fn is_mended(&mut self, given_up: bool) -> bool {
        let Some(files) = self.files.as_ref().filter(|_| given_up || self.on_known_good) else {
            return false;
        };
        let hash = hash_of(&files.config_file);
        let tried = [self.cure.condemned(), self.cure.in_force()];
        let stands = self.changing.as_ref() == Some(&hash);
        let mended = stands && !tried.contains(&Some(&hash));
        self.changing = Some(hash);
        mended
    }

    fn note(&self, files: &Healing) {
        let (sha256, condemned) = (self.cure.known_good().cloned(), self.cure.condemned().cloned());
        let note = serde_json::to_vec(&Note { sha256, condemned }).expect("two texts are JSON");
        if let Err(error) = write(&note_path(&files.known_good), &note) {
            warn!(%error, "what is known of configurations is not kept");
        }
    }
}

fn note_path(known_good: &Path) -> std::path::PathBuf {
    known_good.with_extension("json")
}

/// A file that is not there says nothing: the defaults hold.
fn text_of(path: &Path) -> io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read,
    }
}

fn hash(text: &[u8]) -> Hash {
    hex::encode(Sha256::digest(text))
}

/// The hash of a file; one that cannot be read is like none that was ever proven.
fn hash_of(path: &Path) -> Hash {
    text_of(path).map_or_else(|error| format!("unreadable: {error}"), |text| hash(&text))
}

fn recalled(files: &Healing) -> Option<Note> {
    let text = std::fs::read(note_path(&files.known_good)).ok()?;
    let note: Note = serde_json::from_slice(&text).ok()?;
    let is_whole = note.sha256.as_ref().is_none_or(|kept| *kept == hash_of(&files.known_good));
    if !is_whole {
        let path = files.known_good.display();
        error!(%path, "the known good configuration is damaged and is not used");
        return Some(Note { sha256: None, ..note });
    }
    Some(note)
}

/// Copies the file of people, if it is what was proven.
fn keep(files: &Healing, proven: &Hash) -> io::Result<()> {
    let text = text_of(&files.config_file)?;
    if hash(&text) != *proven {
        return Err(io::Error::other("the file has changed since; what is in force is not in it"));
    }
    write(&files.known_good, &text)
}

/// Writes a file that only we may read, whole or not at all.
fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(dir: &Path) -> Healing {
        Healing {
            config_file: dir.join("own.toml"),
            known_good: dir.join("known-good.toml"),
            known_good_argv: vec!["collector".into(), "known-good".into()],
            quarantine: Arc::new(|| Ok(0)),
        }
    }

    fn own() -> Supervise {
        Supervise { program: "/bin/true".into(), argv: vec!["collector".into()], env: Vec::new() }
    }

    #[test]
    fn what_was_proven_is_kept_over_a_restart_of_the_watchdog_and_damage_is_not_used() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        std::fs::write(&files.config_file, "good").expect("written");
        let good = hash(b"good");
        keep(&files, &good).expect("it is what was proven");
        let mut healer = Healer::new(Some(files.clone()), 1, Metrics::default(), Arc::default());
        healer.cure = Cure::recalled(Some(good.clone()), Some(hash(b"bad")));
        healer.note(&files);
        std::fs::write(&files.config_file, "bad").expect("written");
        let mut next = Healer::new(Some(files.clone()), 1, Metrics::default(), Arc::default());
        assert_eq!(next.command(&own()).argv, files.known_good_argv);
        std::fs::write(&files.config_file, "mended").expect("written");
        assert_eq!(next.command(&own()).argv, own().argv);
        std::fs::write(&files.known_good, "damaged").expect("written");
        std::fs::write(&files.config_file, "bad").expect("written");
        let mut next = Healer::new(Some(files), 1, Metrics::default(), Arc::default());
        assert_eq!(next.command(&own()).argv, own().argv, "there is nothing good to go back to");
    }

    #[test]
    fn a_file_that_changed_after_it_was_proven_is_not_kept() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        std::fs::write(&files.config_file, "new").expect("written");
        assert!(keep(&files, &hash(b"proven")).is_err());
        assert!(!files.known_good.exists());
    }

    #[test]
    fn a_mended_file_is_taken_when_it_stands_still() {
        let dir = tempfile::tempdir().expect("a folder");
        let files = files(dir.path());
        std::fs::write(&files.config_file, "bad").expect("written");
        let mut healer = Healer::new(Some(files.clone()), 1, Metrics::default(), Arc::default());
        assert!(!healer.is_mended(false), "it does not run on the known good one");
        healer.cure = Cure::recalled(Some(hash(b"good")), Some(hash(b"bad")));
        assert_eq!(healer.command(&own()).argv, files.known_good_argv);
        assert!(!healer.is_mended(false));
        assert!(!healer.is_mended(false), "it is what fell");
        std::fs::write(&files.config_file, "mended").expect("written");
        assert!(!healer.is_mended(false), "it may still be being written");
        assert!(healer.is_mended(false));
        assert_eq!(healer.command(&own()).argv, own().argv);
    }
}
