//! The fleet: twenty services as processes, and the restart that changes one's revision.
//!
//! Invariant: a service is replaced without a gap in its answers. The new process serves and has
//! passed its smoke test before the load turns to it, and only then the old one is let go.

mod process;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::failure::DrillError;
use process::Process;

/// The revision that the fleet starts on.
pub const PLAIN: &str = "plain";

/// The services, in the order in which the agent visits them.
pub const SERVICES: [&str; 20] = [
    "checkout",
    "cart",
    "catalog",
    "search",
    "pricing",
    "payments",
    "shipping",
    "inventory",
    "accounts",
    "sessions",
    "reviews",
    "ratings",
    "images",
    "emails",
    "invoices",
    "taxes",
    "coupons",
    "returns",
    "support",
    "wishlists",
];

/// How often a new process is asked before the load turns to it: one request after the other, as
/// tests are run.
const SMOKE_REQUESTS: u32 = 4;

/// What every process of the fleet is told.
#[derive(Debug, Clone)]
pub struct Wiring {
    pub program: PathBuf,
    pub otlp: SocketAddr,
    pub beats: SocketAddr,
    /// Where the processes' standard error goes.
    pub log: PathBuf,
}

/// One service, whatever process runs it.
#[derive(Debug)]
pub struct Post {
    pub name: &'static str,
    address: RwLock<SocketAddr>,
    running: Mutex<Process>,
}

impl Post {
    /// Where the load goes.
    pub fn address(&self) -> SocketAddr {
        *self.address.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn_load_to(&self, address: SocketAddr) {
        *self.address.write().unwrap_or_else(PoisonError::into_inner) = address;
    }
}

/// All services.
#[derive(Debug)]
pub struct Fleet {
    wiring: Wiring,
    http: reqwest::Client,
    posts: BTreeMap<&'static str, Arc<Post>>,
}

impl Fleet {
    /// Starts every service on the plain revision.
    pub async fn start(wiring: Wiring, http: reqwest::Client) -> Result<Self, DrillError> {
        let mut starting = JoinSet::new();
        for name in SERVICES {
            let wiring = wiring.clone();
            starting.spawn(async move { (name, Process::start(&wiring, name, PLAIN).await) });
        }
        let mut posts = BTreeMap::new();
        while let Some(started) = starting.join_next().await {
            let (name, process) = started.expect("starting a process does not panic");
            let process = process?;
            let address = RwLock::new(process.http);
            posts.insert(name, Arc::new(Post { name, address, running: Mutex::new(process) }));
        }
        Ok(Self { wiring, http, posts })
    }

    pub fn posts(&self) -> impl Iterator<Item = &Arc<Post>> {
        self.posts.values()
    }

    pub fn has(&self, service: &str) -> bool {
        self.posts.contains_key(service)
    }

    /// Runs `service` on `revision`; false if it does already.
    ///
    /// # Errors
    /// If the new process does not start or fails its smoke test. The old one then goes on.
    pub async fn replace(&self, service: &str, revision: &str) -> Result<bool, DrillError> {
        let post = self.posts.get(service).expect("the caller names a service of the fleet");
        let mut running = post.running.lock().await;
        if running.revision == revision {
            return Ok(false);
        }
        let new = Process::start(&self.wiring, post.name, revision).await?;
        self.smoke_test(&new).await?;
        post.turn_load_to(new.http);
        let old = std::mem::replace(&mut *running, new);
        old.stop().await;
        Ok(true)
    }

    async fn smoke_test(&self, process: &Process) -> Result<(), DrillError> {
        for product in 0..SMOKE_REQUESTS {
            let what = || format!("smoke test of {} at {}", process.revision, process.http);
            self.http
                .get(format!("http://{}/products/p{product}", process.http))
                .send()
                .await
                .and_then(reqwest::Response::error_for_status)
                .map_err(DrillError::unreachable(what()))?;
        }
        Ok(())
    }

    /// Lets every process go and waits for it.
    pub async fn stop(&self) {
        let mut stopping = JoinSet::new();
        for post in self.posts.values().map(Arc::clone) {
            stopping.spawn(async move { post.running.lock().await.end().await });
        }
        stopping.join_all().await;
    }
}

/// The last lines of a log, for an error that a person must understand.
pub fn last_words(log: &Path) -> String {
    const LINES: usize = 12;
    let text = std::fs::read_to_string(log).unwrap_or_else(|error| error.to_string());
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
