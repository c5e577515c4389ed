//! Small requests that travel together.
//!
//! Two export requests one after the other are one request in protobuf, and members of gzip and
//! frames of zstd follow one another as well. So a batch is its requests, put end to end, with
//! nothing decoded. Not every decoder of gzip reads beyond the first member, so compressed bytes
//! are put together only where `batch_compressed` says that the backend does.
//!
//! Invariant: a batch holds requests of one kind in the order in which they came.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use watchdog_core::tick::Tick;

use crate::arrival::{Form, Payload};
use crate::config::{Compression, ExporterConfig};
use crate::kind::Kind;
use crate::line::Item;
use crate::payload::compress;

/// Batches that are being filled, one for each kind.
#[derive(Debug, Default)]
pub(super) struct Batches {
    filling: Vec<Filling>,
}

#[derive(Debug)]
struct Filling {
    kind: Kind,
    items: Vec<Item>,
    bytes: usize,
    since: Tick,
}

impl Batches {
    /// Takes `item`; gives back what is to be sent now, in this order.
    pub(super) fn put(&mut self, item: Item, config: &ExporterConfig, now: Tick) -> Vec<Vec<Item>> {
        let (kind, bytes) = (item.share.kind(), item.payload.plain_bytes());
        let open = self.filling.iter().position(|filling| filling.kind == kind);
        let is_alone = bytes >= config.batch_bytes || !may_join(&item.payload, config);
        let mut ready = Vec::new();
        let place = match open {
            Some(at) if is_alone || self.filling[at].bytes + bytes > config.batch_bytes => {
                ready.push(self.filling.swap_remove(at).items);
                None
            }
            other => other,
        };
        match place {
            _ if is_alone => ready.push(vec![item]),
            Some(at) => {
                self.filling[at].items.push(item);
                self.filling[at].bytes += bytes;
            }
            None => self.filling.push(Filling { kind, items: vec![item], bytes, since: now }),
        }
        ready
    }

    /// When the oldest is to be sent, filled or not.
    pub(super) fn due(&self, batch_ms: u64) -> Option<Tick> {
        self.filling.iter().map(|filling| filling.since.plus_ms(batch_ms)).min()
    }

    /// Takes the oldest.
    pub(super) fn take_oldest(&mut self) -> Option<Vec<Item>> {
        let oldest = (0..self.filling.len()).min_by_key(|at| self.filling[*at].since)?;
        Some(self.filling.swap_remove(oldest).items)
    }
}

/// Whether the bytes can stand beside others as the backend wants them.
fn may_join(payload: &Payload, config: &ExporterConfig) -> bool {
    // As they came they would have to be opened and closed again.
    config.batch_compressed
        || config.compression != Compression::AsReceived
        || payload.form() == Form::Plain
}

/// The requests as one, in `form`.
pub(super) fn join(payloads: &[Arc<Payload>], form: Form, is_compressed: bool) -> Bytes {
    let (inner, outer) = if is_compressed { (form, Form::Plain) } else { (Form::Plain, form) };
    let parts: Vec<Bytes> = payloads.iter().map(|payload| payload.in_form(inner)).collect();
    let mut joined = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
    parts.iter().for_each(|part| joined.extend_from_slice(part));
    match outer {
        Form::Plain => joined.freeze(),
        Form::Gzip | Form::Zstd => compress(outer, &joined),
    }
}

/// How many of the `rejected` records of a batch each of its requests is said to have lost. Which
/// they were is not told. The smallest come first: probes are small, and a probe that may have been
/// rejected must not count as seen.
pub(super) fn shared_out(rejected: u64, records: &[u64]) -> Vec<u64> {
    let mut left = rejected;
    let mut lost = vec![0; records.len()];
    let mut order: Vec<usize> = (0..records.len()).collect();
    order.sort_by_key(|at| records[*at]);
    for at in order {
        lost[at] = records[at].min(left);
        left -= lost[at];
    }
    lost
}

#[cfg(test)]
mod tests {
    use super::shared_out;

    #[test]
    fn rejected_records_are_counted_once_and_the_smallest_request_bears_them_first() {
        assert_eq!(shared_out(0, &[5, 1]), [0, 0]);
        assert_eq!(shared_out(1, &[5, 1, 9]), [0, 1, 0]);
        assert_eq!(shared_out(7, &[5, 1, 9]), [5, 1, 1]);
        assert_eq!(shared_out(99, &[5, 1]), [5, 1], "no more than there were");
    }
}
