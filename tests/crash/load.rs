//! Clients that number their requests and remember how each was answered.
//!
//! Invariant: a number is sent once. What was not answered is unknown, and never sent again.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use super::sink::{header, read_request};
use super::wire::{self, Signal};

/// What it does.
#[derive(Debug, Clone, Copy)]
pub struct Habit {
    pub clients: usize,
    /// Between two requests of a client; zero is as fast as answers come.
    pub pause: Duration,
    /// Bytes more in each record.
    pub padding: usize,
}

/// How requests were answered.
#[derive(Debug, Default)]
pub struct Answers {
    pub acknowledged: Vec<u64>,
    /// Numbers that were refused.
    pub refused: Vec<u64>,
    /// Heads of refusals that do not say when to come back.
    pub curt: Vec<String>,
    /// Numbers that got no answer.
    pub unknown: Vec<u64>,
}

#[derive(Debug)]
pub struct Load {
    state: Arc<State>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct State {
    habit: Habit,
    /// Where the collector takes OTLP at the moment.
    target: Mutex<Option<SocketAddr>>,
    next: AtomicU64,
    stop: AtomicBool,
    answers: Mutex<Answers>,
}

impl Load {
    pub fn start(habit: Habit, target: SocketAddr) -> Self {
        let state = Arc::new(State {
            habit,
            target: Mutex::new(Some(target)),
            next: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            answers: Mutex::default(),
        });
        let client = |_| {
            let state = Arc::clone(&state);
            std::thread::spawn(move || state.work())
        };
        let clients = (0..habit.clients).map(client).collect();
        Self { state, clients }
    }

    /// The collector is there from now on, or nowhere.
    pub fn aim(&self, target: Option<SocketAddr>) {
        *self.state.target.lock().expect("no client panics") = target;
    }

    pub fn answers(&self) -> MutexGuard<'_, Answers> {
        self.state.answers()
    }

    /// Ends the clients after their last answer.
    pub fn stop(mut self) -> Answers {
        self.state.stop.store(true, Ordering::SeqCst);
        for client in self.clients.drain(..) {
            client.join().expect("no client panics");
        }
        std::mem::take(&mut self.state.answers())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
    }
}

impl State {
    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.answers.lock().expect("no client panics")
    }

    fn work(&self) {
        let mut connection = None;
        while !self.stop.load(Ordering::SeqCst) {
            if connection.is_none() {
                connection = self.connect();
            }
            let Some(stream) = &mut connection else {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            };
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            let answer = self.ask(stream, number);
            let mut answers = self.answers();
            match answer {
                Ok(head) if head.starts_with("http/1.1 200") => answers.acknowledged.push(number),
                Ok(head) => {
                    answers.refused.push(number);
                    if header(&head, "retry-after").is_none() {
                        answers.curt.push(head);
                    }
                }
                Err(_) => {
                    answers.unknown.push(number);
                    connection = None;
                }
            }
            drop(answers);
            std::thread::sleep(self.habit.pause);
        }
    }

    fn connect(&self) -> Option<BufReader<TcpStream>> {
        let target = (*self.target.lock().expect("no client panics"))?;
        let stream = TcpStream::connect_timeout(&target, Duration::from_secs(1)).ok()?;
        stream.set_nodelay(true).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        Some(BufReader::new(stream))
    }

    /// Sends a request and gives back the head of the answer in lower case.
    fn ask(&self, stream: &mut BufReader<TcpStream>, number: u64) -> io::Result<String> {
        let plain = wire::request(number, self.habit.padding);
        // Every fourth goes compressed, both signals in turn.
        let (encoding, body) =
            if number % 8 < 2 { ("content-encoding: gzip\r\n", gzip(&plain)) } else { ("", plain) };
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: load\r\ncontent-type: application/x-protobuf\r\n\
             {encoding}content-length: {}\r\n\r\n",
            Signal::of(number).path(),
            body.len()
        );
        stream.get_mut().write_all(&[head.as_bytes(), &body].concat())?;
        let answer = read_request(stream)?;
        answer.map(|(head, _)| head).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory does not fail");
    encoder.finish().expect("memory does not fail")
}
