//! How late the watchdog itself runs, as a bounded level that stretches its patience.
//!
//! Most false suspicions are made by observers that are slow themselves (Lifeguard, Dadgar,
//! Phillips and Currey, arXiv 1707.00788). So an observer that finds itself late trusts its own
//! clock less, for as long as that lasts:
//!
//! ```text
//! a round (1 s) whose worst lateness is n times `observer_late_ms`    level + n, at most + 4
//! a round in which nothing was late                                   level − 1
//! all thresholds of suspicion and conviction                          × (1 + level / 8)
//! ```
//!
//! Lateness beyond `observer_gap_ms` is no matter of patience: across it no verdict is drawn at
//! all.
//!
//! Invariant: level 0 changes nothing; no level shortens anything or more than doubles it.

use crate::tick::Tick;
use crate::watch::service::ServiceWatch;
use crate::watch::{Touched, Watch, wire};

/// The length of a round, in milliseconds.
const ROUND_MS: u64 = 1_000;
/// The most that one round adds.
const WEIGHT_MAX: u64 = 4;

/// The level of strain, from 0 to [`Strain::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Strain(u8);

impl Strain {
    /// Not late at all.
    pub const NONE: Self = Self(0);
    /// The level at which patience is doubled.
    pub const MAX: u8 = 8;

    /// The level as a number.
    #[must_use]
    pub const fn level(self) -> u8 {
        self.0
    }

    /// A threshold in milliseconds, stretched.
    #[must_use]
    pub fn stretch(self, ms: u64) -> u64 {
        let more = u128::from(ms) * u128::from(self.0) / u128::from(Self::MAX);
        ms.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))
    }
}

/// Keeps the level.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StrainMeter {
    /// The level in the round that began last; `None`: nothing was ever late.
    last: Option<Round>,
}

#[derive(Debug, Clone, Copy)]
struct Round {
    began: Tick,
    /// The level before it.
    before: u8,
    weight: u8,
}

impl Round {
    fn level(&self) -> u8 {
        self.before.saturating_add(self.weight).min(Strain::MAX)
    }
}

impl StrainMeter {
    /// The watchdog found itself `late_ms` late at `now`; `unit_ms` of it weigh one.
    pub fn note(&mut self, late_ms: u64, unit_ms: u64, now: Tick) {
        let weight = (late_ms / unit_ms.max(1)).min(WEIGHT_MAX);
        let weight = u8::try_from(weight).expect("at most WEIGHT_MAX");
        if weight == 0 {
            return;
        }
        match &mut self.last {
            Some(round) if now.since_ms(round.began) < ROUND_MS => {
                round.weight = round.weight.max(weight);
            }
            Some(_) | None => {
                let before = self.strain(now).0;
                self.last = Some(Round { began: now, before, weight });
            }
        }
    }

    /// The level at `now`.
    pub fn strain(&self, now: Tick) -> Strain {
        let Some(round) = &self.last else { return Strain::NONE };
        // The round that was late is none in which nothing was.
        let timely = (now.since_ms(round.began) / ROUND_MS).saturating_sub(1);
        Strain(round.level().saturating_sub(u8::try_from(timely).unwrap_or(u8::MAX)))
    }

    /// When the level falls next after `now`; `None` if there is none.
    pub fn next_change(&self, now: Tick) -> Option<Tick> {
        let round = self.last.filter(|_| self.strain(now) > Strain::NONE)?;
        let rounds = (now.since_ms(round.began) / ROUND_MS + 1).max(2);
        Some(round.began.plus_ms(rounds * ROUND_MS))
    }
}

impl Watch {
    pub(super) fn strain_by(&mut self, late_ms: u64, now: Tick) {
        self.meter.note(late_ms, self.config.observer_late_ms, now);
    }

    /// How late the watchdog itself runs.
    #[must_use]
    pub fn strain(&self, now: Tick) -> Strain {
        self.meter.strain(now)
    }

    /// Judges by the strain at `now` from here on.
    pub(super) fn adopt_strain(&mut self, now: Tick) -> Strain {
        let strain = self.strain(now);
        if strain != self.sight.strain {
            self.sight.strain = strain;
            self.lens = self.config.stretched(strain);
        }
        strain
    }

    pub(super) fn note_lateness(&mut self, gap_ms: u64, now: Tick, touched: &mut Touched) {
        let worst = self
            .late
            .is_none_or(|(at, late)| late <= gap_ms || now.since_ms(at) > wire::LATENESS_KEPT_MS);
        if worst {
            self.late = Some((now, gap_ms));
        }
        if gap_ms > self.config.observer_gap_ms {
            self.go_blind(now, touched);
        } else {
            self.strain_by(gap_ms, now);
        }
    }

    /// The watch could not see until now: no silence counts from before, and every witness must
    /// speak again.
    pub(super) fn go_blind(&mut self, now: Tick, touched: &mut Touched) {
        self.sight.blind_until = now;
        self.sight.started = false;
        self.services.iter_mut().for_each(ServiceWatch::forgive);
        self.probes.reset();
        self.readbacks.reset(now);
        touched.all = true;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UNIT_MS: u64 = 100;

    fn after(notes: &[(u64, u64)]) -> (StrainMeter, Tick) {
        let (mut meter, mut now) = (StrainMeter::default(), Tick(50_000));
        for (pause_ms, late_ms) in notes {
            now = now.plus_ms(*pause_ms);
            meter.note(*late_ms, UNIT_MS, now);
        }
        (meter, now)
    }

    #[test]
    fn rounds_that_are_late_add_what_they_are_late_by_and_others_take_one() {
        let (mut meter, now) = after(&[(0, 250), (300, 250), (300, 250), (300, 250)]);
        assert_eq!(meter.strain(now), Strain(2), "one round");
        let now = now.plus_ms(300);
        meter.note(120, UNIT_MS, now);
        assert_eq!(meter.strain(now), Strain(3));
        for (later_ms, level) in [(1_999, 3), (2_000, 2), (2_999, 2), (3_000, 1), (4_000, 0)] {
            assert_eq!(meter.strain(now.plus_ms(later_ms)), Strain(level), "{later_ms}");
        }
        assert_eq!(meter.next_change(now), Some(now.plus_ms(2_000)));
        assert_eq!(meter.next_change(now.plus_ms(2_000)), Some(now.plus_ms(3_000)));
        assert_eq!(meter.next_change(now.plus_ms(4_000)), None);
    }

    proptest! {
        #[test]
        fn what_is_in_time_changes_nothing(
            notes in prop::collection::vec((0_u64..5_000, 0..UNIT_MS), 0..200),
            ms in any::<u64>(),
        ) {
            let (meter, now) = after(&notes);
            prop_assert_eq!(meter.strain(now), Strain::NONE);
            prop_assert_eq!(meter.strain(now).stretch(ms), ms);
            prop_assert_eq!(meter.next_change(now), None);
        }

        #[test]
        fn the_level_is_bounded_and_gone_after_nine_rounds(
            notes in prop::collection::vec((0_u64..5_000, any::<u64>()), 0..200),
            ms in 0_u64..1 << 40,
        ) {
            let (meter, now) = after(&notes);
            let strain = meter.strain(now);
            prop_assert!(strain.level() <= Strain::MAX);
            prop_assert!((ms..=2 * ms).contains(&strain.stretch(ms)));
            prop_assert_eq!(meter.strain(now.plus_ms(9 * ROUND_MS)), Strain::NONE);
        }

        #[test]
        fn it_never_rises_by_itself_and_falls_when_it_says(
            notes in prop::collection::vec((0_u64..2_000, any::<u64>()), 1..50),
        ) {
            let (meter, mut now) = after(&notes);
            while let Some(next) = meter.next_change(now) {
                prop_assert!(next > now);
                let before = meter.strain(now);
                prop_assert_eq!(meter.strain(Tick(next.0 - 1)), before);
                prop_assert_eq!(meter.strain(next).level() + 1, before.level());
                now = next;
            }
            prop_assert_eq!(meter.strain(now), Strain::NONE);
        }

        #[test]
        fn more_strain_never_shortens(ms in any::<u64>(), levels in (0_u8..=8, 0_u8..=8)) {
            let (low, high) = (levels.0.min(levels.1), levels.0.max(levels.1));
            prop_assert!(Strain(low).stretch(ms) <= Strain(high).stretch(ms));
        }
    }
}
