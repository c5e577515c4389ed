//! Memory is admitted before it is used.
//!
//! Every byte of a request that the collector holds, from its first chunk to the backend's answer,
//! is taken from one budget first. Who finds the budget spent is refused and told to come back;
//! nobody waits with bytes in hand, so there is no deadlock and no growth.
//!
//! Whose a request is shows only when it is read, so no service can have a share of its own here.
//! But a quarter is kept for small requests: who fills the rest with big ones, or with slow ones,
//! does not blind the services that send little.
//!
//! Invariant: the capacities of all [`Buffer`]s together never exceed the budget.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;

/// A request that has more bytes than this is big.
const SMALL_BYTES: usize = 64 * 1_024;

/// The collector's budget of bytes for requests.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    bytes: usize,
    /// What big requests leave to small ones.
    reserve: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let bytes = bytes.min(Semaphore::MAX_PERMITS);
        Self { free: Arc::new(Semaphore::new(bytes)), bytes, reserve: 0 }
    }

    /// A quarter is for small requests, as far as one of `max` bytes can still be inflated to as
    /// many when nothing else is there.
    pub(crate) fn reserving(bytes: usize, max: usize) -> Self {
        let budget = Self::new(bytes);
        let reserve = (budget.bytes / 4).min(budget.bytes.saturating_sub(2 * max));
        Self { reserve, ..budget }
    }

    /// Whether it has the bounds of `other`.
    pub(crate) const fn is_as(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.reserve == other.reserve
    }

    /// Bytes that are held now.
    pub(crate) fn held_bytes(&self) -> usize {
        self.bytes - self.free.available_permits()
    }

    /// Takes `bytes` for something that is then of `size` bytes, or refuses at once.
    fn take_for(&self, size: usize, bytes: usize) -> Result<Held, Refusal> {
        // Two at a time may both find room and together leave less, by what they take at once.
        let is_kept = size > SMALL_BYTES && bytes > 0;
        if is_kept && self.free.available_permits() < self.reserve.saturating_add(bytes) {
            return Err(Refusal::MemoryFull);
        }
        self.take(bytes)
    }

    /// Takes what a body of so many `bytes` needs, or refuses at once.
    pub(crate) fn take_body(&self, bytes: usize) -> Result<Held, Refusal> {
        self.take_for(bytes, bytes)
    }

    /// Takes `bytes`, or refuses at once.
    pub(crate) fn take(&self, bytes: usize) -> Result<Held, Refusal> {
        let wanted = u32::try_from(bytes).map_err(|_| Refusal::MemoryFull)?;
        match Arc::clone(&self.free).try_acquire_many_owned(wanted) {
            Ok(permit) => Ok(Held { permit, budget: self.clone() }),
            Err(_) => Err(Refusal::MemoryFull),
        }
    }
}

/// Bytes taken from the budget; dropping it gives them back.
#[derive(Debug)]
pub(crate) struct Held {
    permit: OwnedSemaphorePermit,
    budget: Budget,
}

impl Held {
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits()
    }

    /// Takes more, or gives back, until `bytes` are held.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Refusal> {
        let held = self.bytes();
        if bytes > held {
            self.permit.merge(self.budget.take_for(bytes, bytes - held)?.permit);
        } else {
            drop(self.permit.split(held - bytes));
        }
        Ok(())
    }

    /// Joins what `other` holds to this.
    pub(crate) fn merge(&mut self, other: Self) {
        self.permit.merge(other.permit);
    }
}

/// Bytes that grow within the budget and up to a limit.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    held: Held,
    max: usize,
}

impl Buffer {
    /// An empty buffer that never holds more than `max` bytes.
    pub(crate) fn new(budget: &Budget, max: usize) -> Result<Self, Refusal> {
        Ok(Self { bytes: Vec::new(), held: budget.take(0)?, max })
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Makes room for `more` bytes: doubles, so that growth copies each byte a bounded number of
    /// times, but never beyond what the limit allows.
    pub(crate) fn reserve(&mut self, more: usize) -> Result<(), Refusal> {
        let wanted = self.bytes.len().saturating_add(more);
        if wanted > self.max {
            return Err(self.too_large());
        }
        if wanted > self.bytes.capacity() {
            let doubled = self.bytes.capacity().saturating_mul(2).clamp(1_024, self.max.max(1_024));
            let capacity = wanted.max(doubled);
            self.held.resize(capacity)?;
            self.bytes.reserve_exact(capacity - self.bytes.len());
        }
        Ok(())
    }

    /// Bytes that fit without growth.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.bytes.capacity().min(self.max) - self.bytes.len()
    }

    /// What is said of a content that goes beyond the limit.
    pub(crate) const fn too_large(&self) -> Refusal {
        Refusal::TooLarge { max: self.max }
    }

    /// Bytes that the limit still allows.
    pub(crate) fn headroom(&self) -> usize {
        self.max - self.bytes.len()
    }

    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() > self.room() {
            self.reserve(bytes.len())?;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// Appends `count` zeros, to be overwritten.
    pub(crate) fn extend_zeroed(&mut self, count: usize) -> Result<(), Refusal> {
        self.reserve(count)?;
        self.bytes.resize(self.bytes.len() + count, 0);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
    }

    /// The bytes, and what they hold of the budget.
    pub(crate) fn freeze(self) -> (Bytes, Held) {
        (Bytes::from(self.bytes), self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spent_budget_refuses_and_a_returned_one_admits() {
        let budget = Budget::new(10);
        let held = budget.take(10).expect("all of it");
        assert_eq!(budget.take(1).expect_err("spent"), Refusal::MemoryFull);
        assert_eq!(budget.held_bytes(), 10);
        drop(held);
        assert_eq!(budget.held_bytes(), 0);
        assert!(budget.take(10).is_ok());
    }

    #[test]
    fn big_requests_leave_a_quarter_to_small_ones() {
        let (quarter, max) = (SMALL_BYTES * 16, SMALL_BYTES * 8);
        let budget = Budget::reserving(4 * quarter, max);
        let held = || Buffer::new(&budget, max).and_then(|mut big| big.reserve(max).map(|()| big));
        let mut big = Vec::new();
        let refusal = loop {
            match held() {
                Ok(one) => big.push(one),
                Err(refusal) => break refusal,
            }
        };
        assert_eq!((refusal, budget.held_bytes()), (Refusal::MemoryFull, 3 * quarter));
        assert_eq!(budget.take_body(max).expect_err("it is big"), Refusal::MemoryFull);
        let small: Vec<_> = (0..16).map(|_| budget.take_body(SMALL_BYTES)).collect();
        assert!(small.iter().all(Result::is_ok));
        assert_eq!(budget.take_body(1).expect_err("spent"), Refusal::MemoryFull);
        drop((small, big.pop()));
        assert!(held().is_ok());
    }

    #[test]
    fn the_largest_request_can_always_be_read_and_inflated_if_it_is_alone() {
        let max = SMALL_BYTES * 8;
        for bytes in [2 * max, 2 * max + 1, 3 * max, 8 * max] {
            let budget = Budget::reserving(bytes, max);
            let body = budget.take_body(max).expect("nothing else is there");
            Buffer::new(&budget, max).expect("empty").reserve(max).expect("its content fits");
            drop(body);
        }
    }

    #[test]
    fn a_buffer_stops_at_its_limit_and_at_the_budget() {
        let budget = Budget::new(5_000);
        let mut buffer = Buffer::new(&budget, 4_000).expect("nothing yet");
        buffer.extend(&[1; 4_000]).expect("the limit");
        assert_eq!(buffer.extend(&[1]), Err(Refusal::TooLarge { max: 4_000 }));
        let mut other = Buffer::new(&budget, 4_000).expect("nothing yet");
        assert_eq!(other.extend(&[1; 1_001]), Err(Refusal::MemoryFull));
        let (bytes, held) = buffer.freeze();
        assert_eq!((bytes.len(), held.bytes()), (4_000, 4_000));
        drop(held);
        assert!(other.extend(&[1; 1_001]).is_ok());
    }
}
