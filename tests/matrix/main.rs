//! The fault matrix: real processes are broken in every way we know, and the watchdog must say
//! where.
//!
//! One command prints the table of docs/watchdog.md:
//!
//! ```sh
//! HOLDPOINT_MATRIX=20 cargo test --test matrix -- --nocapture
//! ```
//!
//! Without the variable each class is run once. `HOLDPOINT_MATRIX_ONLY=backend` runs the classes
//! with that word in their names, `HOLDPOINT_MATRIX_LANES` so many at a time.
//!
//! Invariant: a class has a stage of its own, so that what one breaks is not another's fault.

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;
#[path = "../e2e/lateness.rs"]
mod lateness;

mod backend;
mod faults;
mod hung;
mod report;
mod scene;
mod service;
mod watching;
mod wires;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use faults::{FAULTS, Fault};
use report::Row;
use scene::Scene;
use watching::Run;

/// How long a stage is live before it is broken for the first time: habits are held by then.
const FIRST_DWELL: Duration = Duration::from_millis(4_000);
/// How long it is live before it is broken again.
const DWELL: Duration = Duration::from_millis(1_500);
/// So many runs may be repeated for each that is asked for, because the machine stood still.
const VOID_MAX: usize = 3;

fn from_env(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn every_fault_is_located_and_none_is_called_live() {
    let runs = from_env("HOLDPOINT_MATRIX", 1);
    let only = std::env::var("HOLDPOINT_MATRIX_ONLY").unwrap_or_default();
    let chosen = FAULTS.iter().filter(|fault| fault.name.contains(&only));
    let queue: Mutex<VecDeque<(usize, &'static Fault)>> = Mutex::new(chosen.enumerate().collect());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..from_env("HOLDPOINT_MATRIX_LANES", 5) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("no lane panicked").pop_front();
                    let Some((place, fault)) = next else { return };
                    let row = row(fault, runs);
                    rows.lock().expect("no lane panicked").push((place, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no lane panicked");
    rows.sort_by_key(|(place, _)| *place);
    let rows: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    report::print(&rows);
    let asked: Vec<_> = rows.iter().filter(|row| row.fault.gap.is_none()).collect();
    // A machine that never ran is not the watchdog's fault.
    let counts = |run: &&Run| run.is_right() || !run.is_void();
    let all: usize = asked.iter().map(|row| row.runs.iter().filter(counts).count()).sum();
    let located: usize = asked.iter().map(|row| row.located()).sum();
    let told = asked.iter().flat_map(|row| &row.runs).filter(counts);
    let blind = told.filter(|run| run.blind_ms.is_some()).count();
    assert_eq!(blind, 0, "never live under a fault");
    assert!(located * 100 >= all * 99, "{located} of {all} located");
}

fn row(fault: &'static Fault, runs: usize) -> Row {
    let mut scene = Scene::start(fault.owner, fault.services);
    watching::settle(&scene, fault, FIRST_DWELL);
    let (mut done, mut void) = (Vec::new(), 0);
    for index in 0.. {
        if done.len() == runs {
            break;
        }
        watching::settle(&scene, fault, DWELL);
        // A stride that has no part in common with any period visits every phase.
        std::thread::sleep(Duration::from_millis(index * 137 % 500));
        let run = watching::run(&mut scene, fault);
        // What went well on a machine that stands still now and then went well.
        if run.is_void() && !run.is_right() && void < VOID_MAX * runs {
            void += 1;
        } else {
            done.push(run);
        }
    }
    Row { fault, runs: done, void }
}
