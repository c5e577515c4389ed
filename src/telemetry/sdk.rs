//! The OpenTelemetry SDK, set up so that `[telemetry]` alone decides.
//!
//! The SDK and its exporters read `OTEL_*` wherever a setting is left open. So none is left open
//! here, and what they read all the same ends at [`Transport`].
//!
//! Invariant: every setting that has a variable is set.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, Protocol, SpanExporter, WithExportConfig as _,
    WithHttpConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanLimits};
use tokio::runtime::Handle;
use tracing_subscriber::filter::{LevelFilter, filter_fn};
use tracing_subscriber::{Layer, Registry};

use super::Speaker;
use super::chosen::{Spans, is_logged};
use super::counted::{Bounded, Told};
use super::counts::{Counts, WAITING_MAX};
use super::transport::{Backend, Transport};

/// Records of one request.
const BATCH_MAX: usize = 512;
/// How long a record waits for others.
const BATCH_DELAY: Duration = Duration::from_secs(1);
const QUEUE_MAX: usize = WAITING_MAX as usize;

/// What the SDK's parts are made of.
#[derive(Debug)]
pub struct Sdk<'a> {
    pub backend: Backend,
    pub runtime: Handle,
    pub speaker: &'a Speaker,
    pub timeout_ms: u64,
}

impl Sdk<'_> {
    pub fn tracers(&self, counts: Counts) -> Result<SdkTracerProvider, String> {
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(self.transport(&counts))
            .with_endpoint(endpoint("traces"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.timeout())
            .build()
            .map_err(refused)?;
        let batches = trace::BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let exporter = Told { exporter, counts: counts.clone() };
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
        Ok(SdkTracerProvider::builder()
            .with_resource(self.resource())
            // Which spans there are is decided before they begin.
            .with_sampler(Sampler::AlwaysOn)
            .with_span_limits(SpanLimits::default())
            .with_span_processor(Bounded { processor, counts })
            .build())
    }

    pub fn loggers(&self, counts: Counts) -> Result<SdkLoggerProvider, String> {
        let exporter = LogExporter::builder()
            .with_http()
            .with_http_client(self.transport(&counts))
            .with_endpoint(endpoint("logs"))
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(self.timeout())
            .build()
            .map_err(refused)?;
        let batches = logs::BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE_MAX)
            .with_max_export_batch_size(BATCH_MAX)
            .with_scheduled_delay(BATCH_DELAY)
            .build();
        let exporter = Told { exporter, counts: counts.clone() };
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(batches).build();
        Ok(SdkLoggerProvider::builder()
            .with_resource(self.resource())
            .with_log_processor(Bounded { processor, counts })
            .build())
    }

    fn transport(&self, counts: &Counts) -> Transport {
        let (backend, runtime) = (self.backend.clone(), self.runtime.clone());
        Transport { backend, runtime, counts: counts.clone() }
    }

    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// Not the builder that looks into the environment.
    fn resource(&self) -> Resource {
        let attributes = self.speaker.attributes();
        let attributes = attributes.map(|(key, value)| KeyValue::new(key, value));
        Resource::builder_empty().with_attributes(attributes).build()
    }
}

/// For the SDK, which wants a URL; where requests go is the transport's to know.
fn endpoint(signal: &str) -> String {
    format!("http://backend.invalid/v1/{signal}")
}

fn refused(error: ExporterBuildError) -> String {
    error.to_string()
}

type Boxed = Box<dyn Layer<Registry> + Send + Sync>;

/// What makes log records of events.
pub fn log_layer(loggers: &SdkLoggerProvider) -> Boxed {
    let chosen = filter_fn(is_logged).with_max_level_hint(LevelFilter::INFO);
    OpenTelemetryTracingBridge::new(loggers).with_filter(chosen).boxed()
}

/// What makes spans of spans.
pub fn span_layer(tracers: &SdkTracerProvider, scope: &str, per_s: u32) -> Boxed {
    tracing_opentelemetry::layer()
        .with_tracer(tracers.tracer(scope.to_owned()))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_filter(Spans::new(per_s))
        .boxed()
}
