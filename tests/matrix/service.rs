//! The monitored service: a process of its own with the OpenTelemetry SDK, beats, and a work loop.
//!
//! ```text
//!  work loop ──► spans, a counter ──► SDK (a runtime of one worker) ──gRPC──► collector
//!      └─ turns, requests ──► beat thread ──UDP──► watchdog
//! ```
//!
//! It is this test's executable under another role. A word on its standard input makes it ail in
//! one way, and its standard input ends with the test.
//!
//! Invariant: an ailment touches one of the three and leaves the others as they are.

use std::io::BufRead as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use holdpoint_beat::{Beats, Sender, Work};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry::trace::{Span as _, SpanKind, Tracer as _, TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use rustix::process::{Pid, Signal, kill_process};

const ROLE_ENV: &str = "HOLDPOINT_TEST_MATRIX_SERVICE";
/// How often the service beats, as its contract says.
pub const BEAT: Duration = Duration::from_millis(100);
/// How long one turn of the work loop takes; each turn is a request.
const TURN: Duration = Duration::from_millis(20);
/// How often the SDK exports spans, and how often metrics.
const EXPORT: Duration = Duration::from_millis(200);
/// After how long the SDK gives up an export.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The process, as the test holds it.
#[derive(Debug)]
pub struct Service {
    child: Child,
}

impl Service {
    /// Starts `name`, which beats at `watchdog` and exports to `collector`.
    pub fn start(name: &str, watchdog: SocketAddr, collector: SocketAddr) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["service::child_that_serves", "--exact", "--nocapture"])
            .env(ROLE_ENV, format!("{name} {watchdog} {collector}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self { child: child.expect("it starts") }
    }

    /// Makes it ail, or heals it of all that can be healed.
    pub fn tell(&mut self, word: &str) {
        use std::io::Write as _;
        let pipe = self.child.stdin.as_mut().expect("it was asked for");
        writeln!(pipe, "{word}").expect("the service reads");
    }

    pub fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("it is our child");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// What ails.
#[derive(Debug, Default)]
struct Ailments {
    /// The work loop stands still; the other threads go on.
    loop_hangs: AtomicBool,
    /// Of every two requests one leaves no span.
    half: AtomicBool,
    /// The counter no longer moves.
    frozen: AtomicBool,
    /// The counter says 0.
    zero: AtomicBool,
}

#[test]
fn child_that_serves() {
    let Ok(words) = std::env::var(ROLE_ENV) else { return };
    let words: Vec<_> = words.split(' ').collect();
    let [name, watchdog, collector] = words[..] else { panic!("three words, not {words:?}") };
    let sender = Sender::new(watchdog.parse().expect("an address"), name).expect("a name");
    let sender = sender.instance("one").expect("a name").every(BEAT);
    let beats = Beats::start(sender).expect("a socket and a thread");
    let ailments = Arc::new(Ailments::default());
    let counted = Arc::new(AtomicU64::new(0));
    let telemetry = Telemetry::start(name, collector, counted.clone(), ailments.clone());
    let work = beats.work().clone();
    let tracers = telemetry.tracers.clone();
    let ailing = ailments.clone();
    std::thread::spawn(move || serve(&tracers, &work, &counted, &ailing));
    for line in std::io::stdin().lock().lines() {
        match line.expect("the test writes text").as_str() {
            "hang-loop" => ailments.loop_hangs.store(true, SeqCst),
            "hang-exporter" => telemetry.hang(),
            "half" => ailments.half.store(true, SeqCst),
            "freeze" => ailments.frozen.store(true, SeqCst),
            "zero" => ailments.zero.store(true, SeqCst),
            "heal" => ailments.heal(),
            word => panic!("no such ailment: {word}"),
        }
    }
    std::process::exit(0);
}

impl Ailments {
    fn heal(&self) {
        for ailment in [&self.loop_hangs, &self.half, &self.frozen, &self.zero] {
            ailment.store(false, SeqCst);
        }
    }
}

fn serve(tracers: &SdkTracerProvider, work: &Work, counted: &AtomicU64, ailments: &Ailments) {
    let tracer = tracers.tracer("matrix");
    for turn in 0_u64.. {
        while ailments.loop_hangs.load(SeqCst) {
            std::thread::sleep(TURN);
        }
        if turn % 2 == 0 || !ailments.half.load(SeqCst) {
            tracer.span_builder("GET /").with_kind(SpanKind::Server).start(&tracer).end();
        }
        if !ailments.frozen.load(SeqCst) {
            counted.fetch_add(1, SeqCst);
        }
        work.request();
        work.turn();
        std::thread::sleep(TURN);
    }
}

/// The SDK, set up as its documentation says, on a runtime of one worker.
struct Telemetry {
    runtime: tokio::runtime::Runtime,
    tracers: SdkTracerProvider,
    meters: SdkMeterProvider,
}

impl Telemetry {
    fn start(
        name: &str,
        collector: &str,
        counted: Arc<AtomicU64>,
        ailments: Arc<Ailments>,
    ) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let resource = Resource::builder_empty()
            .with_service_name(name.to_owned())
            .with_attribute(KeyValue::new("service.instance.id", "one"))
            .build();
        let endpoint = format!("http://{collector}");
        let spans = SpanExporter::builder().with_tonic().with_endpoint(&endpoint);
        let spans = spans.with_timeout(EXPORT_TIMEOUT).build().expect("an exporter");
        let batches = BatchConfigBuilder::default().with_scheduled_delay(EXPORT).build();
        let batches = BatchSpanProcessor::builder(spans).with_batch_config(batches).build();
        let tracers = SdkTracerProvider::builder()
            .with_resource(resource.clone())
            .with_span_processor(batches)
            .build();
        let points = MetricExporter::builder().with_tonic().with_endpoint(&endpoint);
        let points = points.with_timeout(EXPORT_TIMEOUT).build().expect("an exporter");
        let reader = PeriodicReader::builder(points).with_interval(EXPORT).build();
        let meters =
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        let meter = meters.meter("matrix");
        let _counter = meter
            .u64_observable_counter("requests")
            .with_callback(move |observed| {
                let zero = ailments.zero.load(SeqCst);
                observed.observe(if zero { 0 } else { counted.load(SeqCst) }, &[]);
            })
            .build();
        drop(entered);
        Self { runtime, tracers, meters }
    }

    /// A flush on the exporters' own and only worker: each waits for the other for ever
    /// (opentelemetry-rust issues 2583, 2715 and 3176).
    fn hang(&self) {
        let meters = Mutex::new(self.meters.clone());
        drop(self.runtime.spawn(async move {
            drop(meters.lock().expect("nobody else has it").force_flush());
        }));
    }
}
