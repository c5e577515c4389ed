//! Processes that are measured: this binary again, as the bare server or as the collector.
//!
//! Invariant: a child ends with its parent, whatever ends that: it stops when its stdin does.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use collector::{Config, ExporterConfig, Protocol};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;
use watchdog_core::names::Boot;

use crate::bare;

const BARE: &str = "as-bare-server";
const COLLECTOR: &str = "as-collector";
/// `USER_HZ` of proc(5): 100 a second in the ABI of every architecture that we build for.
const TICK: Duration = Duration::from_millis(10);

/// A server in a process of its own.
pub struct Child {
    process: std::process::Child,
    pub address: SocketAddr,
}

impl Child {
    pub fn bare() -> Self {
        Self::start(&[BARE])
    }

    pub fn collector(backend: SocketAddr) -> Self {
        Self::start(&[COLLECTOR, &format!("http://{backend}")])
    }

    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(std::env::current_exe().expect("a path"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this binary runs again");
        let mut line = String::new();
        let stdout = process.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the child tells its address");
        Self { process, address: line.trim().parse().expect("an address") }
    }

    /// Processor time of all its threads, in user mode and in the kernel, those that ended too.
    pub fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.process.id());
        let stat = std::fs::read_to_string(path).expect("the child runs");
        // The name, in parentheses, may hold blanks; utime and stime are fields 14 and 15.
        let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
        let ticks = fields.split_whitespace().skip(11).take(2);
        ticks.map(|field| TICK * field.parse::<u32>().expect("proc(5)")).sum()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Two workers, as the collector has when it runs as a role.
pub fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// Becomes the server that the arguments name; false if they name none.
pub fn serve(arguments: &[String]) -> bool {
    match arguments {
        [role] if role == BARE => runtime().block_on(serve_bare()),
        [role, backend] if role == COLLECTOR => runtime().block_on(serve_collector(backend)),
        _ => return false,
    }
    true
}

async fn serve_bare() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    announce(listener.local_addr().expect("it is bound"));
    bare::serve(listener, Arc::default()).await;
}

async fn serve_collector(backend: &str) {
    let free = "127.0.0.1:0".parse().expect("an address");
    let exporters = vec![ExporterConfig::new(backend, Protocol::Http)];
    let listen = Config {
        grpc_listen: free,
        http_listen: free,
        admin_listen: free,
        exporters,
        ..Config::default()
    };
    let boot = Boot::new("1700000000000-bench").expect("a name");
    let bound = collector::bind(listen, boot).await.expect("free ports");
    announce(bound.addresses().http);
    bound.run(Arc::new(|| None), CancellationToken::new()).await.expect("it runs");
}

fn announce(address: SocketAddr) {
    println!("{address}");
    std::thread::spawn(|| {
        // The parent writes nothing; what ends the read is the end of the parent.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
}
