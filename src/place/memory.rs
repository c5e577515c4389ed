//! `services.json`: what the watchdog has learnt of services and must not forget.
//!
//! A person may take a service out of it while the watchdog is stopped; nothing else ever does.
//!
//! Invariant: a file that cannot be read is put aside and said aloud, never silently replaced: it
//! names services whose silence must not go unnoticed.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use watchdog_core::watch::Remembered;

use super::{Place, PlaceError};

/// The form of the file.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    version: u32,
    services: Vec<Remembered>,
}

impl Place {
    fn memory_path(&self) -> PathBuf {
        self.root.join("services.json")
    }

    /// What was kept; nothing if nothing was.
    ///
    /// # Errors
    /// [`PlaceError`] if the file is there and cannot be read. One that holds something else is
    /// put aside as `services.json.damaged`, with an error line.
    pub fn recall_services(&self) -> Result<Vec<Remembered>, PlaceError> {
        let path = self.memory_path();
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(PlaceError::Read { path, source }),
        };
        match serde_json::from_slice::<Memory>(&text) {
            Ok(Memory { version: VERSION, services }) => Ok(services),
            Ok(_) | Err(_) => {
                let aside = path.with_extension("json.damaged");
                tracing::error!(
                    path = %path.display(),
                    aside = %aside.display(),
                    "what was known of services cannot be read and is put aside; services that are \
                     silent since before this start are not known"
                );
                fs::rename(&path, &aside)
                    .map_err(|source| PlaceError::Write { path: aside, source })?;
                Ok(Vec::new())
            }
        }
    }

    /// Keeps `services` in place of what was kept before.
    ///
    /// # Errors
    /// [`PlaceError::Write`].
    pub fn keep_services(&self, services: &[Remembered]) -> Result<(), PlaceError> {
        let memory = Memory { version: VERSION, services: services.to_vec() };
        let text = serde_json::to_vec_pretty(&memory).expect("names and signals are JSON");
        self.replace(&self.memory_path(), &text)
    }
}
