//! The line: everybody is given everything, once, in order, from memory or from the disk.

use std::path::Path;
use std::time::Duration;

use futures_util::FutureExt;
use proptest::prelude::*;
use watchdog_core::names::Boot;
use watchdog_core::tally::Signal;

use super::*;
use crate::arrival::{Content, Forms};
use crate::config::{ExporterConfig, Protocol};
use crate::export::seat;
use crate::memory::Budget;
use crate::metrics::Metrics;
use crate::spool::Limits;

const KIND: Kind = Kind::Tallied(Signal::Logs);

fn tally() -> Arc<Tally> {
    Arc::new(Tally::new(Boot::new("1700000000000-test").expect("a name"), 10, true))
}

fn seats(count: usize) -> Vec<Seat> {
    let doors = ["grpc", "http", "admin", "unix"].map(|door| (door, Arc::default()));
    let metrics = Metrics::new(doors, Vec::new());
    let config = |i| ExporterConfig::new(format!("http://127.0.0.1:{}", 9_000 + i), Protocol::Http);
    (0..count).map(|i| seat(&config(i), metrics.exporter(&config(i)))).collect()
}

fn joining(text: &str) -> Joining {
    let held = Budget::new(1 << 20).take(text.len()).expect("room");
    let plain = bytes::Bytes::copy_from_slice(text.as_bytes());
    let payload = Arc::new(Content { plain, compressed: None, held }.keep(Forms::default()));
    Joining {
        kind: KIND,
        records: 3,
        payload,
        probes: Vec::new(),
        service: "shop".into(),
        ended: None,
    }
}

fn seated(line: Arc<Line>, seats: Vec<Seat>) -> Arc<Line> {
    for seat in seats {
        line.add(seat);
    }
    line.begun();
    line
}

fn in_memory(count: usize) -> Arc<Line> {
    seated(Line::new(None, 0, tally()), seats(count))
}

/// A line with a spool in `dir` that keeps next to nothing in memory.
fn spooled(dir: &Path, count: usize) -> Arc<Line> {
    let seats = seats(count);
    let owners = seats.iter().map(|seat| seat.owner).collect();
    let limits = Limits { bytes: 1 << 20, file_bytes: 300, direct: false };
    let spool = Spool::open(dir, limits, owners).expect("a spool");
    seated(Line::new(Some(spool), 1, tally()), seats)
}

/// Writes `text` to the spool and lets it join.
fn write(line: &Arc<Line>, text: &str) {
    let joining = joining(text);
    line.received(KIND, 3);
    let spool = line.spool().expect("a spool");
    let (form, body) = joining.payload.stored_form();
    let head = crate::spool::Head { seq: 0, kind: KIND, form, records: 3, plain_bytes: 0 };
    let (sender, written) = std::sync::mpsc::channel();
    let joined = Arc::clone(line);
    let commit = move |result: Result<(u64, Place), _>| {
        let (seq, place) = result.expect("a disk");
        joined.spooled(seq, place, joining);
        drop(joined);
        sender.send(()).expect("awaited");
    };
    spool.append(spool.reserve(body.len()).expect("room"), head, body, Box::new(commit));
    written.recv().expect("an answer");
}

fn text(item: &Item) -> String {
    String::from_utf8(item.payload.plain().to_vec()).expect("a text")
}

async fn next(source: &mut Source) -> Item {
    let next = tokio::time::timeout(Duration::from_secs(10), source.recv()).await;
    next.expect("it comes").expect("the line is open")
}

#[tokio::test]
async fn every_exporter_is_given_everything_once_and_in_order() {
    let line = in_memory(2);
    let mut sources = [Source::new(Arc::clone(&line), 0), Source::new(Arc::clone(&line), 1)];
    for i in 0..5 {
        line.received(KIND, 3);
        line.join(joining(&format!("request {i}"))).expect("room");
    }
    for source in &mut sources {
        for i in 0..5 {
            let item = next(source).await;
            assert_eq!(text(&item), format!("request {i}"));
            item.share.delivered(1);
        }
        assert!(source.recv().now_or_never().is_none());
    }
    assert!(line.state().entries.is_empty(), "what all have passed is let go of");
    let (_, mut ledger) = line.books();
    assert_eq!(ledger.imbalance(), 0);
    let expected = Outgo { owed: 15, forwarded: 10, dropped: 5, waiting: 0 };
    assert_eq!(*ledger.outgo[1].of(KIND), expected);
}

#[tokio::test]
async fn a_line_in_memory_is_bounded_for_the_slowest() {
    let line = in_memory(2);
    line.bound(0, 2_000);
    line.bound(1, 2_000);
    let mut quick = Source::new(Arc::clone(&line), 0);
    let mut joined = 0;
    // Each is of another service: what one may have of a line, its fair share, is less.
    while line.join(Joining { service: joined.to_string().into(), ..joining("request") }).is_ok() {
        joined += 1;
        next(&mut quick).await.share.delivered(0);
    }
    assert_eq!(joined, 4);
    assert!(line.is_full());
    next(&mut Source::new(Arc::clone(&line), 1)).await.share.delivered(0);
    assert!(line.join(joining("request")).is_ok());
}

#[tokio::test]
async fn without_a_spool_what_is_left_unsaid_is_dropped_by_the_stop() {
    let line = in_memory(1);
    line.received(KIND, 3);
    line.join(joining("request")).expect("room");
    drop(next(&mut Source::new(Arc::clone(&line), 0)).await);
    let (_, mut ledger) = line.books();
    assert_eq!(ledger.outgo[0].of(KIND).dropped, 3);
    assert_eq!(ledger.imbalance(), 0);
}

#[tokio::test]
async fn who_is_behind_reads_back_and_a_restart_goes_on_where_it_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let line = spooled(dir.path(), 2);
    let mut quick = Source::new(Arc::clone(&line), 0);
    for i in 0..30 {
        write(&line, &format!("request {i}"));
        next(&mut quick).await.share.delivered(0);
    }
    assert!(line.state().entries.len() <= 1, "the rest is on disk only");
    let mut slow = Source::new(Arc::clone(&line), 1);
    for i in 0..10 {
        let item = next(&mut slow).await;
        assert_eq!(text(&item), format!("request {i}"));
        // The third is never said.
        if i != 3 {
            item.share.delivered(0);
        }
    }
    let (_, mut ledger) = line.books();
    assert_eq!((ledger.imbalance(), ledger.outgo[1].of(KIND).waiting), (0, 63));
    drop((quick, slow, line));

    let line = spooled(dir.path(), 2);
    let (_, mut ledger) = line.books();
    assert_eq!((ledger.imbalance(), ledger.outgo[0].of(KIND).owed), (0, 0));
    assert_eq!(ledger.intake.of(KIND).recovered, 63);
    let mut slow = Source::new(Arc::clone(&line), 1);
    for i in (3..30).filter(|i| *i == 3 || *i > 9) {
        let item = next(&mut slow).await;
        assert_eq!(text(&item), format!("request {i}"));
        item.share.delivered(0);
    }
    write(&line, "new");
    assert_eq!(text(&next(&mut slow).await), "new");
    assert_eq!(text(&next(&mut Source::new(Arc::clone(&line), 0)).await), "new");
    assert_eq!(line.books().1.imbalance(), 0);
}

#[tokio::test]
async fn what_cannot_be_read_back_is_counted_as_dropped() {
    let dir = tempfile::tempdir().expect("a directory");
    let line = spooled(dir.path(), 1);
    for i in 0..12 {
        write(&line, &format!("request {i}"));
    }
    let file = dir.path().join(format!("{:012}.spool", 2));
    let mut bytes = std::fs::read(&file).expect("a second file");
    let length = bytes.len();
    bytes[40..length].fill(0);
    std::fs::write(&file, bytes).expect("written");
    let mut source = Source::new(Arc::clone(&line), 0);
    let mut given = 0;
    while let Ok(Some(item)) = tokio::time::timeout(Duration::from_millis(300), source.recv()).await
    {
        given += 1;
        item.share.delivered(0);
    }
    let (_, mut ledger) = line.books();
    let outgo = *ledger.outgo[0].of(KIND);
    assert_eq!(ledger.imbalance(), 0);
    assert!(given < 12 && outgo.waiting == 0, "{given} {outgo:?}");
    assert_eq!(outgo.dropped, 3 * (12 - given));
}

#[tokio::test]
async fn a_retired_exporter_ends_and_a_new_one_begins_with_what_is_new() {
    let line = in_memory(1);
    let mut old = Source::new(Arc::clone(&line), 0);
    line.join(joining("before")).expect("room");
    line.retire(0);
    let who = line.add(seats(2).pop().expect("a seat"));
    line.join(joining("after")).expect("room");
    let mut new = Source::new(Arc::clone(&line), who);
    assert_eq!(text(&next(&mut old).await), "before");
    assert!(old.recv().await.is_none());
    assert_eq!(text(&next(&mut new).await), "after");
    assert!(line.state().entries.is_empty());
}

#[tokio::test]
async fn the_end_of_a_request_is_told_when_all_are_done() {
    let line = in_memory(2);
    let (sender, mut ended) = oneshot::channel();
    line.join(Joining { ended: Some(sender), ..joining("request") }).expect("room");
    next(&mut Source::new(Arc::clone(&line), 0)).await.share.delivered(0);
    assert!(ended.try_recv().is_err(), "one is not all");
    next(&mut Source::new(Arc::clone(&line), 1)).await.share.dropped(DropReason::Expired);
    assert_eq!(ended.await, Ok(Ending::Dropped(DropReason::Expired)));
}

#[test]
fn the_worst_of_several_endings_is_told_and_what_may_be_sent_again_is_the_worst() {
    let taken = |rejected| Ending::Taken { rejected };
    let (refused, late) =
        (Ending::Dropped(DropReason::Rejected), Ending::Dropped(DropReason::Expired));
    let ascending = [taken(0), taken(1), taken(3), refused, late];
    for (i, better) in ascending.iter().enumerate() {
        for worse in &ascending[i..] {
            assert_eq!(better.worse(*worse), *worse);
            assert_eq!(worse.worse(*better), *worse);
        }
    }
}

#[tokio::test]
async fn who_waits_for_the_end_hears_of_it_however_many_do() {
    let line = in_memory(1);
    let mut source = Source::new(Arc::clone(&line), 0);
    let mut waiting = Vec::new();
    for _ in 0..TAPS_MAX + 2 {
        let (sender, ended) = oneshot::channel();
        line.join(Joining { ended: Some(sender), ..joining("request") }).expect("room");
        waiting.push(ended);
    }
    for ended in waiting {
        next(&mut source).await.share.delivered(1);
        assert_eq!(ended.await, Ok(Ending::Taken { rejected: 1 }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happens in whatever order, nothing appears and nothing disappears.
    #[test]
    fn the_ledger_balances_after_every_step(steps in prop::collection::vec(0..7_u8, 1..80)) {
        let line = in_memory(2);
        let mut sources = [Source::new(Arc::clone(&line), 0), Source::new(Arc::clone(&line), 1)];
        let mut items = VecDeque::new();
        for step in steps {
            match step {
                0 | 1 => {
                    line.received(KIND, 3);
                    line.join(joining("request")).expect("room");
                }
                2 => {
                    line.received(KIND, 5);
                    line.refused(KIND, 5);
                }
                3 | 4 => {
                    let source = &mut sources[usize::from(step) - 3];
                    items.extend(source.recv().now_or_never().flatten());
                }
                5 => drop(items.pop_front().map(|item: Item| item.share.delivered(1))),
                _ => drop(items.pop_back()),
            }
            prop_assert_eq!(line.books().1.imbalance(), 0);
        }
    }
}
