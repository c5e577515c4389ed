//! Logging of the roles: to standard error, for people or as JSON lines.
//!
//! Invariant: standard output carries data only, so a log line is never part of a result.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

use crate::cli::LogFormat;

/// What is logged when `RUST_LOG` does not say otherwise.
const FILTER_DEFAULT: &str = "info,hyper=warn,h2=warn,sqlx=warn,reqwest=warn";

/// Sets the process's log up. A second call changes nothing.
pub fn start(format: LogFormat) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let builder = fmt().with_env_filter(filter).with_writer(io::stderr);
    // A second subscriber is refused; the first one keeps logging, which is all that is wanted.
    drop(match format {
        LogFormat::Human => builder.with_ansi(colour()).with_target(false).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    });
}

/// Whether standard error takes colour: a terminal, and `NO_COLOR` is not set.
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
