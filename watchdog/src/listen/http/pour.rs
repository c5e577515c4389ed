//! Pages that are sent while they are rendered, so that the page of ten thousand services is never
//! in memory as a whole.
//!
//! A page that fits into one piece is sent as one, with its length. A longer one holds a thread of
//! the blocking pool until its reader has taken it, so a reader has [`TAKEN_WITHIN`] for all of it.
//!
//! Invariant: what is cut off ends as an error of the connection and never looks complete.

use std::fmt;
use std::io;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

use super::refuse;

/// What is sent at once, in bytes.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that wait for the reader.
const PIECES_WAITING: usize = 2;
/// How long a reader may take for a whole page.
const TAKEN_WITHIN: Duration = Duration::from_secs(10);

type Piece = Result<Bytes, io::Error>;

/// Where a page is written to.
pub struct Page {
    filling: Vec<u8>,
    pieces: Sender<Piece>,
    /// The time of the reader is up.
    up: CancellationToken,
    runtime: Handle,
}

/// Sends what `render` writes, away from the thread that hears beats.
pub async fn pour(
    kind: &'static str,
    render: impl FnOnce(&mut Page) -> Result<(), String> + Send + 'static,
) -> Response {
    let (pieces, mut taken) = channel(PIECES_WAITING);
    let (up, runtime) = (CancellationToken::new(), Handle::current());
    let over = up.clone();
    let clock = tokio::spawn(async move {
        tokio::time::sleep(TAKEN_WITHIN).await;
        over.cancel();
    });
    tokio::task::spawn_blocking(move || {
        let mut page = Page { filling: Vec::new(), pieces, up, runtime };
        let rendered = render(&mut page).map_err(io::Error::other).and_then(|()| page.pass());
        if let Err(error) = rendered {
            // A reader that went away or was too slow has nobody to tell.
            let _gone = page.give(Err(error));
        }
        clock.abort();
    });
    let first = taken.recv().await.unwrap_or_else(|| Err(io::Error::other("nothing rendered")));
    let first = match first {
        Ok(first) => first,
        Err(error) => {
            let (status, message) = (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
            return refuse(status, "not_rendered", &message, "ask again");
        }
    };
    let headers = [(header::CONTENT_TYPE, kind)];
    if first.len() < PIECE_BYTES {
        return (headers, first).into_response();
    }
    (headers, Body::from_stream(rest(first, taken))).into_response()
}

fn rest(
    first: Bytes,
    taken: Receiver<Piece>,
) -> impl futures_util::Stream<Item = Piece> + Send + 'static {
    let state = (Some(first), taken);
    futures_util::stream::unfold(state, |(first, mut taken)| async move {
        let piece = match first {
            Some(first) => Ok(first),
            None => taken.recv().await?,
        };
        Some((piece, (None, taken)))
    })
}

impl Page {
    fn fill(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.filling.extend_from_slice(bytes);
        if self.filling.len() < PIECE_BYTES { Ok(()) } else { self.pass() }
    }

    /// Passes on what there is, be it nothing.
    fn pass(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.filling));
        self.give(Ok(piece))
    }

    fn give(&self, piece: Piece) -> io::Result<()> {
        let sent = self.runtime.block_on(async {
            tokio::select! {
                sent = self.pieces.send(piece) => sent.is_ok(),
                () = self.up.cancelled() => false,
            }
        });
        if sent { Ok(()) } else { Err(io::Error::other("the reader was too slow, or went away")) }
    }
}

impl io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fill(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.fill(text.as_bytes()).map_err(|_| fmt::Error)
    }
}
