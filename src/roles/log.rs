//! Logging of the roles: to standard error, for people or as JSON lines.
//!
//! Invariant: standard output carries data only, so a log line is never part of a result.

use std::io::{self, IsTerminal};

use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

use crate::cli::LogFormat;

/// What is logged when `RUST_LOG` does not say otherwise.
const FILTER_DEFAULT: &str = "info,hyper=warn,h2=warn,sqlx=warn,reqwest=warn";

/// The time, and whose line it is: the roles under `up` share one terminal.
struct Stamp(&'static str);

impl FormatTime for Stamp {
    fn format_time(&self, w: &mut Writer<'_>) -> std::fmt::Result {
        SystemTime.format_time(w)?;
        write!(w, " {:<9}", self.0)
    }
}

/// What else takes events and spans.
pub type More = Vec<Box<dyn Layer<Registry> + Send + Sync>>;

/// Sets the log of `role` up, and `more` beside it. A second call changes nothing.
pub fn start(role: &'static str, format: LogFormat, more: More) {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(FILTER_DEFAULT));
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match format {
        LogFormat::Human => {
            lines.with_ansi(colour()).with_target(false).with_timer(Stamp(role)).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Spans are no lines; where nobody else takes them they are not even made.
    let mut layers = vec![lines.with_filter(filter.and(filter_fn(|it| it.is_event()))).boxed()];
    layers.extend(more);
    // A second subscriber is refused; the first one keeps logging, which is all that is wanted.
    drop(Registry::default().with(layers).try_init());
}

/// Whether standard error takes colour: a terminal, and `NO_COLOR` is not set.
fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
