//! The last tally row of each instance and revision, to tell what is new in the next.
//!
//! Counts in a page are cumulative since the collector's boot, so a page that is lost loses
//! nothing, and a new boot means that all of a row is new.
//!
//! Invariant: what is counted once is not counted again, and what was there before the watch knew
//! of it is a base and not an arrival.

use crate::names::{Instance, Revision};
use crate::roster::Roster;
use crate::tally::{Durations, Signal, SignalTally, TallyRow};
use crate::tick::Tick;

/// Most rows that are kept per service; the one that was silent longest makes room.
const ROWS_MAX: usize = 1_024;

/// How a page relates to those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageContext {
    pub now: Tick,
    /// Counts the boots of the collector.
    pub epoch: u64,
    /// The first page of this watch: its rows are a base.
    pub is_base: bool,
    /// The page before it was read without trouble, so that gaps between arrivals are true.
    pub is_seamless: bool,
}

/// What is new for one signal of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Growth {
    pub signal: Signal,
    /// When its last arrival was.
    pub at: Tick,
    pub arrivals: u64,
    pub records: u64,
    pub changes: u64,
    pub gap_ms: Option<u64>,
    /// By how much its newest record was late on the last arrival, if it tells its time.
    pub late_ms: Option<i64>,
}

/// What is new in one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RowGrowth {
    pub signals: [Option<Growth>; 3],
    /// New requests and errors; `None` if the row tells none.
    pub red: Option<(u64, u64)>,
    /// How long the new requests took; `None` if the row does not tell.
    pub durations: Option<Durations>,
    /// Thousandths of requests that the new ones stand for; `None` if the row does not say.
    pub adjusted_milli: Option<u64>,
    /// Records that the collector refused since the page before.
    pub refused: u64,
    /// Whether its rules emptied requests of each signal since then.
    pub ruled_out: [bool; 3],
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    arrivals: u64,
    records: u64,
    changes: u64,
    at: Tick,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    epoch: u64,
    touched: Tick,
    signals: [Option<Seen>; 3],
    red: Option<(u64, u64)>,
    durations: Option<Durations>,
    /// Adjusted requests and refused records, cumulative.
    particulars: Option<(u64, u64)>,
    ruled_out: [u64; 3],
}

#[derive(Debug, Clone, Default)]
pub(super) struct Rows {
    rows: Roster<(Option<Instance>, Option<Revision>), Row>,
}

impl Rows {
    pub fn take(&mut self, tally: &TallyRow, page: PageContext) -> RowGrowth {
        let key = (tally.instance.clone(), tally.revision.clone());
        let before = self.rows.get(&key).copied().filter(|row| row.epoch == page.epoch);
        if before.is_none() && !self.rows.contains_key(&key) {
            self.make_room();
        }
        let mut signals = [None; 3];
        let mut seen = [None; 3];
        for (index, signal) in Signal::ALL.into_iter().enumerate() {
            let old = before.and_then(|row| row.signals[index]);
            let Some(counts) = tally.signal(signal) else {
                seen[index] = old;
                continue;
            };
            let (growth, now_seen) = grown(signal, counts, old, page);
            signals[index] = Some(growth);
            seen[index] = Some(now_seen);
        }
        let red_before = before.and_then(|row| row.red);
        let red_now = tally.red.as_ref().map(|red| (red.requests, red.errors));
        let red = match (red_before, red_now) {
            (_, None) => None,
            (None, Some(new)) => Some(new),
            (Some(old), Some(new)) => {
                Some((new.0.saturating_sub(old.0), new.1.saturating_sub(old.1)))
            }
        };
        let durations_before = before.and_then(|row| row.durations);
        let durations_now = tally.red.as_ref().map(|red| red.durations);
        let durations = durations_now.map(|mut now| {
            if let Some(base) = &durations_before {
                now.iter_mut().zip(base).for_each(|(now, base)| *now = now.saturating_sub(*base));
            }
            now
        });
        let told = tally.particulars.as_ref().map(|p| (p.adjusted_requests_milli, p.refused));
        let base = before.and_then(|row| row.particulars);
        let grew = |pick: fn((u64, u64)) -> u64| {
            // Nothing before in this boot: all of it is new.
            told.map(|now| pick(now).saturating_sub(base.map_or(0, pick)))
        };
        let adjusted_milli = red.and_then(|_| grew(|(adjusted, _)| adjusted));
        let refused = match grew(|(_, refused)| refused) {
            Some(refused) if !page.is_base => refused,
            Some(_) | None => 0,
        };
        let was = before.map_or([0; 3], |row| row.ruled_out);
        let ruled = tally.particulars.as_ref().map_or(was, |particulars| particulars.ruled_out);
        let ruled_out = [0, 1, 2].map(|index| ruled[index] > was[index] && !page.is_base);
        let row = Row {
            ruled_out: ruled,
            epoch: page.epoch,
            touched: page.now,
            signals: seen,
            red: red_now.or(red_before),
            durations: durations_now.or(durations_before),
            particulars: told.or(base),
        };
        self.rows.insert(key, row);
        RowGrowth { signals, red, durations, adjusted_milli, refused, ruled_out }
    }

    fn make_room(&mut self) {
        if self.rows.len() < ROWS_MAX {
            return;
        }
        let oldest = self.rows.iter().min_by_key(|(_, row)| row.touched);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.rows.remove(&key);
        }
    }
}

fn grown(
    signal: Signal,
    counts: &SignalTally,
    old: Option<Seen>,
    page: PageContext,
) -> (Growth, Seen) {
    let at = page.now.minus_ms(counts.last_age_ms);
    // Nothing before in this boot: all of it is new.
    let base = old.map_or((0, 0, 0), |old| (old.arrivals, old.records, old.changes));
    let growth = Growth {
        signal,
        at,
        arrivals: if page.is_base { 0 } else { counts.arrivals.saturating_sub(base.0) },
        records: counts.records.saturating_sub(base.1),
        changes: if page.is_base { 0 } else { counts.changes.saturating_sub(base.2) },
        gap_ms: old.filter(|_| page.is_seamless).map(|old| at.since_ms(old.at)),
        late_ms: counts.late_ms,
    };
    let Growth { arrivals: new, .. } = growth;
    // The age is rounded, so an arrival that is not new may seem to have moved a little.
    let at = if new == 0 { old.map_or(at, |old| old.at) } else { at };
    let seen =
        Seen { arrivals: counts.arrivals, records: counts.records, changes: counts.changes, at };
    (growth, seen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Service;

    fn row(arrivals: u64, last_age_ms: u64) -> TallyRow {
        TallyRow {
            service: Service::new("a").expect("valid"),
            instance: None,
            revision: None,
            traces: Some(SignalTally {
                arrivals,
                records: 10 * arrivals,
                changes: arrivals,
                last_age_ms,
                late_ms: None,
            }),
            metrics: None,
            logs: None,
            red: None,
            particulars: None,
        }
    }

    fn page(now: u64, epoch: u64, is_base: bool) -> PageContext {
        PageContext { now: Tick(now), epoch, is_base, is_seamless: !is_base }
    }

    fn traces(growth: RowGrowth) -> Growth {
        growth.signals[0].expect("the row tells traces")
    }

    #[test]
    fn what_was_there_before_the_watch_is_a_base_and_no_arrival() {
        let mut rows = Rows::default();
        let base = traces(rows.take(&row(7, 300), page(1_000, 1, true)));
        assert_eq!((base.arrivals, base.changes, base.gap_ms), (0, 0, None));
        assert_eq!(base.at, Tick(700));
        let next = traces(rows.take(&row(8, 0), page(1_200, 1, false)));
        assert_eq!((next.arrivals, next.records, next.gap_ms), (1, 10, Some(500)));
    }

    #[test]
    fn a_page_read_twice_counts_once_and_another_boot_counts_anew() {
        let mut rows = Rows::default();
        rows.take(&row(7, 0), page(1_000, 1, false));
        let again = traces(rows.take(&row(7, 50), page(1_050, 1, false)));
        assert_eq!((again.arrivals, again.records), (0, 0));
        let anew = traces(rows.take(&row(2, 0), page(2_000, 2, false)));
        assert_eq!((anew.arrivals, anew.records, anew.gap_ms), (2, 20, None));
    }

    #[test]
    fn what_rules_emptied_is_told_as_it_grows_and_signal_by_signal() {
        use crate::tally::Particulars;

        let told = |ruled_out| TallyRow {
            particulars: Some(Particulars { ruled_out, ..Particulars::default() }),
            ..row(1, 0)
        };
        let mut rows = Rows::default();
        let mut take = |row, now| rows.take(&row, page(now, 1, now == 1_000)).ruled_out;
        assert_eq!(take(told([7, 0, 0]), 1_000), [false; 3], "it may be long ago");
        assert_eq!(take(told([9, 0, 1]), 1_100), [true, false, true]);
        assert_eq!(take(row(1, 0), 1_200), [false; 3]);
        assert_eq!(take(told([9, 0, 1]), 1_300), [false; 3]);
    }

    #[test]
    fn durations_are_told_as_they_grow_and_anew_after_another_boot() {
        use crate::tally::Red;

        let told = |few: u64, many: u64| {
            let mut durations = Durations::default();
            (durations[3], durations[9]) = (few, many);
            TallyRow { red: Some(Red { requests: few + many, errors: 0, durations }), ..row(1, 0) }
        };
        let mut rows = Rows::default();
        let mut take = |row, epoch| {
            let grown = rows.take(&row, page(1_000, epoch, false)).durations;
            grown.map(|durations| (durations[3], durations[9], durations.iter().sum::<u64>()))
        };
        assert_eq!(take(told(3, 1), 1), Some((3, 1, 4)));
        assert_eq!(take(told(5, 1), 1), Some((2, 0, 2)));
        assert_eq!(take(row(2, 0), 1), None);
        assert_eq!(take(told(6, 4), 1), Some((1, 3, 4)));
        assert_eq!(take(told(1, 0), 2), Some((1, 0, 1)));
    }

    #[test]
    fn adjusted_and_refused_counts_are_told_as_they_grow_and_not_invented() {
        use crate::tally::{Particulars, Red};

        let told = |requests, adjusted_requests_milli, refused| TallyRow {
            red: Some(Red { requests, errors: 0, durations: [0; 16] }),
            particulars: Some(Particulars {
                adjusted_requests_milli,
                refused,
                ..Particulars::default()
            }),
            ..row(1, 0)
        };
        let mut rows = Rows::default();
        let base = rows.take(&told(3, 30_000, 7), page(1_000, 1, true));
        assert_eq!(base.refused, 0, "what was refused before is not known to be recent");
        let next = rows.take(&told(5, 50_000, 9), page(1_100, 1, false));
        assert_eq!((next.adjusted_milli, next.refused), (Some(20_000), 2));
        let silent = rows.take(&row(2, 0), page(1_200, 1, false));
        assert_eq!((silent.adjusted_milli, silent.refused), (None, 0));
        let anew = rows.take(&told(1, 10_000, 4), page(1_300, 2, false));
        assert_eq!((anew.adjusted_milli, anew.refused), (Some(10_000), 4));
    }
}
