//! SIGSTOP to real services at random phases of their beats: how soon suspected, how soon lost.
//!
//! Time counts from the signal. Ten processes beat ten times a second and are stopped one by one;
//! `HOLDPOINT_STOPS=200` stops that many and holds the figures to the promise: suspected within
//! 550 ms in all, convicted within 2.2 s in 99 of 100. Run it on a quiet machine:
//!
//! ```sh
//! HOLDPOINT_STOPS=200 cargo test -p watchdog --test watchdog stops:: -- --nocapture
//! ```
//!
//! Without the variable only the order of things is asked for: a neighbour on the machine may make
//! anything late.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use holdpoint_beat::{Beats, Sender};
use rustix::process::{Pid, Signal, kill_process};
use watchdog::Config;

use crate::lateness::Lateness;
use crate::stage::{PATIENCE, Stage, config, wiring};

const SERVICES: usize = 10;
const INTERVAL: Duration = Duration::from_millis(100);
const CHILD_ENV: &str = "HOLDPOINT_TEST_BEATING_CHILD";

/// A process that does nothing but turn and beat.
struct Beating(Child);

impl Beating {
    fn start(stage: &Stage, service: &str) -> Self {
        let child = Command::new(std::env::current_exe().expect("this test"))
            .args(["stops::child_that_beats", "--exact", "--nocapture"])
            .env(CHILD_ENV, format!("{} {service}", stage.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn();
        Self(child.expect("it starts"))
    }

    fn send(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is our child");
    }
}

impl Drop for Beating {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _gone = self.0.wait();
    }
}

#[test]
fn child_that_beats() {
    let Ok(words) = std::env::var(CHILD_ENV) else { return };
    let (watchdog, service) = words.split_once(' ').expect("an address and a name");
    let sender = Sender::new(watchdog.parse().expect("an address"), service).expect("a name");
    let beats = Beats::start(sender.every(INTERVAL)).expect("a socket and a thread");
    // The parent's end of the pipe closes with the parent.
    let work = beats.work().clone();
    std::thread::spawn(move || {
        let mut end = String::new();
        let _closed = std::io::stdin().read_to_string(&mut end);
        std::process::exit(0);
    });
    loop {
        work.turn();
        std::thread::sleep(INTERVAL / 4);
    }
}

/// Milliseconds from the signal until the beats of `service` are in one of `states`.
async fn until(stage: &Stage, service: &str, stopped: Instant, states: &[&str]) -> u64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let verdict = stage.verdict(service).await;
        let state = verdict.as_ref().and_then(|v| v["beats"]["state"].as_str());
        if state.is_some_and(|state| states.contains(&state)) {
            return u64::try_from(stopped.elapsed().as_millis()).expect("seconds");
        }
        assert!(Instant::now() < deadline, "{service} is not {states:?} but {state:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_service_is_suspected_and_then_lost() {
    let asked = std::env::var("HOLDPOINT_STOPS").ok().and_then(|text| text.parse().ok());
    let stops: usize = asked.unwrap_or(SERVICES);
    let config = Config { attest_interval_ms: 20, ..config() };
    let stage = Stage::start(config, Vec::new(), wiring()).await;
    let lateness = Lateness::watch();
    let names: Vec<_> = (0..SERVICES).map(|index| format!("stopped-{index}")).collect();
    let children: Vec<_> = names.iter().map(|name| Beating::start(&stage, name)).collect();
    let (mut suspected, mut lost) = (Vec::new(), Vec::new());
    while suspected.len() < stops {
        for name in &names {
            until(&stage, name, Instant::now(), &["fresh"]).await;
        }
        // A stride that has no part in common with the interval visits every phase.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let rounds = names.iter().zip(&children).enumerate().map(|(index, (name, child))| {
            let (stage, phase) = (&stage, u64::try_from(index * 37).expect("small"));
            async move {
                tokio::time::sleep(Duration::from_millis(phase)).await;
                child.send(Signal::STOP);
                let stopped = Instant::now();
                let first = until(stage, name, stopped, &["suspect", "lost"]).await;
                let last = until(stage, name, stopped, &["lost"]).await;
                child.send(Signal::CONT);
                (first, last)
            }
        });
        for (first, last) in futures_util::future::join_all(rounds).await {
            assert!(first < last, "suspicion comes before conviction: {first} {last}");
            suspected.push(first);
            lost.push(last);
        }
    }
    suspected.sort_unstable();
    lost.sort_unstable();
    let part = |sorted: &[u64], percent: usize| {
        sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
    };
    let [late_p99, late_max] = lateness.end();
    println!("this machine woke a sleeper late by {late_p99:.1} ms (p99), {late_max:.1} ms (max)");
    println!(
        "{} stops: suspected p50 {} p99 {} max {} ms; lost p50 {} p99 {} max {} ms",
        suspected.len(),
        part(&suspected, 50),
        part(&suspected, 99),
        part(&suspected, 100),
        part(&lost, 50),
        part(&lost, 99),
        part(&lost, 100),
    );
    if asked.is_some() {
        assert!(part(&suspected, 100) <= 550, "suspected within 550 ms in all");
        assert!(part(&lost, 99) <= 2_200, "convicted within 2.2 s in 99 of 100");
    }
}
