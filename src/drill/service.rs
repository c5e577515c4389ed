//! One service of the drill's fleet: a real HTTP service, instrumented as its users would do it.
//!
//! ```text
//!  requests ──► serving runtime (main thread) ──► answers
//!                │ counts its work  └─ spans, measurements
//!                ▼                                 ▼
//!               beat thread                       telemetry runtime (one worker)
//!                └──UDP──► watchdog                └──gRPC──► collector
//! ```
//!
//! Every revision but one is the plain shop. The revision `cached` has the [`cache`] in front of
//! its warehouse, and nothing else differs: whatever then goes wrong is that change's doing.
//!
//! Invariant: serving, beating and telemetry share no thread, so that each can fail alone.

mod beats;
mod cache;
mod shop;
mod telemetry;

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::{Boot, Instance, NameError, Revision, Service};

use super::ServiceArgs;
use crate::driver;

/// How long a stopping service tries to get its last records out.
const LAST_FLUSH_MAX: Duration = Duration::from_millis(400);

/// The revision that has the response cache.
pub const CACHED: &str = "cached";

/// The digest of the optimisation: the content address of the code it adds.
pub fn optimisation() -> String {
    digest(include_bytes!("service/cache.rs"))
}

/// The content address of a change.
pub fn digest(change: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(change)))
}

/// Why a service of the drill could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("start drill service: {0}")]
    Name(#[from] NameError),
    #[error("start drill service: {what}: {source}")]
    Start { what: &'static str, source: io::Error },
    #[error("start drill service: build OTLP exporter for {endpoint}: {reason}")]
    Exporter { endpoint: String, reason: String },
}

impl ServiceError {
    fn start(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Start { what, source }
    }
}

/// Who this process is, as beats and telemetry both say it.
#[derive(Debug, Clone)]
struct Identity {
    service: Service,
    instance: Instance,
    revision: Revision,
    boot: Boot,
}

impl Identity {
    fn of(args: &ServiceArgs) -> Result<Self, NameError> {
        Ok(Self {
            service: Service::new(args.name.clone())?,
            instance: Instance::new(format!("{}-{}", args.name, std::process::id()))?,
            revision: Revision::new(args.revision.clone())?,
            boot: driver::boot(),
        })
    }
}

/// Runs the service until its standard input ends.
pub fn run(args: &ServiceArgs) -> Result<(), ServiceError> {
    let identity = Identity::of(args)?;
    let telemetry = telemetry::Telemetry::start(&identity, args)?;
    let work = Arc::new(shop::Work::default());
    let shop = Arc::new(shop::Shop::new(&identity, &telemetry, Arc::clone(&work)));
    let beats = beats::Beats::start(&identity, args, work).map_err(ServiceError::start("beat"))?;
    let stop = CancellationToken::new();
    stop_when_the_lifeline_ends(stop.clone()).map_err(ServiceError::start("watch the lifeline"))?;

    let serving = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(ServiceError::start("build the serving runtime"))?;
    serving.block_on(serve(shop, args.http, stop))?;
    beats.leave();
    telemetry.stop(LAST_FLUSH_MAX);
    Ok(())
}

async fn serve(
    shop: Arc<shop::Shop>,
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<(), ServiceError> {
    let listener = front_door::bind(address).await.map_err(ServiceError::start("open the shop"))?;
    tell_address(&listener).map_err(ServiceError::start("tell the address"))?;
    shop::serve(shop, listener, stop).await;
    Ok(())
}

/// The one line on standard output: where the service listens.
fn tell_address(listener: &tokio::net::TcpListener) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{}", serde_json::json!({ "http": listener.local_addr()? }))?;
    out.flush()
}

/// Whoever started this process holds the other end of its standard input. When that ends, by
/// will or by death, the service ends too.
fn stop_when_the_lifeline_ends(stop: CancellationToken) -> io::Result<()> {
    let watch = move || {
        let mut rest = [0; 64];
        while io::stdin().lock().read(&mut rest).is_ok_and(|read| read > 0) {}
        stop.cancel();
    };
    std::thread::Builder::new().name("lifeline".into()).spawn(watch).map(drop)
}
