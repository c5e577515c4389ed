//! Processes that are measured: this binary again, as a bare server, a bare proxy or the collector;
//! and a peer, which somebody else has started.
//!
//! Invariant: a child ends with its parent, whatever ends that: it stops when its stdin does.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use collector::{Acknowledge, Compression, Config, ExporterConfig, Protocol};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use crate::bare;

const BARE: &str = "as-bare-server";
const PROXY: &str = "as-bare-proxy";
const COLLECTOR: &str = "as-collector";
const BATCH_BYTES: usize = 64 << 10;
/// `USER_HZ` of proc(5): 100 a second in the ABI of every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// A server in a process of its own.
pub struct Server {
    pub name: &'static str,
    pid: u32,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// Unset for a peer, which is not ours to end.
    process: Option<std::process::Child>,
    /// Where a collector keeps its spool; it goes when the server does.
    spool: Option<TempDir>,
}

/// What a collector of this bench is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub backend: SocketAddr,
    /// `http` or `grpc`.
    pub protocol: &'a str,
    /// `none` or `gzip`.
    pub compression: &'a str,
    pub acknowledge: Acknowledge,
    /// Whether small requests that wait for the backend travel together.
    pub batches: bool,
}

impl Server {
    pub fn bare() -> Self {
        Self::start("bare server", &[BARE], None)
    }

    pub fn proxy(backend: SocketAddr) -> Self {
        Self::start("bare proxy", &[PROXY, &backend.to_string()], None)
    }

    /// A collector whose spool, if it has one, is on the disk of the build.
    pub fn collector(told: Told<'_>) -> Self {
        let Told { backend, protocol, compression, acknowledge, batches } = told;
        let spool = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let dir = spool.path().to_str().expect("the build's directory is text").to_owned();
        let (name, backend) = (name(acknowledge), format!("http://{backend}"));
        let batches = if batches { "batches" } else { "one by one" };
        let arguments = [COLLECTOR, &backend, protocol, compression, name, batches, &dir];
        Self::start(name, &arguments, Some(spool))
    }

    /// `HTTP,GRPC,PID` of a server that forwards to the backend of this run.
    pub fn peer(text: &str) -> Option<Self> {
        let [http, grpc, pid] = *text.split(',').collect::<Vec<_>>() else { return None };
        let (http, grpc) = (http.parse().ok()?, grpc.parse().ok()?);
        Some(Self { name: "peer", pid: pid.parse().ok()?, http, grpc, process: None, spool: None })
    }

    fn start(name: &'static str, arguments: &[&str], spool: Option<TempDir>) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a path"))
            .args(arguments)
            .env("GLIBC_TUNABLES", collector::GLIBC_TUNABLES)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary runs again");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the child tells its addresses");
        let (http, grpc) = line.trim().split_once(' ').expect("two addresses");
        let (http, grpc) = (http.parse().expect("one"), grpc.parse().expect("another"));
        Self { name, pid: process.id(), http, grpc, process: Some(process), spool }
    }

    /// Processor time of all its threads, in user mode and in the kernel, those that ended too.
    pub fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.pid);
        let stat = std::fs::read_to_string(path).expect("the process runs");
        // The name, in parentheses, may hold blanks; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|field| TICK * field.parse::<u32>().expect("proc(5)")).sum()
    }

    /// Processor time of the threads that there are, to the nanosecond, and how often they were
    /// put on a processor.
    pub fn scheduled(&self) -> (Duration, u64) {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid));
        let mut sum = (Duration::ZERO, 0);
        for task in tasks.expect("the process runs") {
            let path = task.expect("proc(5)").path().join("schedstat");
            // A thread may have ended since.
            let Ok(text) = std::fs::read_to_string(path) else { continue };
            let fields: Vec<u64> = text.split_whitespace().flat_map(str::parse).collect();
            sum.0 += Duration::from_nanos(fields[0]);
            sum.1 += fields[2];
        }
        sum
    }

    /// MiB that are resident now, and the most that ever were since [`Self::forget_peak`].
    pub fn resident_mib(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid));
        let status = status.expect("the process runs");
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("proc(5)");
            line.trim().trim_end_matches(" kB").parse::<f64>().expect("proc(5)") / 1_024.0
        };
        (field("VmRSS:"), field("VmHWM:"))
    }

    /// Begins the peak of the resident memory anew: proc(5), `clear_refs`.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.pid), "5").expect("it is our process");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself, and then there is nothing to end.
            let _ = process.kill();
            let _ = process.wait();
        }
        // After the end of who writes to it.
        drop(self.spool.take());
    }
}

/// Two workers, as the collector has when it runs as a role.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

const fn name(acknowledge: Acknowledge) -> &'static str {
    match acknowledge {
        Acknowledge::Spooled => "spooled",
        Acknowledge::Delivered => "delivered",
        Acknowledge::Queued => "queued",
    }
}

/// The value of `acknowledge` that is called `text`.
pub fn acknowledge(text: &str) -> Option<Acknowledge> {
    let all = [Acknowledge::Spooled, Acknowledge::Delivered, Acknowledge::Queued];
    all.into_iter().find(|acknowledge| name(*acknowledge) == text)
}

/// Becomes the server that the arguments name; false if they name none.
pub fn serve(arguments: &[String]) -> bool {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        [BARE] => runtime().block_on(serve_bare()),
        [PROXY, backend] => runtime().block_on(serve_proxy(backend)),
        [COLLECTOR, backend, protocol, compression, acknowledge, batches, dir] => {
            let mut config = config(backend, protocol, compression, acknowledge);
            if batches == "batches" {
                let exporter = &mut config.exporters[0];
                (exporter.batch_bytes, exporter.batch_ms) = (BATCH_BYTES, 0);
            }
            runtime().block_on(serve_collector(config, Path::new(dir)));
        }
        _ => return false,
    }
    true
}

async fn serve_bare() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    announce(address, address);
    bare::serve(listener, Arc::default()).await;
}

async fn serve_proxy(backend: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    announce(address, address);
    bare::pass_on(listener, backend.parse().expect("an address")).await;
}

fn config(backend: &str, protocol: &str, compression: &str, how: &str) -> Config {
    let free = "127.0.0.1:0".parse().expect("an address");
    let protocol = if protocol == "grpc" { Protocol::Grpc } else { Protocol::Http };
    let mut exporter = ExporterConfig::new(backend, protocol);
    if compression == "gzip" {
        exporter.compression = Compression::Gzip;
    }
    Config {
        grpc_listen: free,
        http_listen: free,
        admin_listen: free,
        exporters: vec![exporter],
        acknowledge: acknowledge(how).expect("one of the three"),
        ..Config::default()
    }
}

async fn serve_collector(config: Config, dir: &Path) {
    let boot = Boot::new("1700000000000-bench").expect("a name");
    let bound = collector::bind(config, boot).await.expect("free ports");
    let bound = bound.spooling_in(dir).expect("a directory of ours");
    let at = bound.addresses();
    announce(at.http, at.grpc);
    bound.run(Arc::new(|| None), CancellationToken::new()).await.expect("it runs");
}

fn announce(http: SocketAddr, grpc: SocketAddr) {
    println!("{http} {grpc}");
    std::thread::spawn(|| {
        // The parent writes nothing; what ends the read is the end of the parent.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}
