//! A backend that counts how often it took every record, and behaves as it is told.
//!
//! Plain threads and sockets: what answers for the audit shares no code with the collector.
//!
//! Invariant: a record is counted before the request that brought it is answered, so what a
//! collector may call delivered is in the books.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use super::wire::{self, RECORDS, Signal};

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Takes,
    /// 503.
    Refuses,
    /// Reads it and never answers, not even when the mood gets better.
    Hangs,
}

/// What it took.
#[derive(Debug, Default)]
pub struct Books {
    /// How often each record of each request came, and when the first of them.
    copies: HashMap<u64, ([u16; RECORDS], Instant)>,
    /// Numbers in the order in which they came, with every repetition.
    pub order: Vec<u64>,
    /// When requests came, and with how many records.
    pub arrivals: Vec<(Instant, usize)>,
    /// Requests that came in any mood.
    pub asked: u64,
    /// What no collector should ever send.
    wrong: Vec<String>,
}

#[derive(Debug)]
pub struct Sink {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    mood: AtomicU8,
    books: Mutex<Books>,
}

impl Sink {
    pub fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").expect("a free port"))
    }

    /// Serves `listener` until the test ends.
    pub fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("bound");
        let mood = AtomicU8::new(Mood::Takes as u8);
        let state = Arc::new(State { mood, books: Mutex::default() });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&serving);
                std::thread::spawn(move || {
                    // A killed collector breaks its connections.
                    let _ = stream.and_then(|stream| state.serve(stream));
                });
            }
        });
        Self { address, state }
    }

    pub fn feel(&self, mood: Mood) {
        self.state.mood.store(mood as u8, Ordering::SeqCst);
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.state.books.lock().expect("no thread of the sink panics")
    }
}

impl State {
    fn mood(&self) -> Mood {
        let mood = self.mood.load(Ordering::SeqCst);
        [Mood::Takes, Mood::Refuses, Mood::Hangs][usize::from(mood)]
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut writer = stream;
        while let Some((head, body)) = read_request(&mut reader)? {
            let mood = self.mood();
            let mut books = self.books.lock().expect("no thread of the sink panics");
            books.asked += 1;
            if mood == Mood::Takes {
                books.take(&head, &body);
            }
            drop(books);
            match mood {
                Mood::Takes => writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?,
                Mood::Refuses => writer
                    .write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n")?,
                Mood::Hangs => {
                    // Until the other side has had enough.
                    io::copy(&mut reader, &mut io::sink())?;
                }
            }
        }
        Ok(())
    }
}

/// Head and body, or `None` at the end of the connection.
pub fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, Vec<u8>)>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Ok(None);
        }
        if head[before..] == *"\r\n" {
            break;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = header(&head, "content-length").unwrap_or("0");
    let mut body = vec![0; length.parse().map_err(io::Error::other)?];
    reader.read_exact(&mut body)?;
    Ok(Some((head, body)))
}

/// The value of a header in a head in lower case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

impl Books {
    fn take(&mut self, head: &str, body: &[u8]) {
        let signal = Signal::ALL.into_iter().find(|signal| head.contains(signal.path()));
        let inflated;
        let plain = if header(head, "content-encoding") == Some("gzip") {
            let mut bytes = Vec::new();
            let read = flate2::read::GzDecoder::new(body).read_to_end(&mut bytes);
            inflated = read.map(|_| bytes).unwrap_or_default();
            &inflated[..]
        } else {
            body
        };
        let records = signal.and_then(|signal| wire::records(signal, plain));
        let Some(records) = records.filter(|records| !records.is_empty()) else {
            self.wrong.push(format!("{} bytes after {head}", body.len()));
            return;
        };
        let now = Instant::now();
        self.arrivals.push((now, records.len()));
        for (number, place) in records {
            self.copies.entry(number).or_insert(([0; RECORDS], now)).0[place] += 1;
            if place == 0 {
                self.order.push(number);
            }
        }
    }

    /// Requests that came whole at least once.
    pub fn holds(&self, number: u64) -> bool {
        self.copies.get(&number).is_some_and(|(copies, _)| copies.iter().all(|n| *n > 0))
    }

    /// Requests of `numbers` that did not come whole.
    pub fn missing(&self, numbers: &[u64]) -> Vec<u64> {
        numbers.iter().copied().filter(|number| !self.holds(*number)).collect()
    }

    /// Requests of which any record came more than once, and when it came first.
    pub fn repeated(&self) -> Vec<(u64, Instant)> {
        let repeated = self.copies.iter().filter(|(_, (copies, _))| copies.iter().any(|n| *n > 1));
        repeated.map(|(number, (_, first))| (*number, *first)).collect()
    }

    /// Panics if anything came that was never sent, or in pieces.
    pub fn assert_sound(&self) {
        assert_eq!(self.wrong, Vec::<String>::new());
        for (number, (copies, _)) in &self.copies {
            assert!(copies.iter().all(|n| *n == copies[0]), "request {number}: {copies:?}");
        }
    }

    /// Records that came between two moments.
    pub fn between(&self, from: Instant, to: Instant) -> usize {
        let within = self.arrivals.iter().filter(|(at, _)| (from..to).contains(at));
        within.map(|(_, records)| records).sum()
    }
}
