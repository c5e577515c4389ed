//! The spool on a real disk: what is written is found again, whatever happened to the files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc;

use bytes::Bytes;
use watchdog_core::tally::Signal;

use super::*;
use crate::arrival::Form;
use crate::kind::Kind;

const A: Owner = Owner(1);
const B: Owner = Owner(2);
const KIND: Kind = Kind::Tallied(Signal::Traces);

fn open(dir: &Path, owners: &[Owner]) -> (Spool, Recovered) {
    let limits = Limits { bytes: 1 << 20, file_bytes: 200, direct: false };
    Spool::open(dir, limits, owners.to_vec()).expect("a spool")
}

/// Appends a request that is told by `text`; its number.
fn append(spool: &Spool, text: &str) -> u64 {
    let (sender, committed) = mpsc::channel();
    let body = Bytes::copy_from_slice(text.as_bytes());
    let plain_bytes = body.len() as u64;
    let head = Head { seq: 0, kind: KIND, form: Form::Plain, records: 2, plain_bytes };
    let room = spool.reserve(body.len()).expect("room");
    let commit = move |result: Result<(u64, Place), _>| sender.send(result).expect("awaited");
    spool.append(room, head, body, Box::new(commit));
    committed.recv().expect("an answer").expect("a disk").0
}

/// The texts of what `owner` is still owed.
fn owed(dir: &Path, owner: Owner) -> Vec<String> {
    let mut recovered = Recovered::read(dir, &[owner]).expect("readable");
    let last = recovered.next_number;
    let resume = recovered.resume(owner);
    let Some(mut place) = resume.place else { return Vec::new() };
    let reader = Reader::new(dir);
    let mut texts = Vec::new();
    loop {
        let stored = reader.read(place, last).expect("readable");
        let Some(end) = stored.last() else { break };
        place = end.next;
        for stored in stored {
            let Stored { head, body, .. } = stored;
            if head.seq >= resume.seq && !resume.settled.contains(&head.seq) {
                texts.push(String::from_utf8(body.to_vec()).expect("a text"));
            }
        }
    }
    assert_eq!(texts.len(), resume.owed.len(), "the ledger and the files agree");
    texts
}

#[test]
fn what_is_not_settled_is_owed_after_a_restart_in_its_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A, B]);
    let seqs: Vec<u64> = (0..20).map(|i| append(&spool, &format!("request {i}"))).collect();
    assert_eq!(seqs, (1..=20).collect::<Vec<_>>());
    for seq in [1, 2, 3, 5, 8] {
        spool.settle(A, seq, 1);
    }
    drop(spool);
    let texts =
        |left: &[u64]| left.iter().map(|seq| format!("request {}", seq - 1)).collect::<Vec<_>>();
    let left: Vec<u64> = (4..=20).filter(|seq| ![5, 8].contains(seq)).collect();
    assert_eq!(owed(dir.path(), A), texts(&left));
    assert_eq!(owed(dir.path(), B), texts(&seqs));
    let (spool, recovered) = open(dir.path(), &[A, B]);
    assert_eq!((recovered.next_seq, recovered.damaged_bytes), (21, 0));
    assert_eq!(append(&spool, "request 20"), 21, "numbers go on");
}

#[test]
fn files_go_when_all_owners_are_done_with_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = || segment::numbers(dir.path()).expect("listed").len();
    let (spool, _) = open(dir.path(), &[A, B]);
    for i in 0..20 {
        append(&spool, &format!("request {i}"));
    }
    let many = files();
    assert!(many > 5, "files are small here: {many}");
    for seq in 1..=20 {
        spool.settle(A, seq, 1);
    }
    for seq in 1..=20 {
        spool.settle(B, seq, seq + 1);
    }
    drop(spool);
    assert_eq!(files(), 0, "nothing is owed to anybody");
}

#[test]
fn entries_are_owed_to_those_who_were_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    append(&spool, "for a");
    spool.set_owners(vec![A, B]);
    append(&spool, "for both");
    spool.set_owners(vec![B]);
    append(&spool, "for b");
    drop(spool);
    assert_eq!(owed(dir.path(), A), ["for a", "for both"]);
    assert_eq!(owed(dir.path(), B), ["for both", "for b"]);
    let mut recovered = Recovered::read(dir.path(), &[B]).expect("readable");
    recovered.resume(B);
    let removed: u64 = recovered.removed().iter().map(|(_, records)| records).sum();
    assert_eq!((recovered.removed().len(), removed), (2, 4), "what a was owed is counted");
}

#[test]
fn an_end_that_is_torn_anywhere_loses_only_what_was_not_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    for i in 0..3 {
        append(&spool, &format!("request {i}"));
    }
    drop(spool);
    let file = segment::path(dir.path(), 1);
    let whole = fs::read(&file).expect("one file");
    let entry = record::HEAD_BYTES + "request 0".len();
    let first = whole.len() - 3 * entry;
    for length in 0..=whole.len() {
        fs::write(&file, &whole[..length]).expect("written");
        let expected = length.saturating_sub(first) / entry;
        assert_eq!(owed(dir.path(), A).len(), expected, "cut to {length}");
        assert!(fs::metadata(&file).expect("there").len() <= length as u64);
    }
}

#[test]
fn any_changed_bit_is_found_and_everything_around_it_is_delivered() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    for i in 0..3 {
        append(&spool, &format!("request {i}"));
    }
    drop(spool);
    let file = segment::path(dir.path(), 1);
    let whole = fs::read(&file).expect("one file");
    let entry = record::HEAD_BYTES + "request 0".len();
    let first = whole.len() - 3 * entry;
    for at in first..whole.len() - entry {
        let mut changed = whole.clone();
        changed[at] ^= 0x10;
        fs::write(&file, &changed).expect("written");
        let recovered = Recovered::read(dir.path(), &[A]).expect("readable");
        assert_eq!(recovered.damaged_bytes, entry as u64, "byte {at}");
        let lost = (at - first) / entry;
        assert_eq!(recovered.damaged_entries, u64::from(lost > 0), "a gap shows: byte {at}");
        let left: Vec<_> = (0..3).filter(|i| *i != lost).map(|i| format!("request {i}")).collect();
        assert_eq!(owed(dir.path(), A), left, "byte {at}");
    }
    let aside = fs::read_dir(dir.path().join("quarantine")).expect("a quarantine");
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    let modes: Vec<_> = aside.map(|entry| mode(&entry.expect("listed").path())).collect();
    assert_eq!(modes, [0o600; 2], "one file for each place that was damaged, for its owner alone");
    assert_eq!(mode(&file), 0o600);
}

#[test]
fn a_spool_of_a_newer_version_is_refused_and_says_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    append(&spool, "request");
    drop(spool);
    let file = segment::path(dir.path(), 1);
    let mut bytes = fs::read(&file).expect("one file");
    bytes[8] = 3;
    fs::write(&file, bytes).expect("written");
    let limits = Limits { bytes: 1 << 20, file_bytes: 200, direct: false };
    let error = Spool::open(dir.path(), limits, vec![A]).expect_err("a newer one");
    assert!(error.to_string().contains("is of version 3"), "{error}");
}

#[test]
fn groups_fill_blocks_where_the_disk_is_written_directly_and_all_is_found_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes: 64 << 20, file_bytes: 3 << 20, direct: true };
    let (spool, _) = Spool::open(dir.path(), limits, vec![A]).expect("a spool");
    // Around the sizes of a block and of the buffer, and what pads to a block within a head.
    let sizes = [1, 4_000, 4_056, 4_057, 4_096, (1 << 20) - 40, 1 << 20, 2_500_000, 3, 5 << 20];
    let texts = sizes.map(|size| "x".repeat(size));
    for text in &texts {
        append(&spool, text);
    }
    spool.settle(A, 1, 2);
    spool.settle(A, 3, 2);
    let used = spool.used_bytes();
    drop(spool);
    let left = (0..).zip(&texts).filter(|(at, _)| ![0, 2].contains(at));
    assert!(owed(dir.path(), A).iter().eq(left.map(|(_, text)| text)), "all but what is settled");
    let files = segment::numbers(dir.path()).expect("listed");
    let length =
        |number: &u64| fs::metadata(segment::path(dir.path(), *number)).expect("there").len();
    let lengths: Vec<u64> = files.iter().map(length).collect();
    // The last settlements came after the bytes were counted.
    let sum: u64 = lengths.iter().sum();
    assert!(sum >= used && sum - used <= 2 * 4_096, "{sum} {used}");
    if stage::is_direct_at(&dir.path().join("tried")) {
        assert!(lengths.iter().all(|length| length.is_multiple_of(4_096)), "{lengths:?}");
    }
}

#[test]
fn a_spool_of_version_1_is_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    append(&spool, "request");
    drop(spool);
    let file = segment::path(dir.path(), 1);
    let mut bytes = fs::read(&file).expect("one file");
    bytes[8] = 1;
    fs::write(&file, bytes).expect("written");
    assert_eq!(owed(dir.path(), A), ["request"]);
}

#[test]
fn settlements_reach_the_disk_whether_requests_come_or_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes: 1 << 20, file_bytes: 1 << 20, direct: false };
    let (spool, _) = Spool::open(dir.path(), limits, vec![A]).expect("a spool");
    let settled = |expected: usize| {
        // Read until it is so: the thread writes in its own time.
        loop {
            let (bytes, mut seqs) = (segment::read(dir.path(), 1).expect("one file"), Vec::new());
            segment::walk(&bytes, |met| {
                if let segment::Met::Record(_, record::Record::Settled(pairs)) = met {
                    seqs.extend(pairs.iter().map(|(_, seq)| *seq));
                }
            });
            if seqs.len() == expected {
                return assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>());
            }
            std::thread::yield_now();
        }
    };
    append(&spool, "one");
    append(&spool, "two");
    spool.settle(A, 1, 2);
    settled(1);
    // The thread sleeps, or is about to.
    spool.settle(A, 2, 3);
    settled(2);
    append(&spool, "three");
    spool.settle(A, 3, 4);
    settled(3);
}

#[test]
fn a_full_spool_has_no_room_and_has_it_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let limits = Limits { bytes: 1_000, file_bytes: 200, direct: false };
    let (spool, _) = Spool::open(dir.path(), limits, vec![A]).expect("a spool");
    let mut last = 0;
    while spool.reserve(60).is_some() {
        last = append(&spool, &"x".repeat(60));
    }
    assert!(last > 3 && spool.used_bytes() <= limits.bytes);
    for seq in 1..=last {
        spool.settle(A, seq, seq + 1);
    }
    while spool.reserve(60).is_none() {
        std::thread::yield_now();
    }
    append(&spool, "again");
}

#[test]
fn a_disk_that_fails_refuses_and_recovers() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, _) = open(dir.path(), &[A]);
    append(&spool, &"x".repeat(300));
    // The next request needs a new file, which finds its name taken.
    fs::create_dir(segment::path(dir.path(), 2)).expect("made");
    let (sender, committed) = mpsc::channel();
    let head = Head { seq: 0, kind: KIND, form: Form::Plain, records: 1, plain_bytes: 1 };
    let room = spool.reserve(1).expect("room");
    let commit = move |result: Result<(u64, Place), _>| {
        sender.send(result.map_err(|error: Arc<SpoolError>| error.to_string())).expect("awaited");
    };
    spool.append(room, head, Bytes::from_static(b"y"), Box::new(commit));
    let error = committed.recv().expect("an answer").expect_err("a failure");
    assert!(error.starts_with("create "), "{error}");
    assert!(spool.is_failing() && spool.failures() == 1);
    fs::remove_dir(segment::path(dir.path(), 2)).expect("removed");
    append(&spool, "again");
    assert!(!spool.is_failing());
    drop(spool);
    assert_eq!(owed(dir.path(), A), ["x".repeat(300).as_str(), "again"]);
}
