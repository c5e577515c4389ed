//! What the roles say of themselves, as OTLP: `[telemetry]`, off unless it has an endpoint.
//!
//! ```text
//!  /metrics page ─► points ─────────────────────────┐
//!  events  ─► chosen ─► appender ─► SDK's batches ──┼─► backend ─► the exporters' client
//!  spans   ─► chosen ─► SDK's batches ──────────────┘   (a thread and runtime of its own)
//! ```
//!
//! Metrics are the page that `/metrics` shows, put into OTLP: one count of everything, wherever
//! it is read. Logs and spans go through the OpenTelemetry SDK. With no endpoint nothing of this
//! exists: no thread, no timer, no layer.
//!
//! Invariant: nothing here can hold up a role. What has no place is dropped and counted, a dead
//! backend blocks threads of this room alone, and a stop waits for at most [`LAST_FLUSH`].

mod chosen;
mod config;
mod counted;
mod counts;
mod page;
mod points;
mod pump;
mod sdk;
mod transport;

use std::fmt;
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use collector::Outlet;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::trace::SdkTracerProvider;
use prometheus_client::collector::Collector;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{Layer, Registry};
use watchdog_core::names::Boot;
use watchdog_core::tally::Signal;

pub use config::{TelemetryConfig, leads_back};

use crate::driver::Deadline;
use counts::{Counts, Shown};
use transport::Backend;

/// How long a stop tries to get the last records out.
pub const LAST_FLUSH: Duration = Duration::from_secs(1);

/// Gives the page of `/metrics`, as soon as the role runs.
pub type ReadPage = Box<dyn Fn() -> Option<String> + Send + Sync>;

/// Who speaks.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub role: &'static str,
    pub boot: Boot,
}

impl Speaker {
    /// What the resource of everything it says is made of.
    fn attributes(&self) -> [(&'static str, String); 3] {
        [
            ("service.name", format!("holdpoint-{}", self.role)),
            ("service.instance.id", self.boot.to_string()),
            ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ]
    }

    /// The instrumentation scope.
    fn scope(&self) -> String {
        format!("holdpoint.{}", self.role)
    }
}

/// Own telemetry that is sent, until [`Telemetry::stop`].
pub struct Telemetry {
    endpoint: String,
    spans_per_s: u32,
    scope: String,
    page: Arc<OnceLock<ReadPage>>,
    counts: Vec<(Signal, Counts)>,
    tracers: Option<SdkTracerProvider>,
    loggers: Option<SdkLoggerProvider>,
    /// Ends the metrics with a last page, and then the thread.
    stop: CancellationToken,
    end: CancellationToken,
    last_page: Mutex<Receiver<()>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Starts what `config` asks for; none if it names no endpoint.
    ///
    /// # Errors
    /// What is wrong with the way to the backend.
    pub fn start(config: &TelemetryConfig, speaker: &Speaker) -> Result<Option<Self>, String> {
        let Some(way) = config.way() else { return Ok(None) };
        let wrong = |text: String| format!("start own telemetry, [telemetry]: {text}");
        let backend = Backend::new(Outlet::new(&way).map_err(wrong)?, &way.endpoint);
        let counts: Vec<_> =
            config.signals.iter().map(|signal| (*signal, Counts::default())).collect();
        let of = |wanted: Signal| {
            counts.iter().find(|(signal, _)| *signal == wanted).map(|(_, counts)| counts.clone())
        };
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        let page: Arc<OnceLock<ReadPage>> = Arc::default();
        let (done, last_page) = mpsc::channel();
        let pump = pump::Pump {
            backend: backend.clone(),
            speaker: speaker.clone(),
            page: Arc::clone(&page),
            counts: of(Signal::Metrics),
            interval: Duration::from_millis(config.interval_ms),
            stop: stop.clone(),
            end: end.clone(),
            done,
        };
        let runtime = pump.start().map_err(|error| wrong(error.to_string()))?;
        let sdk = sdk::Sdk { backend, runtime, speaker, timeout_ms: config.timeout_ms };
        let tracers = of(Signal::Traces).map(|counts| sdk.tracers(counts)).transpose();
        let loggers = of(Signal::Logs).map(|counts| sdk.loggers(counts)).transpose();
        Ok(Some(Self {
            endpoint: way.endpoint,
            spans_per_s: config.spans_per_s,
            scope: speaker.scope(),
            page,
            tracers: tracers.map_err(wrong)?,
            loggers: loggers.map_err(wrong)?,
            counts,
            stop,
            end,
            last_page: Mutex::new(last_page),
        }))
    }

    /// Where it goes.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Takes the metrics from this page.
    pub fn reads(&self, page: ReadPage) {
        // A role has one page; a second would be the same.
        let _ = self.page.set(page);
    }

    /// What became of what was said, for that page.
    #[must_use]
    pub fn counts(&self) -> Box<dyn Collector> {
        Box::new(Shown(self.counts.clone()))
    }

    /// What hands events and spans over.
    pub fn layers(&self) -> Vec<Box<dyn Layer<Registry> + Send + Sync>> {
        let mut layers = Vec::new();
        layers.extend(self.loggers.as_ref().map(sdk::log_layer));
        let tracers = self.tracers.as_ref();
        layers.extend(tracers.map(|it| sdk::span_layer(it, &self.scope, self.spans_per_s)));
        layers
    }

    /// Sends what is left, and waits for it for at most [`LAST_FLUSH`].
    pub fn stop(&self) {
        let deadline = Deadline::after(LAST_FLUSH);
        self.stop.cancel();
        let (done, flushed) = mpsc::channel();
        // The SDK blocks its caller, so each gets a thread that the process can leave behind.
        let flush = |last: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            let whole = move || {
                last();
                // Nobody waits any more if it took too long.
                let _ = done.send(());
            };
            std::thread::Builder::new().name("last flush".to_owned()).spawn(whole).is_ok()
        };
        let mut awaited = 0;
        if let Some(tracers) = self.tracers.clone() {
            // Whether the last records arrive is in the counts, which end here too.
            let last = move || drop(tracers.shutdown_with_timeout(LAST_FLUSH));
            awaited += usize::from(flush(Box::new(last)));
        }
        if let Some(loggers) = self.loggers.clone() {
            let last = move || drop(loggers.shutdown_with_timeout(LAST_FLUSH));
            awaited += usize::from(flush(Box::new(last)));
        }
        for _ in 0..awaited {
            let _ = flushed.recv_timeout(deadline.left());
        }
        let last_page = self.last_page.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = last_page.recv_timeout(deadline.left());
        self.end.cancel();
    }
}
