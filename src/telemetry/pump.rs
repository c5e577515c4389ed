//! The thread of own telemetry: it sends the metrics, and does the I/O of all signals.
//!
//! Invariant: a page is made when it is sent and never queued; the next one says all that a lost
//! one said.

use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use tokio::runtime::{Builder, Handle};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use watchdog_core::tally::Signal;

use super::counts::Counts;
use super::points::{self, Span};
use super::transport::Backend;
use super::{ReadPage, Speaker};
use crate::driver;

/// What the thread needs.
pub struct Pump {
    pub backend: Backend,
    pub speaker: Speaker,
    pub page: Arc<OnceLock<ReadPage>>,
    /// None where no metrics are wanted.
    pub counts: Option<Counts>,
    pub interval: Duration,
    pub stop: CancellationToken,
    pub end: CancellationToken,
    /// Told when the last page is sent.
    pub done: Sender<()>,
}

impl Pump {
    /// Starts the thread; gives back where its I/O is done.
    pub fn start(self) -> io::Result<Handle> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let work = move || runtime.block_on(self.run());
        std::thread::Builder::new().name("telemetry".to_owned()).spawn(work)?;
        Ok(handle)
    }

    async fn run(self) {
        let started = driver::wall_ns();
        let mut ticks = interval(self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is now, when there is nothing to tell yet.
        ticks.tick().await;
        while self.counts.is_some() {
            let send = async {
                ticks.tick().await;
                self.send(started).await;
            };
            tokio::select! {
                () = send => {}
                () = self.stop.cancelled() => break,
            }
        }
        self.stop.cancelled().await;
        self.send(started).await;
        // Nobody waits any more if it took too long.
        let _ = self.done.send(());
        self.end.cancelled().await;
    }

    /// Sends the page of now.
    async fn send(&self, started: u64) {
        let Some(counts) = &self.counts else { return };
        let Some(page) = self.page.get().and_then(|page| page()) else { return };
        let attributes = self.speaker.attributes();
        let attributes = attributes.iter().map(|(key, value)| points::text(key, value)).collect();
        let resource = Resource { attributes, ..Resource::default() };
        let scope = InstrumentationScope {
            name: self.speaker.scope(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let span = Span { started, now: driver::wall_ns() };
        let Some((request, records)) = points::request(&page, resource, scope, span) else {
            return;
        };
        let request = Bytes::from(request.encode_to_vec());
        let sent = self.backend.send(Signal::Metrics, request).await;
        counts.ended(records, sent.is_ok());
        counts.rejected(sent.unwrap_or(0));
    }
}
