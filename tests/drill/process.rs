//! One `holdpoint drill-service` process, and plain HTTP towards it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

/// A running service of the drill. It ends when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    lifeline: Option<ChildStdin>,
    pub http: SocketAddr,
}

impl Process {
    pub fn start(revision: &str, otlp: SocketAddr, beats: SocketAddr) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_holdpoint"))
            .args(["drill-service", "--name", "checkout", "--revision", revision])
            .args(["--otlp", &otlp.to_string(), "--beats", &beats.to_string()])
            .args(["--beat-interval-ms", "50"])
            .args(["--traces-every-ms", "100", "--metrics-every-ms", "100"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the executable starts");
        let lifeline = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a piped stdout"))
            .read_line(&mut line)
            .expect("the service tells its address");
        let told: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
        let http = told["http"].as_str().expect("an address").parse().expect("host:port");
        Self { child, lifeline, http }
    }

    /// Ends the service as its owner would: by letting go of the lifeline.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        drop(self.lifeline.take());
        self.child.wait().expect("the service ends")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The status of one GET on a connection of its own.
pub fn get(http: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(http).expect("the service listens");
    stream.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: drill\r\nconnection: close\r\n\r\n")
        .expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer arrives within 5 s");
    let status = answer.split(' ').nth(1).expect("a status line");
    status.parse().expect("a status code")
}

/// Two GETs of the same path at the same time.
pub fn get_pair(http: SocketAddr, path: &str) -> [u16; 2] {
    std::thread::scope(|scope| {
        let other = scope.spawn(|| get(http, path));
        [get(http, path), other.join().expect("the other request ends")]
    })
}
