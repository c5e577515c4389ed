//! The pauses between attempts.
//!
//! Their limit grows by half from half a second to half a minute, and each is drawn evenly from
//! nothing to the limit ("full jitter"), so that a backend that comes back is not met by all its
//! clients at once. What the backend asks for is waited for, but not beyond [`ASKED_MS_MAX`]: a
//! wrong date must not silence an exporter.
//!
//! Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.

const FIRST_MS: u64 = 500;
const MOST_MS: u64 = 30_000;
/// The longest wait that a backend can ask for.
pub(super) const ASKED_MS_MAX: u64 = 120_000;

/// The pauses of one request.
#[derive(Debug)]
pub(super) struct Pauses {
    next_ms: u64,
}

impl Pauses {
    pub(super) const fn new() -> Self {
        Self { next_ms: FIRST_MS }
    }

    /// The next pause in milliseconds, at least `asked_ms` if the backend asked for one; `jitter`
    /// draws from `0..=` its argument.
    pub(super) fn next(&mut self, asked_ms: Option<u64>, jitter: impl FnOnce(u64) -> u64) -> u64 {
        let pause_ms = self.next_ms;
        self.next_ms = (pause_ms * 3 / 2).min(MOST_MS);
        let spread_ms = jitter(pause_ms);
        asked_ms
            .map_or(spread_ms, |asked| asked.min(ASKED_MS_MAX).saturating_add(jitter_of(spread_ms)))
    }
}

/// A wait that was asked for is never shortened, and lengthened by a tenth of the usual spread.
const fn jitter_of(spread_ms: u64) -> u64 {
    spread_ms / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_spread() {
        let mut pauses = Pauses::new();
        let most: Vec<_> = (0..14).map(|_| pauses.next(None, |below| below)).collect();
        assert_eq!(most[..3], [500, 750, 1_125]);
        assert_eq!(most[13], MOST_MS);
        assert_eq!(Pauses::new().next(None, |_| 0), 0);
    }

    #[test]
    fn what_the_backend_asks_for_is_waited_for_within_reason() {
        assert!(Pauses::new().next(Some(7_000), |_| 0) >= 7_000);
        assert!(Pauses::new().next(Some(u64::MAX), |below| below) <= ASKED_MS_MAX + 50);
        assert!(Pauses::new().next(Some(0), |_| 0) < FIRST_MS);
    }
}
