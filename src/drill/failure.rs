//! Why the drill could not be run to its end. A check that does not hold is not among these: it
//! is a result.

use std::io;
use std::time::Duration;

use reqwest::StatusCode;

#[derive(Debug, thiserror::Error)]
pub enum DrillError {
    #[error("run drill: {what}: {source}")]
    System { what: String, source: io::Error },
    #[error("run drill: {what}: {source}")]
    Unreachable { what: String, source: reqwest::Error },
    #[error("run drill: {what}: {status}: {body}")]
    Refused { what: String, status: StatusCode, body: String },
    #[error("run drill: {what} is not there after {} s\n{last_words}", after.as_secs())]
    Late { what: String, after: Duration, last_words: String },
    #[error("run drill: {what} ended ({status})\n{last_words}")]
    Ended { what: String, status: String, last_words: String },
    #[error("run drill: write the configuration: {0}")]
    Configuration(#[from] toml::ser::Error),
    #[error("drill interrupted; all its processes have ended")]
    Interrupted,
}

impl DrillError {
    /// For `map_err`: a system call that failed while doing `what`.
    pub fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what: what.into(), source }
    }

    /// For `map_err`: an HTTP exchange that failed while doing `what`.
    pub fn unreachable(what: impl Into<String>) -> impl FnOnce(reqwest::Error) -> Self {
        move |source| Self::Unreachable { what: what.into(), source }
    }
}
