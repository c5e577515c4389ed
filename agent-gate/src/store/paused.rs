//! A store for tests that commits only when it is let, and fails when it is told to.
//!
//! Invariant: like the real one, it never says that a batch is kept before it is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;

use super::{AuditPage, AuditRow, Batch, Loaded, Page, Reader, Store, StoreError, TokenRow};

/// Shared with the test.
#[derive(Debug, Clone)]
pub struct Paused {
    pub lets: Arc<Semaphore>,
    pub fails: Arc<AtomicBool>,
    /// Commits that were begun.
    pub begun: Arc<AtomicUsize>,
    pub kept: Arc<Mutex<Vec<Batch>>>,
    /// What stands behind a commit.
    pub lease: Option<Duration>,
}

impl Paused {
    /// A store that lets `commits` commits pass.
    pub fn new(commits: usize) -> Self {
        Self {
            lets: Arc::new(Semaphore::new(commits)),
            fails: Arc::default(),
            begun: Arc::default(),
            kept: Arc::default(),
            lease: None,
        }
    }
}

impl Store for Paused {
    fn load(&mut self) -> BoxFuture<'_, Result<Loaded, StoreError>> {
        Box::pin(async { Ok(Loaded::default()) })
    }

    fn commit<'a>(&'a mut self, batch: &'a Batch) -> BoxFuture<'a, Result<(), StoreError>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::AcqRel);
            self.lets.acquire().await.expect("never closed").forget();
            if self.fails.load(Ordering::Acquire) {
                return Err(StoreError::Write(sqlx::Error::WorkerCrashed));
            }
            self.kept.lock().expect("no panic").push(batch.clone());
            Ok(())
        })
    }

    fn lease(&self) -> Option<Duration> {
        self.lease
    }

    fn close(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async {})
    }
}

impl Reader for Paused {
    fn rollouts<'a>(&'a self, _: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn rollout<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn freezes(&self, _: bool) -> BoxFuture<'_, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn decisions<'a>(&'a self, _: &'a Page) -> BoxFuture<'a, Result<Vec<String>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn decision<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, StoreError>> {
        Box::pin(async { Ok(None) })
    }

    fn audit<'a>(&'a self, _: &'a AuditPage) -> BoxFuture<'a, Result<Vec<AuditRow>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, StoreError>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}
