//! `holdpoint collector tap` beside a running product: what passes, and only what was asked for.

use std::time::Duration;

use serde_json::Value;

use super::stack::{Stack, holdpoint};

#[test]
fn the_tap_shows_what_passes_and_ends_after_as_many_records_as_were_asked_for() {
    let stack = Stack::start("");
    let _services = ["a", "b"].map(|name| stack.service(name, "v1"));
    let asked = stack.cli(&["collector", "tap", "--service", "a", "--signal", "traces", "-n", "3"]);
    assert_eq!(asked.code, Some(0), "{asked:?}");
    let records: Vec<Value> =
        asked.out.lines().map(|line| serde_json::from_str(line).expect("a JSON line")).collect();
    let shown = |record: &&Value| record["skipped_requests"].is_null();
    let records: Vec<_> = records.iter().filter(shown).collect();
    assert_eq!(records.len(), 3, "{asked:?}");
    for record in &records {
        assert_eq!((&record["service"], &record["signal"]), (&"a".into(), &"traces".into()));
    }

    let data = stack.data().display().to_string();
    let table = holdpoint(&["collector", "tap", "--service", "b", "-n", "1", "--data-dir", &data]);
    assert_eq!(table.code, Some(0), "{table:?}");
    assert!(table.out.starts_with("traces  b  "), "a line for people: {table:?}");
    assert_eq!(table.out.lines().count(), 1, "{table:?}");
}

#[test]
fn the_tap_of_nothing_says_what_to_do() {
    let mut stack = Stack::start("");
    let data = stack.data().display().to_string();
    super::stack::send(stack.up_pid(), rustix::process::Signal::TERM);
    stack.wait_end(Duration::from_secs(15));
    let none = holdpoint(&["collector", "tap", "--data-dir", &data]);
    assert_eq!(none.code, Some(2), "{none:?}");
    assert!(none.err.contains("no collector runs in"), "{none:?}");
}
