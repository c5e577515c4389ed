//! A collector in a process of its own: this test binary again, with a variable that says so.
//!
//! Invariant: a child ends with its parent, whatever ends that: it stops when its stdin does.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collector::{Acknowledge, Config};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

/// No wait of these tests is longer; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);
pub const MIB: u64 = 1 << 20;
/// How much slower a build without optimisation may be; the scan, unoptimised, is some 50 times.
pub const SLOWER: u32 = if cfg!(debug_assertions) { 60 } else { 1 };

const CHILD: &str = "HOLDPOINT_HOSTILE_CHILD";
const TICK: Duration = Duration::from_millis(10);

/// A collector to be attacked.
pub struct Child {
    process: std::process::Child,
    /// Kept open: a test that cannot write that it still runs would end.
    _stdout: BufReader<ChildStdout>,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

/// What an attack took.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub cpu: Duration,
    /// How much the most memory that was resident exceeds what was resident before.
    pub grown_kib: u64,
}

/// The child's life; for the parent this is a test that has nothing to do.
#[test]
fn serves_as_the_child_that_is_attacked() {
    let Ok(limits) = std::env::var(CHILD) else { return };
    let numbers: Vec<usize> = limits.split(',').map(|text| text.parse().unwrap()).collect();
    let [max_request_bytes, memory_bytes] = numbers[..] else { panic!("{limits}") };
    let free = "127.0.0.1:0".parse().unwrap();
    let config = Config {
        grpc_listen: free,
        http_listen: free,
        admin_listen: free,
        max_request_bytes,
        memory_bytes,
        acknowledge: Acknowledge::Queued,
        ..Config::default()
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let boot = Boot::new("1700000000000-hostile").unwrap();
        let bound = collector::bind(config, boot).await.unwrap();
        let at = bound.addresses();
        println!("\nLISTENS {} {}", at.grpc, at.http);
        std::thread::spawn(|| {
            // The parent writes nothing; what ends the read is the end of the parent.
            let _ = std::io::stdin().read(&mut [0]);
            std::process::exit(0);
        });
        bound.run(Arc::new(|| None), CancellationToken::new()).await.unwrap();
    });
}

impl Child {
    /// With the limits that are the default.
    pub fn start() -> Self {
        let Config { max_request_bytes, memory_bytes, .. } = Config::default();
        Self::limited(max_request_bytes, memory_bytes)
    }

    pub fn limited(max_request_bytes: usize, memory_bytes: usize) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .args(["child::serves_as_the_child_that_is_attacked", "--exact", "--nocapture"])
            .env("GLIBC_TUNABLES", collector::GLIBC_TUNABLES)
            .env(CHILD, format!("{max_request_bytes},{memory_bytes}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        while !line.starts_with("LISTENS ") {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the child tells its addresses");
        }
        let (grpc, http) = line["LISTENS ".len()..].trim_end().split_once(' ').unwrap();
        let (grpc, http) = (grpc.parse().unwrap(), http.parse().unwrap());
        let child = Self { process, _stdout: stdout, grpc, http };
        // The first request makes what every process makes once.
        child.serves();
        child
    }

    /// A well-behaved client is answered, and how soon.
    pub fn serves(&self) -> Duration {
        let begun = Instant::now();
        let body = crate::bodies::spans(10);
        assert_eq!(self.post("/v1/traces", &[], &body), 200, "a good client is served");
        begun.elapsed()
    }

    /// Posts `body` in protobuf; the status.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> u16 {
        let mut head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            head.push_str("content-type: application/x-protobuf\r\n");
        }
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
        let mut socket = self.connect(self.http);
        socket.write_all(head.as_bytes()).unwrap();
        // A refusal may come, and the connection close, before all of it is sent.
        let _ = socket.write_all(body);
        let mut answer = [0; 12];
        socket.read_exact(&mut answer).expect("an answer");
        std::str::from_utf8(&answer[9..]).unwrap().parse().expect("a status")
    }

    pub fn connect(&self, at: SocketAddr) -> TcpStream {
        let socket = TcpStream::connect(at).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        socket
    }

    /// What `attack` takes. The child must live through it, and serve.
    pub fn cost<T>(&self, attack: impl FnOnce() -> T) -> (Cost, T) {
        // 5 sets the peak back to what is resident now: proc(5).
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        let (resident, cpu) = (self.status_kib("VmRSS:"), self.cpu());
        let outcome = attack();
        let cpu = self.cpu() - cpu;
        let grown_kib = self.status_kib("VmHWM:").saturating_sub(resident);
        self.serves();
        (Cost { cpu, grown_kib }, outcome)
    }

    fn status_kib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.expect("the child lives");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("proc(5)");
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Processor time of all its threads, in user mode and in the kernel.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()));
        let stat = stat.expect("the child lives");
        let (_, fields) = stat.rsplit_once(')').unwrap();
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|field| TICK * field.parse::<u32>().unwrap()).sum()
    }
}

impl Cost {
    /// Tells the cost of `what`, and holds it to bounds.
    pub fn is_within(self, what: &str, cpu: Duration, mib: u64) {
        let Self { cpu: took, grown_kib } = self;
        println!("{what}: {} ms CPU, {} KiB more memory", took.as_millis(), grown_kib);
        assert!(took <= cpu * SLOWER, "{what}: {took:?} of processor time");
        assert!(grown_kib <= mib * 1_024, "{what}: {grown_kib} KiB more memory");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
