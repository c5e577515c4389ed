//! The headers that go with every request to one backend, some of them secrets from files.
//!
//! Invariant: a value is marked sensitive, so that no library prints it; a file that becomes
//! unreadable leaves its last good value in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{HeaderName, HeaderValue};
use tokio::task::spawn_blocking;
use tracing::{info, warn};
use watchdog_core::tick::Tick;

use crate::config::{ExporterConfig, HeaderSource};
use crate::driver;
use front_door::Stamp;

/// How often the files are looked at, while requests go out.
const LOOK_EVERY_MS: u64 = 1_000;

/// Headers with their present values.
#[derive(Debug)]
pub(super) struct Headers {
    values: Mutex<Arc<[(HeaderName, HeaderValue)]>>,
    files: Mutex<Files>,
}

#[derive(Debug, Clone)]
struct Files {
    looked: Tick,
    files: Vec<Watched>,
}

/// The header at `place` comes from this file.
#[derive(Debug, Clone)]
struct Watched {
    place: usize,
    path: PathBuf,
    stamp: Stamp,
}

impl Headers {
    /// Reads the values of the headers of `config`.
    ///
    /// # Errors
    /// Which of them has none, or one that cannot be sent.
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, String> {
        let (mut values, mut files) = (Vec::new(), Vec::new());
        for (name, source) in &config.headers {
            let header =
                HeaderName::try_from(name).map_err(|_| format!("`{name}` is not a header name"))?;
            let value = match source {
                HeaderSource::Text(text) => value(name, text)?,
                HeaderSource::Env(source) => {
                    let text = std::env::var(&source.env)
                        .map_err(|error| format!("header `{name}`: {}: {error}", source.env))?;
                    value(name, &text)?
                }
                HeaderSource::File(source) => {
                    let path = source.file.clone();
                    files.push(Watched { place: values.len(), stamp: Stamp::of(&path), path });
                    read(name, &source.file)?
                }
            };
            values.push((header, value));
        }
        let files = Files { looked: driver::now(), files };
        Ok(Self { values: Mutex::new(values.into()), files: Mutex::new(files) })
    }

    /// The values for a request that is sent now.
    pub(super) async fn now(self: &Arc<Self>) -> Arc<[(HeaderName, HeaderValue)]> {
        let is_due = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            let now = driver::now();
            let is_due = !files.files.is_empty() && now.since_ms(files.looked) >= LOOK_EVERY_MS;
            if is_due {
                files.looked = now;
            }
            is_due
        };
        if is_due {
            let headers = Arc::clone(self);
            // Only the end of the runtime leaves it undone; the values in force remain.
            let _ = spawn_blocking(move || headers.refresh()).await;
        }
        Arc::clone(&self.values.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn refresh(&self) {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        for file in &mut files.files {
            let stamp = Stamp::of(&file.path);
            if stamp == file.stamp {
                continue;
            }
            file.stamp = stamp;
            let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
            let mut changed = values.to_vec();
            let (name, old) = &mut changed[file.place];
            match read(name.as_str(), &file.path) {
                Ok(new) => {
                    info!(header = name.as_str(), file = %file.path.display(), "read again");
                    *old = new;
                    *values = changed.into();
                }
                Err(why) => warn!(why, "the last value of a header stays in force"),
            }
        }
    }
}

fn read(name: &str, path: &Path) -> Result<HeaderValue, String> {
    let text = fs::read_to_string(path)
        .map_err(|error| format!("header `{name}`: read {}: {error}", path.display()))?;
    value(name, text.trim_end_matches(['\r', '\n']))
}

fn value(name: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| format!("the value of `{name}` is not a header value"))?;
    value.set_sensitive(true);
    Ok(value)
}
