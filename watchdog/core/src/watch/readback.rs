//! What the backend itself says: metric probes read back from it by the query that people use.
//!
//! The far tap ends where the exporter has handed over. Two more answers tell what lies behind it:
//! probes that went through the collector, and probes that went straight to the backend.
//!
//! | far tap | read back, through the collector | read back, straight | where |
//! |---|---|---|---|
//! | returns | lost | returns | the exporter |
//! | returns | lost | lost, or not sent | the backend |
//! | lost, records wait | | returns | the exporter |
//! | lost, records wait | | lost, or not sent | the backend |
//! | returns | wrong | right | the exporter lies |
//! | returns | wrong | wrong, or not sent | the backend lies |
//!
//! A backend that dies takes both ways with it, one a little before the other. So "returns" counts
//! for the straight way only by a probe that was sent clearly after the last one that came through.
//!
//! Invariant: a query that fails or is not made says `unknown`; it is never "returns" and never 0.

use crate::judge::{Path, Probes};
use crate::probe::Way;
use crate::tick::Tick;
use crate::verdict::{ProbeEvidence, ProbeState};

/// A way is ahead of the other by this part of the time that a probe may take.
const APART: u64 = 4;

/// Which ways are read back, and how long a probe may take until it can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadbackBounds {
    /// Whether probes are sent straight to the backend too.
    pub direct: bool,
    pub late_ms: u64,
}

/// What one look at the backend found of one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// The query failed, or what it gave cannot be read.
    Unverifiable,
    /// The query works, and there is no probe of this run.
    Absent,
    Wrong,
    /// The newest probe that is there was sent so long ago.
    Right {
        age_ms: u64,
    },
}

/// The last look at each way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Readbacks {
    bounds: Option<ReadbackBounds>,
    since: Tick,
    told: [Option<(Tick, ReadBack)>; 2],
}

/// What each way says; `None` where nothing is read back.
pub(super) type States = [Option<Probes>; 2];

impl Readbacks {
    pub const fn new(bounds: Option<ReadbackBounds>, now: Tick) -> Self {
        Self { bounds, since: now, told: [None; 2] }
    }

    pub const fn tell(&mut self, way: Way, found: ReadBack, now: Tick) {
        self.told[way as usize] = Some((now, found));
    }

    /// The watch was blind: what it was told is of another time.
    pub const fn reset(&mut self, now: Tick) {
        *self = Self::new(self.bounds, now);
    }

    pub fn states(&self, now: Tick) -> States {
        let [path, direct] = Way::ALL.map(|way| self.state(way, now));
        let ahead = path != Some(Probes::Lost) || self.is_straight_ahead(now);
        let direct = match direct {
            Some(Probes::Returning) if !ahead => Some(Probes::Late),
            told => told,
        };
        [path, direct]
    }

    /// Whether what went straight was sent clearly later than what last came through.
    fn is_straight_ahead(&self, now: Tick) -> bool {
        let apart_ms = self.bounds.map_or(0, |bounds| bounds.late_ms / APART);
        let through = self.sent(Way::Path).unwrap_or(self.since);
        self.proven(Way::Direct, now).is_some_and(|at| at > through.plus_ms(apart_ms))
    }

    /// When the newest right probe of a way was sent.
    fn sent(&self, way: Way) -> Option<Tick> {
        match self.told[way as usize]? {
            (at, ReadBack::Right { age_ms }) => Some(at.minus_ms(age_ms)),
            (_, ReadBack::Unverifiable | ReadBack::Absent | ReadBack::Wrong) => None,
        }
    }

    /// Up to when a way is proven: the sending of its newest probe, if that returns.
    pub fn proven(&self, way: Way, now: Tick) -> Option<Tick> {
        self.sent(way).filter(|_| self.state(way, now) == Some(Probes::Returning))
    }

    fn state(&self, way: Way, now: Tick) -> Option<Probes> {
        let bounds = self.bounds.filter(|bounds| way == Way::Path || bounds.direct)?;
        let Some((at, found)) = self.told[way as usize] else { return Some(Probes::Unknown) };
        if now.since_ms(at) > bounds.late_ms {
            // Nobody has looked of late.
            return Some(Probes::Unknown);
        }
        Some(match found {
            ReadBack::Unverifiable => Probes::Unknown,
            ReadBack::Wrong => Probes::Wrong,
            // The first probes have their time before they are missed.
            ReadBack::Absent if now.since_ms(self.since) <= bounds.late_ms => Probes::Unknown,
            ReadBack::Absent => Probes::Lost,
            ReadBack::Right { age_ms } if age_ms + now.since_ms(at) <= bounds.late_ms => {
                Probes::Returning
            }
            ReadBack::Right { .. } => Probes::Lost,
        })
    }

    pub fn evidence(&self, now: Tick) -> Vec<(Way, ProbeEvidence)> {
        let told = |way: Way| {
            let state = match self.state(way, now)? {
                Probes::Unknown => ProbeState::Unknown,
                Probes::Returning => ProbeState::Returning,
                Probes::Late => ProbeState::Late,
                Probes::Lost => ProbeState::Lost,
                Probes::Wrong => ProbeState::Wrong,
            };
            let age_ms = match self.told[way as usize] {
                Some((at, ReadBack::Right { age_ms })) => Some(age_ms + now.since_ms(at)),
                Some((_, ReadBack::Unverifiable | ReadBack::Absent | ReadBack::Wrong)) | None => {
                    None
                }
            };
            Some((way, ProbeEvidence { state, coverage: None, age_ms }))
        };
        Way::ALL.into_iter().filter_map(told).collect()
    }
}

/// Where the fault is that only the backend shows; `None` if it shows none.
pub(super) fn behind_the_tap(states: States) -> Option<Path> {
    let direct = states[Way::Direct as usize];
    match states[Way::Path as usize]? {
        Probes::Returning | Probes::Unknown => None,
        Probes::Late | Probes::Lost if direct == Some(Probes::Returning) => {
            Some(Path::ExporterStalled)
        }
        Probes::Late | Probes::Lost => Some(Path::BackendStalled),
        Probes::Wrong if matches!(direct, None | Some(Probes::Wrong)) => Some(Path::BackendLies),
        Probes::Wrong => Some(Path::ExporterLies),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATE_MS: u64 = 5_000;

    fn readbacks(direct: bool) -> Readbacks {
        Readbacks::new(Some(ReadbackBounds { direct, late_ms: LATE_MS }), Tick(0))
    }

    fn path(readbacks: &Readbacks, now: u64) -> Option<Probes> {
        readbacks.states(Tick(now))[0]
    }

    #[test]
    fn a_query_that_fails_or_is_not_made_is_unknown_and_what_is_not_read_back_says_nothing() {
        let mut back = readbacks(false);
        assert_eq!(back.states(Tick(0)), [Some(Probes::Unknown), None]);
        back.tell(Way::Path, ReadBack::Unverifiable, Tick(10_000));
        assert_eq!(path(&back, 10_000), Some(Probes::Unknown));
        back.tell(Way::Path, ReadBack::Right { age_ms: 100 }, Tick(10_000));
        assert_eq!(path(&back, 10_000), Some(Probes::Returning));
        assert_eq!(path(&back, 15_001), Some(Probes::Unknown), "nobody looks any more");
        assert_eq!(Readbacks::new(None, Tick(0)).states(Tick(9)), [None, None]);
    }

    #[test]
    fn an_old_answer_and_no_answer_are_lost_in_their_time() {
        let mut back = readbacks(true);
        back.tell(Way::Path, ReadBack::Absent, Tick(4_000));
        assert_eq!(path(&back, 4_000), Some(Probes::Unknown), "the first ones are on their way");
        back.tell(Way::Path, ReadBack::Absent, Tick(5_500));
        assert_eq!(path(&back, 5_500), Some(Probes::Lost));
        back.tell(Way::Path, ReadBack::Right { age_ms: 4_000 }, Tick(6_000));
        assert_eq!(path(&back, 7_000), Some(Probes::Returning));
        assert_eq!(path(&back, 7_001), Some(Probes::Lost), "it stands still");
    }

    #[test]
    fn a_backend_that_dies_is_not_taken_for_an_exporter_by_the_way_that_it_lost_last() {
        let mut back = readbacks(true);
        back.tell(Way::Path, ReadBack::Right { age_ms: 900 }, Tick(10_000));
        back.tell(Way::Direct, ReadBack::Right { age_ms: 10 }, Tick(10_000));
        for now in [14_101, 14_500, 14_990] {
            assert_eq!(back.states(Tick(now)), [Some(Probes::Lost), Some(Probes::Late)]);
        }
        back.tell(Way::Direct, ReadBack::Right { age_ms: 10 }, Tick(14_995));
        let states = back.states(Tick(14_995));
        assert_eq!(states, [Some(Probes::Lost), Some(Probes::Returning)], "it lives");
        assert_eq!(back.proven(Way::Direct, Tick(14_995)), Some(Tick(14_985)));
        assert_eq!(back.proven(Way::Path, Tick(14_995)), None);
    }

    /// The table above, for every pair of states.
    #[test]
    fn every_pair_of_answers_is_located() {
        const STATES: [Option<Probes>; 6] = [
            None,
            Some(Probes::Unknown),
            Some(Probes::Returning),
            Some(Probes::Late),
            Some(Probes::Lost),
            Some(Probes::Wrong),
        ];
        for through in STATES {
            for straight in STATES {
                let found = behind_the_tap([through, straight]);
                let expected = match (through, straight) {
                    (None | Some(Probes::Unknown | Probes::Returning), _) => None,
                    (Some(Probes::Wrong), None | Some(Probes::Wrong)) => Some(Path::BackendLies),
                    (Some(Probes::Wrong), _) => Some(Path::ExporterLies),
                    (Some(_), Some(Probes::Returning)) => Some(Path::ExporterStalled),
                    (Some(_), _) => Some(Path::BackendStalled),
                };
                assert_eq!(found, expected, "{through:?} {straight:?}");
            }
        }
    }
}
