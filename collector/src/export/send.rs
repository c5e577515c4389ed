//! The sending half of an exporter: from its queue to the backend, and again after a failure.
//!
//! Invariant: each item that is taken from the queue ends in exactly one of delivered and dropped.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, Span, debug, debug_span, info, warn};
use watchdog_core::tick::Tick;

use super::attempt::{Failure, Outcome};
use super::batch::{self, Batches};
use super::breaker::{Doing, Turn};
use super::destination::Sealed;
use super::pause::Pauses;
use super::{Exporter, Target};
use crate::driver;
use crate::kind::Kind;
use crate::line::{DropReason, Item};
use crate::metrics::ExporterMetrics;
use crate::rounds::Turns;

/// How often a silence that is not suspicious is looked at again, at most.
const TURN_MS_MIN: u64 = 100;

/// What the attempts of one exporter share.
#[derive(Debug)]
struct Sender {
    /// The settings in force: every attempt goes by those of its beginning.
    target: watch::Receiver<Arc<Target>>,
    metrics: Arc<ExporterMetrics>,
}

impl Exporter {
    /// Sends until `stop`, and then what is still queued. Dropping the future drops, and counts,
    /// what is left.
    pub(crate) async fn run(self, mut turns: Turns, stop: CancellationToken) {
        let Self { metrics, target, mut queue } = self;
        let sender = Arc::new(Sender { target, metrics });
        let mut sending = FuturesUnordered::new();
        let mut batches = Batches::default();
        let mut open = true;
        loop {
            let target = Arc::clone(&sender.target.borrow());
            let has_room = sending.len() < target.width();
            let due = if open { batches.due(target.config.batch_ms) } else { Some(Tick(0)) };
            if has_room
                && due.is_some_and(|due| due <= driver::now())
                && let Some(items) = batches.take_oldest()
            {
                sending.push(Arc::clone(&sender).deliver(items));
                continue;
            }
            if !open && sending.is_empty() {
                return;
            }
            let wait = due.map_or(u64::MAX, |due| due.since_ms(driver::now()).max(1));
            tokio::select! {
                () = turns.turn() => {}
                () = stop.cancelled(), if !queue.is_closed() => queue.close(),
                Some(()) = sending.next() => {}
                item = queue.recv(), if open && has_room => {
                    open = item.is_some();
                    let mut next = item;
                    while let Some(item) = next.take() {
                        let ready = batches.put(item, &target.config, driver::now());
                        if ready.is_empty() {
                            // What waits already can travel with it, and costs no time.
                            next = queue.recv().now_or_never().flatten();
                        }
                        for items in ready {
                            sending.push(Arc::clone(&sender).deliver(items));
                        }
                    }
                }
                () = tokio::time::sleep(Duration::from_millis(wait)),
                    if open && has_room && due.is_some() => {}
            }
        }
    }
}

impl Target {
    /// Items to work on at a time. While the backend does not answer, one is enough to probe it.
    fn width(&self) -> usize {
        match self.breaker.doing() {
            Doing::Passing => self.destination.width(self.config.concurrency),
            Doing::Resting | Doing::Probing => 1,
        }
    }
}

/// How the work for a request ended.
#[derive(Debug)]
enum End {
    Taken(Outcome),
    Refused,
    Expired,
}

impl Sender {
    /// Tries until the backend took `items`, refused them for good, or the time is up. A batch that
    /// is refused is sent again one by one: one of it may be at fault for all, or it was too big.
    ///
    /// Each share ends in exactly one of `delivered` and `dropped`, or unsaid by the stop.
    async fn deliver(self: Arc<Self>, mut items: Vec<Item>) {
        let give_up_from = driver::now();
        match self.end_of(&items, give_up_from).await {
            Some(End::Refused) if items.len() > 1 => {
                for item in items {
                    let one = std::slice::from_ref(&item);
                    match self.end_of(one, give_up_from).await {
                        Some(end) => settle(vec![item], &end),
                        None => return,
                    }
                }
            }
            Some(end) => settle(items, &end),
            // The stop ended a blocking thread; the shares stay unsaid.
            None => items.clear(),
        }
    }

    /// How it ends with `items`, as one request. New settings may be what was missing, so they are
    /// tried at once.
    async fn end_of(&self, items: &[Item], began: Tick) -> Option<End> {
        let kind = items.first()?.share.kind();
        let mut targets = self.target.clone();
        loop {
            let target = Arc::clone(&targets.borrow_and_update());
            let give_up = began.plus_ms(target.config.retry_for_ms);
            let payloads = items.iter().map(|item| Arc::clone(&item.payload)).collect();
            let join_compressed = target.config.batch_compressed;
            let body = target.destination.seal(payloads, join_compressed).await.ok()?;
            tokio::select! {
                end = self.send(&target, kind, &body, give_up) => {
                    if let End::Taken(Outcome { rejected: rejected @ 1.., message }) = &end {
                        // Counted as dropped; a line for each would flood the log.
                        let exporter = &target.exporter;
                        debug!(exporter, rejected, message, "partly rejected");
                    }
                    return Some(end);
                }
                Ok(()) = targets.changed() => {}
            }
        }
    }

    /// Makes attempts until one is answered. As a rule one is under way; while the backend is
    /// silent probes join it, and the first answer decides.
    async fn send(&self, target: &Target, kind: Kind, body: &Sealed, give_up: Tick) -> End {
        let breaker = &target.breaker;
        let mut pauses = Pauses::new();
        let mut attempts = FuturesUnordered::new();
        let mut newest = driver::now();
        loop {
            let now = driver::now();
            let is_passing = breaker.doing() == Doing::Passing;
            let is_wary = is_passing && target.destination.is_remote();
            let left = Duration::from_millis(give_up.since_ms(now));
            let suspicious = newest.plus_ms(breaker.suspicion_ms()).since_ms(now).max(TURN_MS_MIN);
            tokio::select! {
                biased;
                Some(outcome) = attempts.next(), if !attempts.is_empty() => match outcome {
                    Ok(outcome) => return End::Taken(outcome),
                    Err(Failure::Never { .. }) => return End::Refused,
                    Err(Failure::Later { after, .. }) if attempts.is_empty() => {
                        let pause_ms = pauses.next(after, driver::jitter);
                        if !pause(target, pause_ms, after.is_some(), give_up).await {
                            return End::Expired;
                        }
                    }
                    Err(Failure::Later { .. }) => {}
                },
                turn = breaker.turn(), if attempts.is_empty() || !is_passing => {
                    if turn == Turn::Go && !attempts.is_empty() {
                        if !breaker.is_ahead_of(newest) {
                            continue;
                        }
                        // The backend is back, and what was sent before is lost.
                        attempts.clear();
                    }
                    newest = driver::now();
                    attempts.push(self.attempt(target, turn, kind, body));
                }
                () = tokio::time::sleep(left), if attempts.is_empty() => return End::Expired,
                () = tokio::time::sleep(Duration::from_millis(suspicious)), if is_wary => {
                    if breaker.suspect(newest) {
                        self.metrics.breaker.trips();
                        let exporter = &target.exporter;
                        warn!(exporter, "the backend has fallen silent; probing it");
                    }
                }
            }
        }
    }

    /// Sends `body` once, and tells the breaker, the health and the log how that went.
    async fn attempt(
        &self,
        target: &Target,
        turn: Turn,
        kind: Kind,
        body: &Sealed,
    ) -> Result<Outcome, Failure> {
        self.metrics.breaker.is(target.breaker.doing());
        let timeout = Duration::from_millis(target.config.timeout_ms);
        let began = driver::now();
        let span = attempt_span(target, turn, kind, body);
        let attempt = target.destination.attempt(kind, body.clone()).instrument(span.clone());
        let outcome = match tokio::time::timeout(timeout, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Failure::Later { why: "no answer in time".to_owned(), after: None }),
        };
        if let Err(Failure::Later { why, .. } | Failure::Never { why }) = &outcome {
            span.record("otel.status_code", "ERROR").record("otel.status_description", why);
        }
        let now = driver::now();
        let exporter = &target.exporter;
        match &outcome {
            Ok(_) => {
                target.breaker.answered(began);
                if self.metrics.health.works() {
                    info!(exporter, "the backend takes telemetry again");
                }
            }
            Err(Failure::Never { why }) => {
                target.breaker.answered(began);
                // A backend may well not know profiles; that says nothing about its health.
                if kind != Kind::Profiles && self.metrics.health.fails(now, why) {
                    warn!(exporter, why, "the backend refuses telemetry for good");
                }
            }
            Err(Failure::Later { why, after }) => {
                self.metrics.failed_attempt();
                if self.metrics.health.fails(now, why) {
                    warn!(exporter, why, "cannot deliver; trying again");
                }
                if target.breaker.failed(turn == Turn::Probe, *after) {
                    self.metrics.breaker.trips();
                }
            }
        }
        self.metrics.breaker.is(target.breaker.doing());
        outcome
    }
}

/// The span of one attempt. There may be one for each request, so it is at DEBUG, of which whoever
/// listens takes a few; nobody does by default, and then it costs a comparison.
fn attempt_span(target: &Target, turn: Turn, kind: Kind, body: &Sealed) -> Span {
    debug_span!(
        "export_attempt",
        otel.kind = "client",
        otel.status_code = Empty,
        otel.status_description = Empty,
        exporter = target.exporter,
        signal = kind.as_str(),
        bytes = body.bytes.len(),
        is_probe = turn == Turn::Probe,
    )
}

/// Says to all shares how it ended.
fn settle(items: Vec<Item>, end: &End) {
    match end {
        End::Taken(Outcome { rejected, .. }) => {
            let records: Vec<u64> = items.iter().map(|item| item.share.records()).collect();
            for (item, lost) in items.into_iter().zip(batch::shared_out(*rejected, &records)) {
                item.share.delivered(lost);
            }
        }
        End::Refused => items.into_iter().for_each(|it| it.share.dropped(DropReason::Rejected)),
        End::Expired => items.into_iter().for_each(|it| it.share.dropped(DropReason::Expired)),
    }
}

/// Waits for `pause_ms` before the next turn is asked for; whether there is time for it. A
/// breaker that tripped does the waiting, unless the backend asked this request for a pause.
async fn pause(target: &Target, pause_ms: u64, was_asked_for: bool, give_up: Tick) -> bool {
    let now = driver::now();
    if target.breaker.doing() != Doing::Passing && !was_asked_for {
        return now < give_up;
    }
    if now.plus_ms(pause_ms) > give_up {
        return false;
    }
    let pause = tokio::time::sleep(Duration::from_millis(pause_ms));
    tokio::select! {
        () = pause => {}
        () = target.breaker.heals(), if !was_asked_for => {}
    }
    true
}
