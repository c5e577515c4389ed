//! How often one token may call, so that a runaway agent costs nobody else an answer.
//!
//! What moves towards safety is never refused for its pace: a freeze, and calling a rollout off.
//!
//! Invariant: a token spends nobody's turns but its own.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::StatusCode;

use super::refusal::Refusal;
use super::roles::Call;

type Tokens = RateLimiter<
    String,
    HashMapStateStore<String>,
    MonotonicClock,
    NoOpMiddleware<std::time::Instant>,
>;

/// The turns of every token.
#[derive(Debug)]
pub struct Pace {
    tokens: Tokens,
    calls_per_s: NonZeroU32,
}

impl Pace {
    /// `calls_per_s` in the long run, and as many at once.
    #[must_use]
    pub fn new(calls_per_s: NonZeroU32) -> Self {
        let tokens = RateLimiter::new(
            Quota::per_second(calls_per_s),
            HashMapStateStore::default(),
            MonotonicClock,
        );
        Self { tokens, calls_per_s }
    }

    /// Takes one turn of the token named `name`.
    ///
    /// # Errors
    /// 429 with the time after which there is one again.
    pub fn take(&self, name: &str, call: Call) -> Result<(), Refusal> {
        if matches!(call, Call::Freeze | Call::Abort) {
            return Ok(());
        }
        let Err(early) = self.tokens.check_key(&name.to_owned()) else { return Ok(()) };
        let wait = early.wait_time_from(MonotonicClock.now());
        let calls_per_s = self.calls_per_s;
        let mut refusal = Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_calls",
            format!("the token {name:?} calls more than {calls_per_s} times a second"),
            "call more slowly, or raise gate.calls_per_s; freezes are always taken",
        );
        // Whole seconds, and never none.
        refusal.retry_after = Some(wait.max(Duration::from_millis(1)));
        Err(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runaway_token_is_refused_and_others_and_freezes_are_not() {
        let pace = Pace::new(NonZeroU32::new(5).expect("not zero"));
        let take = |name, call| pace.take(name, call).map_err(|refusal| refusal.status);
        for _ in 0..5 {
            assert_eq!(take("a", Call::RequestRollout), Ok(()));
        }
        let refusal = pace.take("a", Call::Renew).expect_err("its turns are spent");
        assert_eq!(refusal.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(refusal.retry_after.is_some_and(|wait| wait <= Duration::from_millis(200)));
        assert_eq!(take("a", Call::Freeze), Ok(()), "safety has no price");
        assert_eq!(take("a", Call::Abort), Ok(()));
        assert_eq!(take("b", Call::RequestRollout), Ok(()));
    }
}
