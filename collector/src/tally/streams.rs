//! Metric streams, step by step: resets, gaps, overlaps, and senders that break the rules.
//!
//! A stream is a metric of one row and scope with one set of attributes, in the order in which the
//! sender writes them. Of each watched one the last point is remembered and the next compared with
//! it, by the metrics data model of OpenTelemetry ("Resets and Gaps", "Overlap"):
//!
//! | the next point | is |
//! |---|---|
//! | has the other temporality | mixed |
//! | cumulative, starts where the last one did, later, and fell | a drop |
//! | cumulative, starts at or after the last one's time | a reset; a gap if after |
//! | delta, starts after the last one's time | a gap |
//! | anything that covers time again | an overlap |
//!
//! Invariant: at most [`STREAMS_MAX`] streams are watched, whoever sends; one that finds no place
//! takes that of the stream in its set that was longest silent, which costs a comparison and never
//! makes a false one.

use watchdog_core::tally::{Particulars, Streams};

use crate::scan::{Sighting, Temporality};

/// Streams that are watched; their memory is taken when the first metric arrives.
pub(super) const STREAMS_MAX: usize = 16_384;
/// Places among which a stream may choose.
const WAYS: usize = 4;

/// The last point of a stream.
#[derive(Debug, Clone, Copy)]
struct Last {
    key: u64,
    start_ns: u64,
    time_ns: u64,
    value: f64,
    temporality: Temporality,
}

/// The streams of all rows.
#[derive(Debug, Default)]
pub(super) struct Watched {
    places: Vec<[Option<Last>; WAYS]>,
}

/// What a point is, beside the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Step {
    mixed: bool,
    reset: bool,
    drop: bool,
    gap: bool,
    overlap: bool,
}

impl Watched {
    /// Judges the points of row `row`, into its counts.
    pub(super) fn see(&mut self, row: usize, sightings: &[Sighting], into: &mut Particulars) {
        if self.places.is_empty() && !sightings.is_empty() {
            self.places = vec![[None; WAYS]; STREAMS_MAX / WAYS];
        }
        for sighting in sightings {
            match sighting.temporality {
                Temporality::Delta => into.streams.delta += 1,
                Temporality::Cumulative => into.streams.cumulative += 1,
            }
            self.step(row, sighting, into);
        }
    }

    fn step(&mut self, row: usize, sighting: &Sighting, into: &mut Particulars) {
        let key = (row as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ sighting.stream;
        let sets = self.places.len();
        let set = &mut self.places[(key >> 32) as usize % sets];
        let next = Last {
            key,
            start_ns: sighting.start_ns,
            time_ns: sighting.time_ns,
            value: sighting.value,
            temporality: sighting.temporality,
        };
        let mut step = Step::default();
        let mut before = None;
        if let Some(last) = set.iter_mut().flatten().find(|last| last.key == key) {
            before = Some(*last);
            step = judge(last, sighting);
            // An old point that comes again does not turn the stream back.
            if !step.overlap {
                *last = next;
            }
        } else {
            let oldest = set.iter_mut().min_by_key(|last| last.map_or(0, |last| last.time_ns));
            let place = oldest.expect("a set has places");
            into.streams.unwatched += u64::from(place.is_some());
            *place = Some(next);
        }
        count(step, &mut into.streams);
        if sighting.requests && !step.overlap {
            let requests = increment(before.as_ref(), step, sighting);
            into.metric_requests += requests;
            into.metric_errors += if sighting.errors { requests } else { 0 };
        }
    }
}

fn judge(last: &Last, next: &Sighting) -> Step {
    let mut step = Step::default();
    if last.temporality != next.temporality {
        step.mixed = true;
        return step;
    }
    // Without a start, or with the time as start, nothing is said about what is covered.
    let is_start_known = next.start_ns > 0 && next.start_ns < next.time_ns;
    let is_later = next.time_ns > last.time_ns;
    match next.temporality {
        Temporality::Delta if !is_start_known => step.overlap = !is_later,
        Temporality::Delta => {
            step.gap = next.start_ns > last.time_ns;
            step.overlap = next.start_ns < last.time_ns;
        }
        Temporality::Cumulative if next.start_ns == last.start_ns => {
            step.overlap = !is_later;
            step.drop = is_later && next.monotonic && next.value < last.value;
        }
        Temporality::Cumulative => {
            step.reset = is_later && next.start_ns >= last.time_ns;
            step.gap = step.reset && next.start_ns > last.time_ns;
            step.overlap = !step.reset;
        }
    }
    step
}

const fn count(step: Step, into: &mut Streams) {
    into.mixed += step.mixed as u64;
    into.resets += step.reset as u64;
    into.drops += step.drop as u64;
    into.gaps += step.gap as u64;
    into.overlaps += step.overlap as u64;
}

/// What a count grew by since the point before. The first point of a cumulative stream adds
/// nothing: what it counted may have been counted before this collector was there.
fn increment(before: Option<&Last>, step: Step, next: &Sighting) -> u64 {
    let grown = match (next.temporality, before) {
        (Temporality::Delta, _) => next.value,
        (Temporality::Cumulative, None) => 0.0,
        // A reset with a start of its own began at zero; one that starts at its time is unknown.
        (Temporality::Cumulative, Some(_)) if step.reset || step.drop => {
            if next.start_ns < next.time_ns { next.value } else { 0.0 }
        }
        (Temporality::Cumulative, Some(_)) if step.mixed => 0.0,
        (Temporality::Cumulative, Some(last)) => next.value - last.value,
    };
    // Counts of histograms are whole and not negative; the cast cuts what a liar sends.
    grown as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(temporality: Temporality, start: u64, time: u64, value: f64) -> Sighting {
        Sighting {
            stream: 7,
            start_ns: start,
            time_ns: time,
            value,
            temporality,
            monotonic: true,
            requests: true,
            errors: false,
        }
    }

    /// Mixed, resets, drops, gaps, overlaps and requests after these points of one stream.
    fn seen(points: &[Sighting]) -> [u64; 6] {
        let mut particulars = Particulars::default();
        Watched::default().see(0, points, &mut particulars);
        let Particulars { metric_requests, streams, .. } = particulars;
        let Streams { mixed, resets, drops, gaps, overlaps, .. } = streams;
        [mixed, resets, drops, gaps, overlaps, metric_requests]
    }

    #[test]
    fn a_cumulative_stream_is_judged_by_starts_and_times() {
        let at = |start, time, value| point(Temporality::Cumulative, start, time, value);
        assert_eq!(seen(&[at(1, 10, 5.0), at(1, 20, 8.0)]), [0, 0, 0, 0, 0, 3], "unbroken");
        assert_eq!(seen(&[at(1, 10, 5.0), at(10, 20, 2.0)]), [0, 1, 0, 0, 0, 2], "reset");
        assert_eq!(seen(&[at(1, 10, 5.0), at(15, 20, 2.0)]), [0, 1, 0, 1, 0, 2], "reset, gap");
        assert_eq!(seen(&[at(1, 10, 5.0), at(20, 20, 9.0)]), [0, 1, 0, 1, 0, 0], "unknown start");
        assert_eq!(seen(&[at(1, 10, 5.0), at(1, 20, 3.0)]), [0, 0, 1, 0, 0, 3], "drop");
        assert_eq!(seen(&[at(1, 10, 5.0), at(1, 10, 5.0)]), [0, 0, 0, 0, 1, 0], "sent twice");
        assert_eq!(seen(&[at(1, 10, 5.0), at(5, 20, 7.0)]), [0, 0, 0, 0, 1, 0], "second writer");
    }

    #[test]
    fn a_delta_stream_is_judged_by_what_it_covers() {
        let at = |start, time, value| point(Temporality::Delta, start, time, value);
        assert_eq!(seen(&[at(1, 10, 5.0), at(10, 20, 3.0)]), [0, 0, 0, 0, 0, 8], "unbroken");
        assert_eq!(seen(&[at(1, 10, 5.0), at(12, 20, 3.0)]), [0, 0, 0, 1, 0, 8], "gap");
        assert_eq!(seen(&[at(1, 10, 5.0), at(1, 10, 5.0)]), [0, 0, 0, 0, 1, 5], "sent twice");
        assert_eq!(seen(&[at(0, 10, 5.0), at(0, 20, 3.0)]), [0, 0, 0, 0, 0, 8], "no starts");
    }

    #[test]
    fn a_stream_that_changes_its_temporality_is_mixed() {
        let points =
            [point(Temporality::Delta, 1, 10, 5.0), point(Temporality::Cumulative, 1, 20, 9.0)];
        assert_eq!(seen(&points), [1, 0, 0, 0, 0, 5]);
    }

    #[test]
    fn more_streams_than_are_watched_are_told_and_make_no_false_step() {
        let mut watched = Watched::default();
        let mut particulars = Particulars::default();
        for round in 1..3 {
            let points: Vec<_> = (0..3 * STREAMS_MAX as u64)
                .map(|stream| Sighting {
                    stream: stream.wrapping_mul(0xf135_7aea_2e62_a9c5),
                    ..point(Temporality::Cumulative, 1, 10 * round, round as f64)
                })
                .collect();
            watched.see(0, &points, &mut particulars);
        }
        let Streams { cumulative, unwatched, mixed, resets, drops, gaps, overlaps, .. } =
            particulars.streams;
        assert_eq!(cumulative, 6 * STREAMS_MAX as u64);
        assert!(unwatched >= 4 * STREAMS_MAX as u64, "{unwatched}");
        assert_eq!([mixed, resets, drops, gaps, overlaps], [0; 5]);
        assert_eq!(watched.places.len() * WAYS, STREAMS_MAX);
    }
}
