//! For how long a permit may be relied on, by clocks that may be wrong.
//!
//! | known | until |
//! |---|---|
//! | an answer of the gate just now | what it said, from before it was asked, by the boot clock |
//! | a permit alone | its end by the wall clock, if nothing speaks against that clock |
//!
//! A twentieth is taken off for clocks that go at different rates. Where the clocks disagree about
//! how much time passed, somebody set one or the machine slept: every lease is void then.
//!
//! Invariant: a clock that was set back never makes a permit live longer.

use agent_gate::permit::Payload;

use crate::driver::Clocks;

/// What is taken off the end of a lease besides the twentieth, in milliseconds.
const MARGIN_MS: u64 = 250;
/// How far the clocks may come apart between two looks, and the wall clock fall behind what it
/// showed before, in milliseconds.
const STEP_MAX_MS: u64 = 1_000;
/// How far the gate's clock may be ahead of this one before this one is taken for wrong.
const AHEAD_MAX_MS: u64 = 5_000;

/// Why the wall clock says nothing of a permit, or that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLease {
    #[error("the permit ended {0} ms ago")]
    Over(u64),
    #[error("this machine's clock shows {0} ms less than it did before: it was set back")]
    SetBack(u64),
    #[error("the permit was signed {0} ms in this machine's future: one of the clocks is wrong")]
    Ahead(u64),
}

impl NoLease {
    /// Whether the gate can still say otherwise; a permit that is over stays over.
    #[must_use]
    pub const fn is_of_the_clock(self) -> bool {
        match self {
            Self::Over(_) => false,
            Self::SetBack(_) | Self::Ahead(_) => true,
        }
    }
}

/// The end of a lease on the boot clock, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lease(u64);

impl Lease {
    /// What the gate's answer gives, which was asked for at `asked`.
    #[must_use]
    pub const fn of_answer(asked: Clocks, expires_in_ms: u64) -> Self {
        Self(asked.boot_ms.saturating_add(shortened(expires_in_ms)))
    }

    /// What the permit alone gives, where the wall clock once showed `seen_ms`.
    ///
    /// # Errors
    /// [`NoLease`] if it is over, or the clock cannot be right.
    pub const fn of_permit(permit: &Payload, now: Clocks, seen_ms: u64) -> Result<Self, NoLease> {
        let (wall, issued) = (now.wall_ms, permit.issued_at_ms);
        if wall.saturating_add(STEP_MAX_MS) < seen_ms {
            return Err(NoLease::SetBack(seen_ms - wall));
        }
        if wall.saturating_add(AHEAD_MAX_MS) < issued {
            return Err(NoLease::Ahead(issued - wall));
        }
        if wall >= permit.expires_at_ms {
            return Err(NoLease::Over(wall - permit.expires_at_ms));
        }
        let from = if wall > issued { wall } else { issued };
        let left = permit.expires_at_ms.saturating_sub(from);
        Ok(Self(now.boot_ms.saturating_add(shortened(left))))
    }

    /// How much of it is left.
    #[must_use]
    pub const fn left_ms(self, now: Clocks) -> u64 {
        self.0.saturating_sub(now.boot_ms)
    }
}

const fn shortened(left_ms: u64) -> u64 {
    (left_ms - left_ms / 20).saturating_sub(MARGIN_MS)
}

/// Whether the clocks disagree about how much time passed between two looks.
#[must_use]
pub const fn came_apart(before: Clocks, now: Clocks) -> bool {
    let boot = now.boot_ms.saturating_sub(before.boot_ms);
    let mono = now.mono_ms.saturating_sub(before.mono_ms);
    let wall = now.wall_ms.saturating_sub(before.wall_ms);
    now.wall_ms < before.wall_ms.saturating_sub(STEP_MAX_MS)
        || boot.abs_diff(mono) > STEP_MAX_MS
        || boot.abs_diff(wall) > STEP_MAX_MS
}

#[cfg(test)]
mod tests {
    use agent_gate_core::policy::OnFreeze;

    use super::*;

    fn clocks(wall_ms: u64, boot_ms: u64) -> Clocks {
        Clocks { wall_ms, boot_ms, mono_ms: boot_ms }
    }

    fn permit() -> Payload {
        Payload {
            permit: "p-000001".into(),
            rollout: "r-000001".into(),
            service: "checkout".into(),
            environment: "default".into(),
            agent: "a".into(),
            to: "r2".into(),
            digest: "sha256:ab".into(),
            scope: "service=checkout".into(),
            epoch: 7,
            issued_at_ms: 100_000,
            expires_at_ms: 120_000,
            on_freeze: OnFreeze::Stop,
        }
    }

    #[test]
    fn a_lease_ends_before_the_permit_does() {
        let now = clocks(100_000, 5_000);
        assert_eq!(Lease::of_permit(&permit(), now, 0), Ok(Lease(5_000 + 19_000 - 250)));
        assert_eq!(Lease::of_answer(now, 20_000), Lease(5_000 + 19_000 - 250));
        assert_eq!(Lease::of_answer(now, 100), Lease(5_000), "too short to use");
    }

    #[test]
    fn a_permit_is_over_at_its_end_and_stays_over_when_the_clock_is_set_back() {
        let at = |wall, seen| Lease::of_permit(&permit(), clocks(wall, 5_000), seen);
        assert!(at(119_999, 119_999).is_ok());
        assert_eq!(at(120_000, 120_000), Err(NoLease::Over(0)));
        assert_eq!(at(110_000, 125_000), Err(NoLease::SetBack(15_000)));
        assert!(at(110_000, 111_000).is_ok(), "a slewed clock is no step");
        assert_eq!(at(90_000, 0), Err(NoLease::Ahead(10_000)));
        // A clock that is a little behind gives no more than the permit's own length.
        assert_eq!(at(97_000, 0), Ok(Lease(5_000 + 19_000 - 250)));
    }

    #[test]
    fn a_step_of_the_wall_clock_or_a_suspend_is_seen() {
        let before = clocks(100_000, 5_000);
        assert!(!came_apart(before, clocks(101_000, 6_000)));
        assert!(came_apart(before, clocks(98_000, 5_200)), "set back");
        assert!(came_apart(before, clocks(110_000, 5_200)), "set ahead");
        let slept = Clocks { wall_ms: 160_000, boot_ms: 65_000, mono_ms: 5_200 };
        assert!(came_apart(before, slept), "a suspend");
    }
}
