//! What ten thousand services at one beat a second cost a watchdog: real datagrams over loopback,
//! signed by nobody, each with a work counter. `cargo bench -p watchdog --bench fleet`;
//! `FLEET_SECONDS` (20) and `FLEET_SERVICES` (10 000) change what is sent.
//!
//! The sender is a process of its own, so that what is measured is the watchdog alone: processor
//! time and memory of the whole process, and of the thread that draws the verdicts.
//!
//! Invariant: only a span is measured in which every service has been heard already.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use watchdog::{Config, Wiring};

const SENDER: &str = "FLEET_SENDER";
/// Ticks of `/proc` in a second, on every Linux there is.
const TICKS: f64 = 100.0;
/// The sender wakes so often in a second.
const WAKES: u32 = 100;

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let (services, seconds) = (setting("FLEET_SERVICES", 10_000), setting("FLEET_SECONDS", 20));
    if let Ok(address) = std::env::var(SENDER) {
        send(address.parse().expect("the parent gave an address"), services, seconds + 10);
        return;
    }
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(measure(services, seconds));
}

/// Beats for every service once a second, spread evenly.
fn send(to: SocketAddr, services: u32, seconds: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let began = Instant::now();
    for seq in 1..=seconds {
        for wake in 0..WAKES {
            let due =
                Duration::from_secs(u64::from(seq - 1)) + Duration::from_secs(1) * wake / WAKES;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            for service in (0..services).filter(|service| service % WAKES == wake) {
                let text = format!(
                    "{{\"service\":\"service-{service:05}\",\"instance\":\"i\",\
                     \"boot\":\"1700000000000-b\",\"seq\":{seq},\"token\":{seq},\
                     \"requests\":{}}}",
                    seq * 20
                );
                // A full buffer loses a beat, as it would in the field.
                let _lost = socket.send_to(text.as_bytes(), to);
            }
        }
    }
}

fn wiring() -> Wiring {
    Wiring {
        name: "fleet".into(),
        boot: "1700000000000-w".parse().expect("a valid boot"),
        signing_key: [3; 32],
        probe_key: [4; 32],
        beat_key: Arc::new(|_| None),
        collector: Arc::new(|| None),
        gate: Arc::new(|| None),
        service_manager: None,
        recalled: Vec::new(),
        keep: Arc::new(|_| Ok(())),
        supervise: None,
        healing: None,
    }
}

async fn measure(services: u32, seconds: u32) {
    let listen = "127.0.0.1:0".parse().expect("an address");
    let bound = watchdog::bind(Config { listen, ..Config::default() }, Vec::new()).await;
    let bound = bound.expect("free ports");
    let address = bound.address();
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(bound.run(wiring(), shutdown.clone()));
    let mut sender = Sender(
        Command::new(std::env::current_exe().expect("this executable"))
            .env(SENDER, address.to_string())
            .spawn()
            .expect("this executable starts"),
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = look(address).await;
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let after = look(address).await;
    sender.0.kill().expect("it is our child");
    report(services, &before, &after);
    shutdown.cancel();
    running.await.expect("it does not panic").expect("a clean stop");
}

struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

struct Look {
    at: Instant,
    beats: f64,
    turns: f64,
    cpu_s: f64,
    verdicts_s: f64,
    resident_mib: f64,
}

async fn look(address: SocketAddr) -> Look {
    let url = format!("http://{address}/metrics");
    let text = reqwest::get(url).await.expect("the watchdog answers").text().await.expect("text");
    let sample = |line: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {line}"))
    };
    Look {
        at: Instant::now(),
        beats: sample("holdpoint_watchdog_beats_total{transport=\"udp\"}"),
        turns: sample("holdpoint_watchdog_turns_total"),
        cpu_s: cpu_s("/proc/self/stat"),
        verdicts_s: cpu_s(&verdict_thread()),
        resident_mib: resident_mib(),
    }
}

/// User and system time, fields 14 and 15.
fn cpu_s(path: &str) -> f64 {
    let stat = std::fs::read_to_string(path).expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    ticks.map(|field| field.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

fn verdict_thread() -> String {
    let tasks = std::fs::read_dir("/proc/self/task").expect("proc is mounted").flatten();
    let of_verdicts = tasks.map(|task| task.path()).find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "verdicts")
    });
    of_verdicts.expect("the verdict loop runs").join("stat").display().to_string()
}

fn resident_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("in kB");
    kib.trim().parse::<f64>().expect("a number") / 1_024.0
}

fn report(services: u32, before: &Look, after: &Look) {
    let span_s = (after.at - before.at).as_secs_f64();
    let cpu = (after.cpu_s - before.cpu_s) / span_s * 100.0;
    let verdicts = (after.verdicts_s - before.verdicts_s) / span_s * 100.0;
    let turns = after.turns - before.turns;
    let turn_us = (after.verdicts_s - before.verdicts_s) / turns * 1e6;
    let heard = (after.beats - before.beats) / span_s;
    println!("{services} services, {heard:.0} beats a second heard over {span_s:.1} s");
    println!("processor   {cpu:.1} % of a core (goal: at most 10)");
    println!("memory      {:.1} MiB resident (goal: at most 100)", after.resident_mib);
    println!("verdicts    {verdicts:.1} % of a core, {:.0} turns a second", turns / span_s);
    println!("a turn      {turn_us:.0} us on average");
}
