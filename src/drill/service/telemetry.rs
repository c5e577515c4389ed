//! The OpenTelemetry SDK of a drill service, set up as its documentation says.
//!
//! The gRPC exporters do their I/O on a tokio runtime of one worker, which is what a service gets
//! on a machine of one core, and what many choose to keep telemetry off the serving threads.
//!
//! Invariant: nothing here stops or slows telemetry on purpose. What the SDK does is what is seen.

use std::sync::mpsc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracer, SdkTracerProvider,
};
use tokio::runtime::{Builder, Handle, Runtime};

use super::{Identity, ServiceError};
use crate::drill::ServiceArgs;

const SCOPE: &str = "drill.shop";

/// The providers, and the runtime their exporters run on.
#[derive(Debug)]
pub struct Telemetry {
    runtime: Runtime,
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
}

impl Telemetry {
    /// Starts both signals towards the collector at `args.otlp`.
    pub fn start(identity: &Identity, args: &ServiceArgs) -> Result<Self, ServiceError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("telemetry")
            .enable_all()
            .build()
            .map_err(ServiceError::start("build the telemetry runtime"))?;
        // The exporters bind their connection to the runtime they are built in.
        let entered = runtime.enter();
        let resource = Resource::builder_empty()
            .with_service_name(identity.service.to_string())
            .with_attribute(KeyValue::new("service.version", identity.revision.to_string()))
            .with_attribute(KeyValue::new("service.instance.id", identity.instance.to_string()))
            .build();
        let tracers = tracers(resource.clone(), args)?;
        let meters = meters(resource, args)?;
        drop(entered);
        Ok(Self { runtime, tracers, meters })
    }

    pub fn tracer(&self) -> SdkTracer {
        self.tracers.tracer(SCOPE)
    }

    pub fn meter(&self) -> Meter {
        self.meters.meter(SCOPE)
    }

    /// The means to send what is counted now, without waiting for the interval.
    pub fn flusher(&self) -> Flusher {
        Flusher { runtime: self.runtime.handle().clone(), meters: self.meters.clone() }
    }

    /// Sends what is left and ends, after at most `wait_max` even if the SDK never answers.
    pub fn stop(self, wait_max: Duration) {
        let (done, wait) = mpsc::channel();
        let Self { runtime, tracers, meters } = self;
        let last_flush = move || {
            // Whether the last records arrive is the watchdog's to see, not ours to report.
            let _ = tracers.shutdown_with_timeout(wait_max);
            let _ = meters.shutdown_with_timeout(wait_max);
            let _ = done.send(());
        };
        // The SDK blocks its caller, so it gets a thread that the process can leave behind.
        if std::thread::Builder::new().name("last flush".into()).spawn(last_flush).is_ok() {
            let _ = wait.recv_timeout(wait_max);
        }
        runtime.shutdown_background();
    }
}

/// Sends measurements at once.
#[derive(Debug, Clone)]
pub struct Flusher {
    runtime: Handle,
    meters: SdkMeterProvider,
}

impl Flusher {
    /// Flushes on the telemetry runtime, so that no request waits for it.
    ///
    /// This reads well, passes review, and is fatal. `force_flush` blocks its thread until the
    /// reader's thread has exported, and that export needs this very runtime's only worker to
    /// move its bytes. Each waits for the other for ever, without a timeout, an error or a log
    /// line, and with the worker every other export of the process is gone too
    /// (opentelemetry-rust issues 2583, 2715 and 3176).
    pub fn flush_soon(&self) {
        let meters = self.meters.clone();
        drop(self.runtime.spawn(async move { meters.force_flush() }));
    }
}

fn tracers(resource: Resource, args: &ServiceArgs) -> Result<SdkTracerProvider, ServiceError> {
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(args.endpoint())
        .build()
        .map_err(|error| refused(args, &error))?;
    let batches = BatchConfigBuilder::default()
        .with_scheduled_delay(Duration::from_millis(args.traces_every_ms))
        .build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    Ok(SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor).build())
}

fn meters(resource: Resource, args: &ServiceArgs) -> Result<SdkMeterProvider, ServiceError> {
    let exporter = MetricExporter::builder()
        .with_tonic()
        .with_endpoint(args.endpoint())
        .build()
        .map_err(|error| refused(args, &error))?;
    let reader = PeriodicReader::builder(exporter)
        .with_interval(Duration::from_millis(args.metrics_every_ms))
        .build();
    Ok(SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build())
}

fn refused(args: &ServiceArgs, error: &impl ToString) -> ServiceError {
    ServiceError::Exporter { endpoint: args.endpoint(), reason: error.to_string() }
}
