//! The tally intake: a long poll of the collector's counts, on the work runtime.
//!
//! Invariant: a poll that fails is evidence too. "Could not look" reaches the verdict as such and
//! is never taken for "nothing came".

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use watchdog_core::names::Boot;
use watchdog_core::tally::TallyPage;
use watchdog_core::watch::Event;

use crate::driver::Clock;
use crate::inbox::Inbox;
use crate::metrics::{Metrics, PollOutcome};
use crate::probes::Ledger;
use crate::streak::{Streak, Turn};
use crate::supervise::Custody;
use crate::wiring::{CollectorPlace, FindCollector};

/// For how long the collector may hold a poll when nothing changes.
const WAIT_MS: u64 = 250;
/// After how long a poll has failed: the wait, and room for a machine under load.
const TIMEOUT: Duration = Duration::from_millis(WAIT_MS + 500);
/// The pause after a failure, so that a dead collector costs nothing.
const PAUSE: Duration = Duration::from_millis(100);
/// The largest page that is read, in bytes; 10 000 rows are about a third of it.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Polls the tally and puts every page, or its absence, into the inbox.
pub struct Intake {
    pub find: FindCollector,
    pub clock: Arc<dyn Clock>,
    pub inbox: Arc<Inbox>,
    pub ledger: Arc<Ledger>,
    pub metrics: Metrics,
    pub custody: watch::Receiver<Custody>,
    /// Whether a new boot is told to the verdict loop here, because nobody supervises.
    pub announce: bool,
}

/// Where the next poll goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cursor {
    boot: Boot,
    after: u64,
}

impl Intake {
    /// Polls until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let client = crate::client::new(TIMEOUT);
        let mut cursor: Option<Cursor> = None;
        let mut streak = Streak::default();
        // Without a supervisor this channel is closed, and its branches are never taken.
        let mut custody = self.custody.clone();
        while !shutdown.is_cancelled() {
            let polled = tokio::select! {
                () = shutdown.cancelled() => return,
                // What the one before still owes is lost; a new one is asked at once.
                Ok(()) = custody.changed() => continue,
                polled = self.poll(&client, cursor.as_ref()) => polled,
            };
            let (outcome, words) = match polled {
                Ok(page) => {
                    self.take(page, &mut cursor);
                    (PollOutcome::Page, None)
                }
                Err((outcome, words)) => {
                    self.inbox.put(Event::TallyFailed);
                    (outcome, Some(words))
                }
            };
            self.metrics.poll(outcome);
            match streak.note(words.is_none()) {
                Some(Turn::ToWorking) => info!("the tally is read"),
                Some(Turn::ToFailing) => warn!(words, "the tally cannot be read"),
                None => {}
            }
            if outcome != PollOutcome::Page {
                let moved = tokio::time::timeout(PAUSE, custody.changed()).await;
                if matches!(moved, Ok(Err(_))) {
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn take(&self, mut page: TallyPage, cursor: &mut Option<Cursor>) {
        let same = cursor.as_ref().is_some_and(|c| c.boot == page.boot);
        if self.announce && !same {
            self.inbox.put(Event::CollectorStarted { boot: page.boot.clone() });
        }
        *cursor = Some(Cursor { boot: page.boot.clone(), after: page.cursor });
        for echo in std::mem::take(&mut page.echoes) {
            self.ledger.returned(&echo, &self.inbox);
        }
        // Ages in the page count from now on, whenever the loop has time for it.
        self.inbox.put_at(Event::TallyRead { page }, self.clock.now());
    }

    async fn poll(
        &self,
        client: &reqwest::Client,
        cursor: Option<&Cursor>,
    ) -> Result<TallyPage, (PollOutcome, String)> {
        let Some(place) = (self.find)() else {
            return Err((PollOutcome::NoCollector, "no collector is known".into()));
        };
        let after = match cursor {
            // Another boot counts from the beginning, so all its rows are wanted.
            Some(cursor) if cursor.boot == place.boot => cursor.after,
            Some(_) | None => 0,
        };
        ask(client, &place, after).await.map_err(|words| (PollOutcome::Failed, words))
    }
}

async fn ask(
    client: &reqwest::Client,
    place: &CollectorPlace,
    after: u64,
) -> Result<TallyPage, String> {
    // The first poll of a boot must not wait: everything is new to us.
    let wait_ms = if after == 0 { 0 } else { WAIT_MS };
    let url = format!("http://{}/v1/tally?after={after}&wait_ms={wait_ms}", place.admin);
    let chain = |e: reqwest::Error| crate::client::chain(&e);
    let mut answer = client.get(url).send().await.map_err(chain)?;
    if !answer.status().is_success() {
        return Err(format!("the collector answered {}", answer.status()));
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(chain)? {
        if body.len() + chunk.len() > PAGE_BYTES_MAX {
            return Err(format!("the page is larger than {PAGE_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|e| format!("the page is not a tally: {e}"))
}
