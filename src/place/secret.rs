//! Keys and tokens: made once at first start, read ever after.
//!
//! Invariant: a secret that exists is never replaced. A file that cannot be understood stops the
//! start, because a new key in its place would silently orphan every signature made with the old.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use watchdog_core::names::Service;

use super::{Place, PlaceError, write_new};
use crate::driver;

/// The roles a token file is made for at first start.
pub const TOKEN_ROLES: [&str; 4] = ["operator", "agent", "viewer", "watchdog"];

/// The name of the watchdog that shares the gate's data directory.
const LOCAL: &str = "local";

/// How a token begins, so that a leaked one can be found by a scanner.
const TOKEN_PREFIX: &str = "hpt_";

impl Place {
    /// The Ed25519 seed that signs attestations or permits; writes the public key beside it.
    ///
    /// # Errors
    /// [`PlaceError`] if the key can neither be read nor made.
    pub fn signing_key(&self, name: &str) -> Result<[u8; 32], PlaceError> {
        let seed = self.key(name)?;
        let public = hex::encode(SigningKey::from_bytes(&seed).verifying_key().as_bytes());
        let path = self.root.join(format!("keys/{name}.pub"));
        if fs::read_to_string(&path).ok().is_none_or(|text| text.trim() != public) {
            self.replace(&path, format!("{public}\n").as_bytes())?;
        }
        Ok(seed)
    }

    /// The public half of [`Self::signing_key`].
    ///
    /// # Errors
    /// [`PlaceError`] if the key can neither be read nor made.
    pub fn public_key(&self, name: &str) -> Result<[u8; 32], PlaceError> {
        Ok(SigningKey::from_bytes(&self.signing_key(name)?).verifying_key().to_bytes())
    }

    /// The public keys of the watchdogs the gate listens to, by name: the one that shares this
    /// directory, and those whose `keys/watchdogs/NAME.pub` an operator put here.
    ///
    /// # Errors
    /// [`PlaceError`] if a key can neither be read nor made.
    pub fn watchdog_keys(&self) -> Result<BTreeMap<String, [u8; 32]>, PlaceError> {
        let mut keys = BTreeMap::from([(LOCAL.to_owned(), self.public_key("watchdog")?)]);
        let entries =
            fs::read_dir(self.root.join("keys/watchdogs")).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some(name) = name.strip_suffix(".pub").map(str::to_owned) else { continue };
            let text = fs::read_to_string(&path)
                .map_err(|source| PlaceError::Read { path: path.clone(), source })?;
            let bytes = hex::decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
            let key = bytes.ok_or(PlaceError::Malformed { path, expected: "64 hex digits" })?;
            keys.insert(name, key);
        }
        Ok(keys)
    }

    /// 32 random bytes under `keys/NAME.key`.
    ///
    /// # Errors
    /// [`PlaceError`] if the key can neither be read nor made.
    pub fn key(&self, name: &str) -> Result<[u8; 32], PlaceError> {
        let path = self.root.join(format!("keys/{name}.key"));
        let text = read_or_make(&path, || Ok(hex::encode(driver::random::<32>()?)))?;
        let bytes = hex::decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or(PlaceError::Malformed { path, expected: "64 hex digits" })
    }

    /// The HMAC key of a service's beats; `None` if it has none. A file that cannot be
    /// understood reads as an empty key, so that no beat of that service counts, rather than as
    /// no key, with which unsigned beats would.
    #[must_use]
    pub fn beat_key(&self, service: &Service) -> Option<Vec<u8>> {
        let name = service.as_str().replace('%', "%25").replace('/', "%2F");
        let path = self.root.join(format!("keys/beats/{name}.key"));
        match fs::read_to_string(&path) {
            Ok(text) => Some(hex::decode(text.trim()).unwrap_or_else(|_| unknown_key(&path))),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(_) => Some(unknown_key(&path)),
        }
    }

    #[must_use]
    pub fn token_path(&self, role: &str) -> PathBuf {
        self.root.join(format!("tokens/{role}.token"))
    }

    /// The bearer tokens of all roles, made where they are missing.
    ///
    /// # Errors
    /// [`PlaceError`] if a token can neither be read nor made.
    pub fn tokens(&self) -> Result<BTreeMap<&'static str, String>, PlaceError> {
        TOKEN_ROLES
            .into_iter()
            .map(|role| {
                let make = || Ok(format!("{TOKEN_PREFIX}{}", hex::encode(driver::random::<32>()?)));
                Ok((role, read_or_make(&self.token_path(role), make)?))
            })
            .collect()
    }

    /// The token of `role` as it stands in its file.
    ///
    /// # Errors
    /// [`PlaceError::Read`] if there is none to read.
    pub fn token(&self, role: &str) -> Result<String, PlaceError> {
        let path = self.token_path(role);
        let text = fs::read_to_string(&path);
        Ok(text.map_err(|source| PlaceError::Read { path, source })?.trim().to_owned())
    }
}

/// A key nobody knows: random bytes, so that no signature fits.
fn unknown_key(path: &Path) -> Vec<u8> {
    tracing::error!(path = %path.display(), "beat key is not hex; its beats are refused");
    driver::random::<32>().expect("the generator that made the other keys still works").to_vec()
}

fn read_or_make(
    path: &Path,
    make: impl FnOnce() -> std::io::Result<String>,
) -> Result<String, PlaceError> {
    let read = || fs::read_to_string(path).map(|text| text.trim().to_owned());
    match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return read.map_err(|source| PlaceError::Read { path: path.to_owned(), source }),
    }
    let text = make().map_err(|source| PlaceError::Random { path: path.to_owned(), source })?;
    match publish(path, &text) {
        // Two roles start at once; the first to write wins and both read what it wrote.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read().map_err(|source| PlaceError::Read { path: path.to_owned(), source })
        }
        done => done
            .map(|()| text)
            .map_err(|source| PlaceError::Write { path: path.to_owned(), source }),
    }
}

/// Writes beside `path` and links it there, so that a reader never sees half a secret and an
/// existing one is never replaced.
fn publish(path: &Path, text: &str) -> std::io::Result<()> {
    let fresh = path.with_extension(format!("new.{}", hex::encode(driver::random::<8>()?)));
    write_new(&fresh, format!("{text}\n").as_bytes())?;
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh)?;
    linked
}
