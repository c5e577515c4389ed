//! The tally: rows, cursors, cardinality, echoes and the long poll.

mod particulars;

use prost::Message;
use watchdog_core::names::Boot;
use watchdog_core::tally::Signal;

use super::*;
use crate::samples;

const BOOT_MS: u64 = 1_700_000_000_000;

fn tally(rows_max: usize) -> Tally {
    Tally::new(Boot::new(format!("{BOOT_MS}-a")).expect("a name"), rows_max, false)
}

fn add(tally: &Tally, signal: Signal, request: &impl Message, now: u64) {
    let bytes = request.encode_to_vec();
    tally.add(&Scanned::of(signal, &bytes).expect("valid"), Tick(now), BOOT_MS + now);
}

#[test]
fn a_row_holds_what_arrived_and_nothing_that_did_not() {
    let tally = tally(10);
    add(&tally, Signal::Traces, &samples::spans("shop", 5, 2), 100);
    add(&tally, Signal::Traces, &samples::spans("shop", 3, 0), 130);
    let page = tally.page(0, Tick(150));
    let [row] = page.rows.as_slice() else { panic!("one row, not {:?}", page.rows) };
    assert_eq!(row.service.as_str(), "shop");
    assert_eq!(row.instance.as_ref().expect("sent").as_str(), "i-1");
    assert_eq!(row.revision.as_ref().expect("sent").as_str(), "v1");
    let traces = row.traces.as_ref().expect("arrived");
    assert_eq!((traces.arrivals, traces.records, traces.last_age_ms), (2, 8, 20));
    assert_eq!((row.metrics.as_ref(), row.logs.as_ref()), (None, None));
    let red = row.red.as_ref().expect("server spans");
    assert_eq!((red.requests, red.errors), (8, 2));
    assert_eq!(red.durations[3], 8, "7 ms is in the bucket up to 10 ms");
    assert_eq!(page.flow.received, 8);
    assert_eq!(page.flow.last_forward_age_ms, None, "no backend ever took anything");
}

#[test]
fn values_that_stand_still_are_records_but_no_changes() {
    let tally = tally(10);
    for (value, time) in [(1.0, 1), (1.0, 2), (1.0, 3), (2.0, 4), (1.0, 5)] {
        add(&tally, Signal::Metrics, &samples::gauge(value, time), time);
    }
    let page = tally.page(0, Tick(9));
    let metrics = page.rows[0].metrics.as_ref().expect("arrived");
    assert_eq!((metrics.arrivals, metrics.records, metrics.changes), (5, 5, 2));
}

#[test]
fn an_arrival_tells_how_late_its_newest_record_is_and_nothing_if_none_is_dated() {
    let ns = |ms: u64| (BOOT_MS + ms) * 1_000_000;
    let late_ms = |tally: &Tally| {
        let rows = tally.page(0, Tick(9)).rows;
        rows[0].metrics.as_ref().expect("arrived").late_ms
    };
    let tally = tally(10);
    for (dated, arrived, late) in [
        (0, 1, None),
        (ns(5), 12, Some(7)),
        (ns(90), 20, Some(-70)),
        (ns(3), 20, Some(17)),
        (u64::MAX, 20, Some(1_700_000_000_020 - 18_446_744_073_709)),
        (0, 30, None),
    ] {
        add(&tally, Signal::Metrics, &samples::gauge(1.0, dated), arrived);
        assert_eq!(late_ms(&tally), late, "dated {dated}");
    }
    let two =
        [samples::gauge(1.0, ns(1)).encode_to_vec(), samples::gauge(2.0, ns(8)).encode_to_vec()];
    let two = two.concat();
    let scanned = Scanned::of(Signal::Metrics, &two).expect("concatenation is merging");
    tally.add(&scanned, Tick(10), BOOT_MS + 10);
    assert_eq!(late_ms(&tally), Some(2), "the newest of all resources of the request counts");
}

#[test]
fn a_page_holds_what_changed_after_its_cursor() {
    let tally = tally(10);
    add(&tally, Signal::Logs, &samples::log_lines("a", 1), 1);
    let first = tally.page(0, Tick(1));
    add(&tally, Signal::Logs, &samples::log_lines("b", 1), 2);
    let second = tally.page(first.cursor, Tick(2));
    let services: Vec<_> = second.rows.iter().map(|row| row.service.as_str()).collect();
    assert_eq!(services, ["b"]);
    assert!(tally.page(second.cursor, Tick(3)).rows.is_empty());
    // A reader that knows the boot before, or a clock that went back, is given everything.
    assert_eq!(tally.page((BOOT_MS - 1) * 1_000, Tick(3)).rows.len(), 2);
    assert_eq!(tally.page(u64::MAX, Tick(3)).rows.len(), 2);
}

#[test]
fn a_full_table_refuses_new_rows_and_goes_on_counting_the_old() {
    let tally = tally(2);
    for service in ["a", "b", "c", "a"] {
        add(&tally, Signal::Logs, &samples::log_lines(service, 1), 1);
    }
    let page = tally.page(0, Tick(1));
    let counted: Vec<_> = page
        .rows
        .iter()
        .map(|row| (row.service.as_str(), row.logs.as_ref().expect("arrived").records))
        .collect();
    assert_eq!(counted, [("a", 2), ("b", 1)]);
    assert_eq!(page.flow.received, 4, "the flow counts all records");
    let size = tally.size();
    assert_eq!((size.rows, size.rows_refused, size.unnamed_records), (2, 1, 0));
}

#[test]
fn names_that_are_none_are_not_names() {
    let tally = tally(10);
    let mut request = samples::log_lines("shop", 1);
    let attributes = |request: &mut opentelemetry_proto::tonic::collector::logs::v1::
        ExportLogsServiceRequest, attributes| {
        request.resource_logs[0].resource.as_mut().expect("set").attributes = attributes;
    };
    let text = samples::text;
    let long = "x".repeat(300);
    for service in ["", "a\u{202E}b", long.as_str(), "a\0b"] {
        attributes(&mut request, vec![text("service.name", service)]);
        add(&tally, Signal::Logs, &request, 1);
    }
    assert_eq!(tally.size().unnamed_records, 4);
    assert!(tally.page(0, Tick(1)).rows.is_empty());

    // An instance that is no name is left out; the row is that of the service without instance.
    for instance in ["", "a\nb"] {
        attributes(
            &mut request,
            vec![text("service.name", "shop"), text("service.instance.id", instance)],
        );
        add(&tally, Signal::Logs, &request, 1);
    }
    attributes(&mut request, vec![text("service.name", "shop"), text("service.namespace", "eu")]);
    add(&tally, Signal::Logs, &request, 1);
    let rows: Vec<_> = tally.page(0, Tick(1)).rows;
    let names: Vec<_> = rows.iter().map(|row| (row.service.as_str(), &row.instance)).collect();
    assert_eq!(names, [("shop", &None), ("eu/shop", &None)]);
}

#[test]
fn one_request_with_a_resource_twice_is_one_arrival() {
    let tally = tally(10);
    let one = samples::log_lines("shop", 2).encode_to_vec();
    let two = [one.clone(), one].concat();
    tally.add(&Scanned::of(Signal::Logs, &two).expect("valid"), Tick(1), BOOT_MS);
    let page = tally.page(0, Tick(1));
    let logs = page.rows[0].logs.as_ref().expect("arrived");
    assert_eq!((logs.arrivals, logs.records, logs.changes), (1, 4, 1));
}

#[test]
fn probes_have_echoes_and_no_row() {
    let tally = tally(10);
    add(&tally, Signal::Traces, &samples::probe("r", 1), 1);
    let page = tally.page(0, Tick(1));
    assert!(page.rows.is_empty());
    let bytes = samples::probe("r", 1).encode_to_vec();
    let probes = Scanned::of(Signal::Traces, &bytes).expect("valid").probes;
    tally.echo(probes, Tick(5));
    let echoed = tally.page(page.cursor, Tick(8));
    let [echo] = echoed.echoes.as_slice() else { panic!("one echo, not {:?}", echoed.echoes) };
    assert_eq!((echo.run.as_str(), echo.seq.as_str(), echo.age_ms), ("r", "1", 3));
    assert!(tally.page(echoed.cursor, Tick(9)).echoes.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_poll_waits_for_a_change_and_not_longer_than_asked() {
    let tally = tally(10);
    let start = Instant::now();
    let cursor = tally.page(0, Tick(0)).cursor;
    tally.changed_after(cursor, Duration::from_secs(2)).await;
    assert_eq!(start.elapsed().as_millis() / 10, 200, "nothing changed");

    let start = Instant::now();
    let changing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        add(&tally, Signal::Logs, &samples::log_lines("a", 1), 1);
    };
    tokio::join!(tally.changed_after(cursor, Duration::from_secs(2)), changing);
    assert_eq!(start.elapsed().as_millis() / 10, 50, "a change is told at once");

    let start = Instant::now();
    tally.changed_after(cursor, Duration::from_secs(2)).await;
    assert_eq!(start.elapsed().as_millis() / 10, 5, "polls without pause are slowed down");
    let start = Instant::now();
    tally.changed_after(cursor, Duration::ZERO).await;
    assert_eq!(start.elapsed().as_millis(), 0, "a wait of 0 asks for what is there now");
}
