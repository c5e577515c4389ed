//! What is done about a collector that falls, besides starting it again: pure.
//!
//! A restart heals what went wrong by chance. What went wrong because of the configuration, or
//! because of what lies in the spool, falls again. So the ladder goes on: the last configuration
//! that was proven good, then the spool put aside, then (by the budget) a person.
//!
//! ```text
//! refuses to start, or swallows its probes ─────────────────► known good, if it is another one
//! dies or hangs ─► again ─► known good, if it is another one ─► spool aside ─► again …
//! ```
//!
//! Invariant: a configuration becomes known good only by a whole dwell in which probes of every
//! signal came back right while it was in force. One that cannot start is never in force.

use watchdog_core::tick::Tick;

/// The SHA-256 of a configuration file, in hex.
pub type Hash = String;

/// How a collector fell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fall {
    /// It ended by itself, with a word, before it said where it listens: it refuses to start.
    Refused,
    /// It died, or it hung and was killed.
    Died,
    /// It ran, and probes do not pass it.
    Swallowed,
}

/// What is done before the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    Again,
    /// The configuration is condemned; the known good one is taken from here on.
    KnownGood,
    QuarantineSpool,
}

/// Which configuration a start takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The file that people write.
    Own,
    /// The kept copy of what was proven.
    KnownGood,
}

/// Deaths without a proven dwell between them after which the configuration is suspected.
const DEATHS_OF_CONFIG: u32 = 2;
/// The same for the spool.
const DEATHS_OF_SPOOL: u32 = 3;

/// What is known of configurations, and of how the collector fared with them.
#[derive(Debug, Clone, Default)]
pub struct Cure {
    known_good: Option<Hash>,
    /// A configuration that fell, and is not tried again while its file stays as it is.
    condemned: Option<Hash>,
    in_force: Option<Hash>,
    /// Since when probes have come back while `in_force` was in force.
    proven_since: Option<Tick>,
    deaths: u32,
    quarantined: bool,
}

impl Cure {
    /// With what an earlier watchdog kept.
    pub fn recalled(known_good: Option<Hash>, condemned: Option<Hash>) -> Self {
        Self { known_good, condemned, ..Self::default() }
    }

    pub const fn known_good(&self) -> Option<&Hash> {
        self.known_good.as_ref()
    }

    pub const fn condemned(&self) -> Option<&Hash> {
        self.condemned.as_ref()
    }

    /// What a start takes while the file of people is `own`.
    pub fn source(&self, own: &Hash) -> Source {
        let condemned = self.condemned.as_ref() == Some(own);
        if condemned && self.known_good.is_some() { Source::KnownGood } else { Source::Own }
    }

    /// What was in force last.
    pub const fn in_force(&self) -> Option<&Hash> {
        self.in_force.as_ref()
    }

    /// Probes do not return: a dwell begins anew.
    pub const fn lost(&mut self) {
        self.proven_since = None;
    }

    /// A start with configuration `hash` begins.
    pub fn starts(&mut self, hash: Hash) {
        self.in_force = Some(hash);
        self.proven_since = None;
    }

    /// The collector says that `hash` is in force, and probes return or not. Says what is to be
    /// kept, if a dwell has just proven it.
    pub fn look(&mut self, hash: &Hash, returning: bool, dwell_ms: u64, now: Tick) -> Option<Hash> {
        if self.in_force.as_ref() != Some(hash) {
            self.starts(hash.clone());
        }
        if !returning {
            self.lost();
            return None;
        }
        let since = *self.proven_since.get_or_insert(now);
        if now.since_ms(since) < dwell_ms {
            return None;
        }
        self.deaths = 0;
        self.quarantined = false;
        if self.known_good.as_ref() == Some(hash) {
            return None;
        }
        self.known_good = Some(hash.clone());
        Some(hash.clone())
    }

    /// Whether a fall of what is in force now would be laid to its configuration.
    pub fn may_blame_config(&self) -> bool {
        self.known_good.is_some() && self.in_force != self.known_good
    }

    /// The collector fell; what is done before the next start?
    pub fn fell(&mut self, how: Fall) -> Remedy {
        self.lost();
        let blamed = match how {
            Fall::Refused | Fall::Swallowed => true,
            Fall::Died => {
                self.deaths = self.deaths.saturating_add(1);
                self.deaths >= DEATHS_OF_CONFIG
            }
        };
        if blamed && self.may_blame_config() {
            self.condemned = self.in_force.take();
            return Remedy::KnownGood;
        }
        if self.deaths >= DEATHS_OF_SPOOL && how == Fall::Died && !self.quarantined {
            self.quarantined = true;
            return Remedy::QuarantineSpool;
        }
        Remedy::Again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DWELL_MS: u64 = 5_000;

    fn hash(name: &str) -> Hash {
        name.to_owned()
    }

    /// A collector whose configuration `name` was proven by `from + DWELL_MS`.
    fn proven(name: &str, from: u64) -> Cure {
        let mut cure = Cure::default();
        cure.starts(hash(name));
        assert_eq!(cure.look(&hash(name), true, DWELL_MS, Tick(from)), None);
        let kept = cure.look(&hash(name), true, DWELL_MS, Tick(from + DWELL_MS));
        assert_eq!(kept, Some(hash(name)));
        cure
    }

    #[test]
    fn only_a_whole_dwell_of_returning_probes_makes_a_configuration_known_good() {
        let mut cure = Cure::default();
        cure.starts(hash("a"));
        assert_eq!(cure.look(&hash("a"), true, DWELL_MS, Tick(0)), None);
        assert_eq!(cure.look(&hash("a"), true, DWELL_MS, Tick(4_999)), None);
        assert_eq!(cure.look(&hash("a"), false, DWELL_MS, Tick(5_000)), None);
        assert_eq!(cure.look(&hash("a"), true, DWELL_MS, Tick(5_100)), None);
        // Another file in force begins another dwell.
        assert_eq!(cure.look(&hash("b"), true, DWELL_MS, Tick(10_000)), None);
        assert_eq!(cure.look(&hash("b"), true, DWELL_MS, Tick(15_000)), Some(hash("b")));
        assert_eq!(cure.look(&hash("b"), true, DWELL_MS, Tick(16_000)), None, "kept once");
    }

    #[test]
    fn a_configuration_that_swallows_probes_is_condemned_at_once_and_only_it() {
        let mut cure = proven("good", 0);
        cure.look(&hash("bad"), false, DWELL_MS, Tick(6_000));
        assert_eq!(cure.fell(Fall::Swallowed), Remedy::KnownGood);
        assert_eq!(cure.source(&hash("bad")), Source::KnownGood);
        assert_eq!(cure.source(&hash("mended")), Source::Own);
        assert_eq!(cure.known_good(), Some(&hash("good")));
    }

    #[test]
    fn a_configuration_that_cannot_start_never_becomes_known_good() {
        let mut cure = proven("good", 0);
        cure.starts(hash("broken"));
        assert_eq!(cure.fell(Fall::Refused), Remedy::KnownGood);
        assert_eq!(cure.known_good(), Some(&hash("good")));
        assert_eq!(cure.source(&hash("broken")), Source::KnownGood);
        let mut first = Cure::default();
        for _ in 0..10 {
            first.starts(hash("broken"));
            assert_eq!(first.fell(Fall::Refused), Remedy::Again, "there is nothing to go back to");
        }
        assert_eq!(first.known_good(), None);
    }

    #[test]
    fn what_is_known_good_itself_is_never_condemned() {
        let mut cure = proven("good", 0);
        for how in [Fall::Swallowed, Fall::Refused, Fall::Died, Fall::Died] {
            assert_ne!(cure.fell(how), Remedy::KnownGood);
            cure.starts(hash("good"));
        }
        assert_eq!(cure.condemned(), None);
    }

    #[test]
    fn deaths_in_a_row_put_the_spool_aside_once_until_a_dwell_is_proven() {
        let mut cure = proven("good", 0);
        let falls: Vec<_> = (0..5).map(|_| cure.fell(Fall::Died)).collect();
        let (again, aside) = (Remedy::Again, Remedy::QuarantineSpool);
        assert_eq!(falls, [again, again, aside, again, again]);
        cure.look(&hash("good"), true, DWELL_MS, Tick(10_000));
        cure.look(&hash("good"), true, DWELL_MS, Tick(15_000));
        let falls: Vec<_> = (0..3).map(|_| cure.fell(Fall::Died)).collect();
        assert_eq!(falls, [again, again, aside]);
    }

    #[test]
    fn a_crash_loop_goes_back_to_the_known_good_configuration_before_the_spool_is_touched() {
        let mut cure = proven("good", 0);
        cure.starts(hash("new"));
        let mut falls = Vec::new();
        for _ in 0..4 {
            falls.push(cure.fell(Fall::Died));
            let next = if cure.source(&hash("new")) == Source::Own { "new" } else { "good" };
            cure.starts(hash(next));
        }
        let (again, aside) = (Remedy::Again, Remedy::QuarantineSpool);
        assert_eq!(falls, [again, Remedy::KnownGood, aside, again]);
    }

    #[test]
    fn a_refusal_to_start_never_touches_the_spool() {
        let mut cure = Cure::default();
        cure.starts(hash("a"));
        assert!((0..10).all(|_| cure.fell(Fall::Refused) == Remedy::Again));
    }

    /// Every sequence of seven steps: known good is only what was proven, and what is condemned
    /// never is.
    #[test]
    fn whatever_happens_known_good_was_proven() {
        for code in 0..6_u32.pow(7) {
            let mut cure = Cure::default();
            let mut now = 0;
            let mut proven = Vec::new();
            let mut own = "a";
            cure.starts(hash(own));
            for step in (0..7).map(|place| code / 6_u32.pow(place) % 6) {
                now += DWELL_MS;
                let running = cure.in_force.clone().unwrap_or_else(|| hash(own));
                let how = match step {
                    0 | 1 => {
                        let kept = cure.look(&running, step == 0, DWELL_MS, Tick(now));
                        proven.extend(kept);
                        continue;
                    }
                    2 => {
                        own = if own == "a" { "b" } else { "a" };
                        cure.look(&hash(own), false, DWELL_MS, Tick(now));
                        continue;
                    }
                    3 => Fall::Refused,
                    4 => Fall::Swallowed,
                    _ => Fall::Died,
                };
                cure.fell(how);
                let known = cure.known_good().cloned();
                let starts = match cure.source(&hash(own)) {
                    Source::Own => hash(own),
                    Source::KnownGood => known.expect("it is chosen only if there is one"),
                };
                cure.starts(starts);
                assert!(cure.known_good().is_none_or(|good| proven.contains(good)), "{code}");
                assert!(cure.condemned().is_none_or(|it| cure.known_good() != Some(it)
                    || proven.last() == Some(it)), "{code}");
            }
        }
    }
}
