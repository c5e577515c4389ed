//! Changes of verdicts as server-sent events.
//!
//! The stream begins with `verdicts` (everything known), goes on with `change` (one service), and
//! says `verdicts` again to a reader that was too slow to be told each change.
//!
//! Invariant: a slow reader loses its place in the stream, never anybody else's time.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Service;
use watchdog_core::verdict::{Verdict, VerdictKind};

use super::Shared;
use crate::publish::{Change, Reader};

/// One row of the event that opens the stream.
#[derive(Serialize)]
struct Row {
    service: Service,
    verdict: VerdictKind,
    reason: Cow<'static, str>,
}

struct Reading {
    reader: Reader,
    changes: Receiver<Arc<Change>>,
    shutdown: CancellationToken,
    whole: bool,
}

/// The stream; it ends with the watchdog.
pub async fn events(
    State(shared): State<Shared>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let reading = Reading {
        // Subscribed before the snapshot is read: what lies between is told twice, not never.
        changes: shared.reader.changes(),
        reader: shared.reader,
        shutdown: shared.shutdown,
        whole: true,
    };
    let stream = futures_util::stream::unfold(reading, |mut reading| async move {
        let event = reading.next().await?;
        Some((Ok(event), reading))
    });
    Sse::new(stream).keep_alive(KeepAlive::default())
}

impl Reading {
    async fn next(&mut self) -> Option<Event> {
        if std::mem::replace(&mut self.whole, false) {
            return Some(self.everything());
        }
        let change = tokio::select! {
            () = self.shutdown.cancelled() => return None,
            change = self.changes.recv() => change,
        };
        match change {
            Ok(change) => {
                let event = Event::default().event("change").id(change.seq.to_string());
                event.json_data(&*change).ok()
            }
            Err(RecvError::Lagged(_)) => Some(self.everything()),
            Err(RecvError::Closed) => None,
        }
    }

    fn everything(&self) -> Event {
        let snapshot = self.reader.held();
        let row = |Verdict { service, verdict, reason, .. }| Row { service, verdict, reason };
        let rows: Vec<Row> = snapshot.verdicts().map(row).collect();
        let event = Event::default().event("verdicts").id(snapshot.seq.to_string());
        event.json_data(rows).unwrap_or_else(|_| Event::default().comment("not rendered"))
    }
}
