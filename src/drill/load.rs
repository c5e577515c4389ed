//! The load: a few requests at once to every service, all the time.
//!
//! Three shoppers look at the same product in the same moment, then a pause. That is little load
//! and enough concurrency: two requests in one cache slot is all the race needs.
//!
//! Invariant: an answer counts as good only if its status is 200 and its body was read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::fleet::{Fleet, Post};
use crate::driver::Stopwatch;

/// Requests to one service at once.
const AT_ONCE: usize = 3;
/// Between two bursts to one service.
const PAUSE: Duration = Duration::from_millis(140);
/// Products that are looked at. Few, so that slots are shared.
const PRODUCTS: u64 = 4;

/// What the load has seen of one service. Statistics: no other memory depends on their order.
#[derive(Debug, Default)]
struct Seen {
    good: AtomicU64,
    failed: AtomicU64,
    slowest_ms: AtomicU64,
}

/// A reading of the counters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answers {
    pub good: u64,
    pub failed: u64,
    pub slowest_ms: u64,
}

/// The running load; it ends when this is dropped.
#[derive(Debug)]
pub struct Load {
    seen: BTreeMap<&'static str, Arc<Seen>>,
    _shoppers: JoinSet<()>,
}

impl Load {
    pub fn start(fleet: &Fleet, http: &reqwest::Client) -> Self {
        let mut shoppers = JoinSet::new();
        let mut all = BTreeMap::new();
        for post in fleet.posts() {
            let seen = Arc::new(Seen::default());
            shoppers.spawn(shop(Arc::clone(post), http.clone(), Arc::clone(&seen)));
            all.insert(post.name, seen);
        }
        Self { seen: all, _shoppers: shoppers }
    }

    /// The answers of `services` since the last call for them.
    pub fn take(&self, services: &[&str]) -> Answers {
        let mut sum = Answers { good: 0, failed: 0, slowest_ms: 0 };
        for seen in services.iter().filter_map(|service| self.seen.get(service)) {
            sum.good += seen.good.swap(0, Ordering::Relaxed);
            sum.failed += seen.failed.swap(0, Ordering::Relaxed);
            sum.slowest_ms = sum.slowest_ms.max(seen.slowest_ms.swap(0, Ordering::Relaxed));
        }
        sum
    }
}

async fn shop(post: Arc<Post>, http: reqwest::Client, seen: Arc<Seen>) {
    for round in 0_u64.. {
        let url = format!("http://{}/products/p{}", post.address(), round % PRODUCTS);
        let mut burst = JoinSet::new();
        for _ in 0..AT_ONCE {
            burst.spawn(look(http.clone(), url.clone(), Arc::clone(&seen)));
        }
        burst.join_all().await;
        tokio::time::sleep(PAUSE).await;
    }
}

async fn look(http: reqwest::Client, url: String, seen: Arc<Seen>) {
    let watch = Stopwatch::start();
    let good = match http.get(url).send().await {
        Ok(response) => response.status() == 200 && response.bytes().await.is_ok(),
        Err(_) => false,
    };
    let count = if good { &seen.good } else { &seen.failed };
    count.fetch_add(1, Ordering::Relaxed);
    let took_ms = u64::try_from(watch.elapsed().as_millis()).unwrap_or(u64::MAX);
    seen.slowest_ms.fetch_max(took_ms, Ordering::Relaxed);
}
