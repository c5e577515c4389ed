//! What ten thousand services at one beat a second cost a watchdog: `cargo bench -p watchdog
//! --bench fleet`. Real datagrams over loopback, signed by nobody, each with a work counter; a
//! collector that tells one export a second of each service and carries the probes; a gate that
//! takes the attestations. `FLEET_SECONDS` (20) and `FLEET_SERVICES` (10 000) change what is sent,
//! `FLEET_ALONE=1` leaves collector and gate out.
//!
//! Watchdog, sender, and what stands for collector and gate are processes of their own, so that
//! what is measured is the watchdog alone: processor time and memory of its process, and of the
//! thread that draws the verdicts.
//!
//! Invariant: only a span is measured in which every service has been heard already.

use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

mod peers;
mod watched;
// What a probe carries is read as the tests read it.
#[path = "../../tests/watchdog/echo.rs"]
mod echo;

/// Which part this process plays; without it, it measures.
const PART: &str = "FLEET_PART";
/// Where the watchdog listens, for the sender; where the peers are, for the watchdog.
const ADDRESS: &str = "FLEET_ADDRESS";
/// Ticks of `/proc` in a second, on every Linux there is.
const TICKS: f64 = 100.0;
/// The sender wakes so often in a second.
const WAKES: u32 = 100;
/// Requests a second of each service.
const WORK: u64 = 20;
/// Everybody is heard and learnt by then.
const WARM: Duration = Duration::from_secs(15);

fn setting(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn main() {
    let (services, seconds) = (setting("FLEET_SERVICES", 10_000), setting("FLEET_SECONDS", 20));
    let address = || std::env::var(ADDRESS).ok().and_then(|text| text.parse().ok());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
    match std::env::var(PART).ok().as_deref() {
        Some("sender") => send(address().expect("the parent gave an address"), services),
        Some("peers") => runtime.block_on(peers::run(services)),
        Some("watchdog") => runtime.block_on(watched::run(address())),
        _ => runtime.block_on(measure(services, seconds)),
    }
}

/// Beats for every service once a second, spread evenly.
fn send(to: SocketAddr, services: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let began = Instant::now();
    for seq in 1_u32.. {
        for wake in 0..WAKES {
            let due =
                Duration::from_secs(u64::from(seq - 1)) + Duration::from_secs(1) * wake / WAKES;
            std::thread::sleep(due.saturating_sub(began.elapsed()));
            for service in (0..services).filter(|service| service % WAKES == wake) {
                let text = format!(
                    "{{\"service\":\"service-{service:05}\",\"instance\":\"i\",\
                     \"boot\":\"1700000000000-b\",\"seq\":{seq},\"token\":{seq},\
                     \"revision\":\"r1\",\"requests\":{}}}",
                    u64::from(seq) * WORK
                );
                // A full buffer loses a beat, as it would in the field.
                let _lost = socket.send_to(text.as_bytes(), to);
            }
        }
    }
}

/// Starts a part and reads the address that it prints, if it prints one.
fn start(part: &str, address: Option<SocketAddr>) -> (Part, Option<SocketAddr>) {
    let mut command = Command::new(std::env::current_exe().expect("this executable"));
    command.env(PART, part).stdin(Stdio::piped()).stdout(Stdio::piped());
    if let Some(address) = address {
        command.env(ADDRESS, address.to_string());
    }
    let mut child = command.spawn().expect("this executable starts");
    let mut line = String::new();
    if part != "sender" {
        let out = child.stdout.take().expect("it is piped");
        std::io::BufRead::read_line(&mut std::io::BufReader::new(out), &mut line).expect("a line");
    }
    (Part(child), line.trim().parse().ok())
}

struct Part(Child);

impl Drop for Part {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _reaped = self.0.wait();
    }
}

async fn measure(services: u32, seconds: u32) {
    let alone = std::env::var_os("FLEET_ALONE").is_some();
    let peers = (!alone).then(|| start("peers", None));
    let at = peers.as_ref().and_then(|(_, at)| *at);
    let (watchdog, address) = start("watchdog", at);
    let (address, pid) = (address.expect("it prints where it listens"), watchdog.0.id());
    let _sender = start("sender", Some(address));
    tokio::time::sleep(WARM).await;
    let before = look(address, pid).await;
    // The page of the first look is no part of what is measured next.
    tokio::time::sleep(Duration::from_secs(u64::from(seconds))).await;
    let resting_mib = memory_mib(pid, "VmRSS:");
    let after = look(address, pid).await;
    report(services, &before, &after, resting_mib);
}

struct Look {
    at: Instant,
    beats: f64,
    turns: f64,
    attested: f64,
    live: usize,
    cpu_s: f64,
    verdicts_s: f64,
    peak_mib: f64,
}

async fn look(address: SocketAddr, pid: u32) -> Look {
    let (at, cpu_s) = (Instant::now(), cpu_s(&format!("/proc/{pid}/stat")));
    let verdicts_s = self::cpu_s(&verdict_thread(pid));
    let url = format!("http://{address}/metrics");
    let text = reqwest::get(url).await.expect("the watchdog answers").text().await.expect("text");
    let sample = |line: &str| {
        let found = text.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        found.and_then(|value| value.parse::<f64>().ok())
    };
    let lives = |line: &&str| line.ends_with("verdict=\"live\"} 1");
    Look {
        at,
        beats: sample("holdpoint_watchdog_beats_total{transport=\"udp\"}").expect("beats"),
        turns: sample("holdpoint_watchdog_turns_total").expect("turns"),
        attested: sample("holdpoint_watchdog_attestations_total{outcome=\"taken\"}").unwrap_or(0.0),
        live: text.lines().filter(lives).count(),
        cpu_s,
        verdicts_s,
        peak_mib: memory_mib(pid, "VmHWM:"),
    }
}

/// User and system time, fields 14 and 15.
fn cpu_s(path: &str) -> f64 {
    let stat = std::fs::read_to_string(path).expect("proc is mounted");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    ticks.map(|field| field.parse::<f64>().expect("a number")).sum::<f64>() / TICKS
}

fn verdict_thread(pid: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("proc is mounted").flatten();
    let of_verdicts = tasks.map(|task| task.path()).find(|path| {
        std::fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == "verdicts")
    });
    of_verdicts.expect("the verdict loop runs").join("stat").display().to_string()
}

fn memory_mib(pid: u32, field: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).expect("in kB");
    kib.trim().parse::<f64>().expect("a number") / 1_024.0
}

fn report(services: u32, before: &Look, after: &Look, resting_mib: f64) {
    let span_s = (after.at - before.at).as_secs_f64();
    let per_s = |pick: fn(&Look) -> f64| (pick(after) - pick(before)) / span_s;
    let turns = per_s(|look| look.turns);
    println!(
        "{services} services, {} of them live, {:.0} beats a second heard over {span_s:.1} s",
        after.live,
        per_s(|look| look.beats)
    );
    println!("processor   {:.1} % of a core (goal: at most 10)", per_s(|l| l.cpu_s) * 100.0);
    println!(
        "memory      {resting_mib:.1} MiB resident (goal: at most 100), at most {:.1} with scrapes",
        after.peak_mib
    );
    println!(
        "verdicts    {:.1} % of a core, {turns:.0} turns a second",
        per_s(|l| l.verdicts_s) * 100.0
    );
    println!("a turn      {:.0} us on average", per_s(|l| l.verdicts_s) / turns * 1e6);
    println!("attested    {:.1} times a second", per_s(|l| l.attested));
}
