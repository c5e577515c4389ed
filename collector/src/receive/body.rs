//! A request's body, read while the memory budget admits it.
//!
//! Memory is taken as bytes arrive, not as `Content-Length` promises them: a client that announces
//! 64 MiB and sends nothing must not hold them. A body that comes in one piece is not copied.
//!
//! Invariant: no byte is kept that the budget did not admit, and no body is waited for longer than
//! [`STALL`] between two pieces.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

use crate::memory::{Budget, Buffer, Held};
use crate::refusal::Refusal;

/// How long a body may stand still.
const STALL: Duration = Duration::from_secs(10);
/// An announced length is believed up to so many times what came: a body that keeps its promise
/// is moved once or never while it grows, and one that does not holds little.
const BELIEVED_TIMES: usize = 8;
/// How long, and how much of, a refused body is still read, so that the client gets to read the
/// answer instead of a reset connection.
const DISCARD_TIME: Duration = Duration::from_secs(2);
const DISCARD_BYTES_MAX: usize = 128 * 1_024 * 1_024;

/// Reads `body`, of at most `max` bytes. Its first piece may announce the length of the whole,
/// which `by_itself` reads.
pub(super) async fn read(
    body: &mut Incoming,
    budget: &Budget,
    max: usize,
    by_itself: impl Fn(&[u8]) -> Option<usize>,
) -> Result<(Bytes, Held), Refusal> {
    let announced = body.size_hint().exact();
    if announced.is_some_and(|bytes| bytes > max as u64) {
        return Err(Refusal::TooLarge { max });
    }
    let Some(first) = next(body).await? else {
        return Ok((Bytes::new(), budget.take(0)?));
    };
    if body.is_end_stream() {
        if first.len() > max {
            return Err(Refusal::TooLarge { max });
        }
        let held = budget.take_body(first.len())?;
        return Ok((first, held));
    }
    let mut buffer = Buffer::new(budget, max)?;
    let announced = announced.and_then(|bytes| usize::try_from(bytes).ok());
    let announced = announced.or_else(|| by_itself(&first)).map_or(0, |bytes| bytes.min(max));
    let mut next_piece = Some(first);
    while let Some(piece) = next_piece {
        if piece.len() > buffer.room() {
            let came = buffer.len() + piece.len();
            let believed = announced.min(BELIEVED_TIMES * came).max(came);
            buffer.reserve(believed - buffer.len())?;
        }
        buffer.extend(&piece)?;
        drop(piece);
        next_piece = next(body).await?;
    }
    Ok(buffer.freeze())
}

/// The next piece of data; `None` at the end.
async fn next(body: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = match timeout(STALL, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                return Err(Refusal::Malformed(format!("the body broke off: {error}")));
            }
            Ok(None) => return Ok(None),
            Err(_) => return Err(Refusal::SlowBody),
        };
        if let Ok(data) = frame.into_data()
            && !data.is_empty()
        {
            return Ok(Some(data));
        }
    }
}

/// Reads what is left of a refused body and forgets it.
pub(super) async fn discard(body: &mut Incoming) {
    let reading = async {
        let mut left = DISCARD_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let read = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(read) {
                Some(less) => left = less,
                None => return,
            }
        }
    };
    // Whether it ended or the time was up, the answer follows.
    let _ = timeout(DISCARD_TIME, reading).await;
}
