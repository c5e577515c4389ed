//! What one life of the collector leaves to the next: order, owners, and files it cannot read.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::child::Collector;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::{turn, wait};

const LIMIT: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;

fn exporter(address: SocketAddr) -> String {
    format!("endpoint = \"http://{address}\"\nconcurrency = 1")
}

/// The files of the spool, oldest first.
fn files(collector: &Collector) -> Vec<PathBuf> {
    let entries = fs::read_dir(collector.data().join("spool")).expect("a spool");
    let paths = entries.map(|entry| entry.expect("a readable entry").path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Sends `n` requests, one after the other.
fn send(collector_at: SocketAddr, habit: Habit, n: usize) -> Vec<u64> {
    let load = Load::start(habit, collector_at);
    wait("requests are acknowledged", LIMIT, || {
        (load.answers().acknowledged.len() >= n).then_some(())
    });
    load.stop().acknowledged
}

fn wait_delivered(sink: &Sink, numbers: &[u64]) {
    wait("all that was acknowledged is delivered", LIMIT, || {
        sink.books().missing(numbers).is_empty().then_some(())
    });
}

#[test]
fn more_than_memory_holds_waits_on_disk_and_is_sent_in_order_by_the_next_life() {
    let _turn = turn();
    let sink = Sink::start();
    let keys = format!("max_request_bytes = {MIB}\nmemory_bytes = {}", 8 * MIB);
    let mut collector = Collector::new(&keys, &[exporter(sink.address)]);
    let address = collector.start();
    let idle = collector.memory_bytes();
    sink.feel(Mood::Refuses);
    // 400 KB each, three of four not compressed: 60 MB wait.
    let habit = Habit { clients: 1, pause: Duration::ZERO, padding: 20_000 };
    let numbers = send(address, habit, 200);
    let waiting: u64 = files(&collector).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    let grown = collector.memory_bytes().saturating_sub(idle);
    eprintln!("{} MiB wait on disk, memory grew by {} MiB", waiting / MIB, grown / MIB);
    assert!(waiting > 40 * MIB && grown < 24 * MIB, "{waiting} {grown}");
    collector.kill();
    sink.feel(Mood::Takes);
    collector.start();
    wait_delivered(&sink, &numbers);
    let grown = collector.memory_bytes().saturating_sub(idle);
    assert!(grown < 24 * MIB, "it was read back by and by: {grown}");
    assert!(sink.books().order.is_sorted(), "one source, one request at a time: in order");
    collector.assert_settles();
    wait("the files are deleted", LIMIT, || (files(&collector).len() <= 1).then_some(()));
}

#[test]
fn a_collector_that_is_started_alone_has_the_allocator_that_keeps_its_budget() {
    let mut collector = Collector::new("", &[]);
    collector.start();
    // glibc ends each of its settings with a zero where it reads them.
    let environment = collector.environment();
    let has = |text| environment.split('\0').any(|entry| entry.contains(text));
    assert!(has("GLIBC_TUNABLES=") && has("malloc.arena_max="), "{environment:?}");
    assert_eq!(collector.stop(), Some(0), "{}", collector.log());
}

#[test]
fn an_exporter_that_is_removed_leaves_nothing_behind_and_a_new_one_gets_what_is_new() {
    let _turn = turn();
    let [stays, goes, comes] = [(); 3].map(|()| Sink::start());
    let habit = Habit { clients: 2, pause: Duration::ZERO, padding: 10 };
    let both = [exporter(stays.address), exporter(goes.address)];
    let mut collector = Collector::new("", &both);
    stays.feel(Mood::Refuses);
    goes.feel(Mood::Refuses);
    let old = send(collector.start(), habit, 20);
    assert_eq!(collector.stop(), Some(0), "{}", collector.log());

    collector.configure("", &[exporter(stays.address), exporter(comes.address)]);
    stays.feel(Mood::Takes);
    let address = collector.start();
    let ledger = collector.assert_balances();
    wait_delivered(&stays, &old);
    collector.assert_settles();
    assert_eq!(ledger.recovered, (old.len() * super::wire::RECORDS) as u64);
    assert_eq!(comes.books().order, Vec::<u64>::new(), "what is old was not owed to it");
    assert!(
        collector.log().contains("for backends that are not configured"),
        "{}",
        collector.log()
    );
    let removed = |signal| {
        let labels = format!("{{exporter=\"\",signal=\"{signal}\",reason=\"removed\"}}");
        collector.metric(&format!("holdpoint_collector_dropped_records_total{labels}"))
    };
    let removed: f64 = ["traces", "metrics", "logs"].into_iter().filter_map(removed).sum();
    assert_eq!(removed, (old.len() * super::wire::RECORDS) as f64);
    // Numbers begin anew with each load, so both sinks have these twice or once.
    let new = send(address, habit, 20);
    wait_delivered(&comes, &new);
    collector.assert_settles();
    assert_eq!(goes.books().order, Vec::<u64>::new());
}

#[test]
fn a_spool_of_a_newer_version_is_left_alone_and_said_to_be_so() {
    let _turn = turn();
    let sink = Sink::start();
    let mut collector = Collector::new("", &[exporter(sink.address)]);
    sink.feel(Mood::Refuses);
    let habit = Habit { clients: 1, pause: Duration::ZERO, padding: 10 };
    let numbers = send(collector.start(), habit, 5);
    collector.kill();
    let file = files(&collector).remove(0);
    let bytes = fs::read(&file).expect("it can be read");
    // The version follows the 8 bytes of the mark.
    let newer = [&bytes[..8], &9_u32.to_le_bytes(), &bytes[12..]].concat();
    fs::write(&file, &newer).expect("it can be written");
    collector.spawn();
    assert_eq!(collector.wait_end(), Some(74));
    let log = collector.log();
    assert!(log.contains("version 9") && log.contains("start the newer version"), "{log}");
    assert_eq!(fs::read(&file).expect("it is still there"), newer);
    fs::write(&file, bytes).expect("it can be written");
    sink.feel(Mood::Takes);
    collector.start();
    wait_delivered(&sink, &numbers);
}
