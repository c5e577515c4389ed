//! Requests in a file, as the reference collector's file exporter writes them, so that its
//! receivers read them back.
//!
//! | format | is |
//! |---|---|
//! | `json` | a request in OTLP/JSON a line |
//! | `proto` | requests in protobuf, each after its length in four bytes, the highest first |
//!
//! A file that would grow beyond its limit becomes `NAME.1`, what was `NAME.1` becomes `NAME.2`,
//! and so on; the oldest goes. What is written is the system's to bring to the disk: it survives
//! the end of the collector, not the loss of power.
//!
//! Invariant: a request is in the file whole or not at all. A write that failed is taken back.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::jsonl;
use crate::config::{ExporterConfig, FileFormat};
use crate::kind::Kind;
use crate::otlp;

/// Appends to one file.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    format: FileFormat,
    rotate_bytes: u64,
    rotate_files: u32,
    /// The file and its length; `None` after a failure, until it can be opened again.
    open: Mutex<Option<(File, u64)>>,
}

impl Appender {
    /// # Errors
    /// Why the file cannot be written.
    pub(super) fn new(config: &ExporterConfig) -> Result<Self, String> {
        let path = config.path.clone().ok_or("`path` of a file exporter is missing")?;
        let open = open(&path, config.format).map_err(|error| say("open", &path, &error))?;
        Ok(Self {
            path,
            format: config.format,
            rotate_bytes: config.rotate_bytes,
            rotate_files: config.rotate_files,
            open: Mutex::new(Some(open)),
        })
    }

    /// Appends a request. Blocks.
    pub(super) fn append(&self, kind: Kind, body: &[u8]) -> Result<(), String> {
        let record = self.record(kind, body)?;
        let length = record.len() as u64;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over =
            |size: u64| self.rotate_bytes > 0 && size > 0 && size + length > self.rotate_bytes;
        if open.as_ref().is_some_and(|(_, size)| is_over(*size)) {
            *open = None;
            self.rotate().map_err(|error| say("rotate", &self.path, &error))?;
        }
        let (file, size) = match open.take() {
            Some(open) => open,
            None => self::open(&self.path, self.format)
                .map_err(|error| say("open", &self.path, &error))?,
        };
        if let Err(error) = (&file).write_all(&record) {
            // If that fails too, opening it again ends the broken line.
            let _ = file.set_len(size);
            return Err(say("write", &self.path, &error));
        }
        *open = Some((file, size + length));
        Ok(())
    }

    fn record(&self, kind: Kind, body: &[u8]) -> Result<Vec<u8>, String> {
        match (self.format, kind) {
            (FileFormat::Json, Kind::Tallied(signal)) => {
                let mut line = Vec::with_capacity(body.len() * 3);
                jsonl::write(otlp::request(signal), body, &mut line)
                    .map_err(|error| format!("write as JSON: {error}"))?;
                line.push(b'\n');
                Ok(line)
            }
            (FileFormat::Json, Kind::Profiles) => Err("profiles have no JSON".to_owned()),
            (FileFormat::Proto, _) => {
                let length = u32::try_from(body.len()).expect("requests are limited to 1 GiB");
                Ok([&length.to_be_bytes(), body].concat())
            }
        }
    }

    fn rotate(&self) -> io::Result<()> {
        if self.rotate_files == 0 {
            return fs::remove_file(&self.path);
        }
        for n in (1..self.rotate_files).rev() {
            match fs::rename(numbered(&self.path, n), numbered(&self.path, n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, numbered(&self.path, 1))
    }
}

fn numbered(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// Opens the file at its end. A line that a crash or a full disk left without its end is ended, so
/// that the next one is whole.
fn open(path: &Path, format: FileFormat) -> io::Result<(File, u64)> {
    let mut options = OpenOptions::new();
    // Telemetry may hold what not everybody on the machine should read.
    let mut file = options.read(true).append(true).create(true).mode(0o600).open(path)?;
    let mut size = file.metadata()?.len();
    if format == FileFormat::Json && size > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            file.write_all(b"\n")?;
            size += 1;
        }
    }
    Ok((file, size))
}

fn say(what: &str, path: &Path, error: &io::Error) -> String {
    format!("{what} {}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use watchdog_core::tally::Signal;

    use super::*;
    use crate::config::ExporterKind;
    use crate::samples;

    fn appender(folder: &Path, config: ExporterConfig) -> Appender {
        let path = Some(folder.join("traces"));
        let config = ExporterConfig { kind: ExporterKind::File, path, ..config };
        Appender::new(&config).expect("a file")
    }

    #[test]
    fn a_file_is_renamed_before_it_grows_too_big_and_the_oldest_goes() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = ExporterConfig {
            format: FileFormat::Proto,
            rotate_bytes: 250,
            rotate_files: 2,
            ..ExporterConfig::default()
        };
        let file = appender(folder.path(), config);
        for n in 1..=7 {
            file.append(Kind::Profiles, &[n; 100]).expect("written");
        }
        let first = |name: &str| fs::read(folder.path().join(name)).map(|bytes| bytes[4]).ok();
        assert_eq!(first("traces"), Some(7));
        assert_eq!(first("traces.1"), Some(5));
        assert_eq!(first("traces.2"), Some(3));
        assert_eq!(first("traces.3"), None);
        let one = fs::read(folder.path().join("traces.1")).expect("there");
        assert_eq!(
            one,
            [[&[0, 0, 0, 100][..], &[5; 100]], [&[0, 0, 0, 100], &[6; 100]]].concat().concat()
        );
    }

    #[test]
    fn a_broken_line_is_ended_and_what_follows_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("traces"), "{\"resourceSp").expect("written");
        let file = appender(folder.path(), ExporterConfig::default());
        file.append(Kind::Tallied(Signal::Traces), &samples::full(Signal::Traces))
            .expect("written");
        let text = fs::read_to_string(folder.path().join("traces")).expect("text");
        let lines: Vec<_> = text.lines().collect();
        assert_eq!((lines.len(), lines[0]), (2, "{\"resourceSp"));
        assert!(serde_json::from_str::<serde_json::Value>(lines[1]).is_ok());
    }
}
