//! The wires between the processes, each through a proxy that can cut, hold or change what passes.
//!
//! Invariant: a wire that passes changes nothing and adds no delay but its own copy.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

/// How often a wire that holds looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);

/// What a wire does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Mood {
    Passes,
    /// A black hole: it takes and nothing comes out, until it passes again.
    Holds,
    /// Connections end, and new ones at once.
    Cuts,
    /// Answers come with every digit of a probe's value changed.
    Forges,
    /// Answers come with a probe's value of nothing but zeros.
    Zeroes,
}

const MOODS: [Mood; 5] = [Mood::Passes, Mood::Holds, Mood::Cuts, Mood::Forges, Mood::Zeroes];

/// Where a wire leads at the moment.
pub type Towards = Arc<dyn Fn() -> Option<SocketAddr> + Send + Sync>;

#[derive(Debug, Clone, Default)]
struct Switch(Arc<AtomicU8>);

impl Switch {
    fn mood(&self) -> Mood {
        MOODS[usize::from(self.0.load(SeqCst))]
    }
}

/// One wire; it lasts as long as the test's process.
#[derive(Debug)]
pub struct Wire {
    pub address: SocketAddr,
    switch: Switch,
}

impl Wire {
    /// A wire for connections.
    pub fn tcp(towards: Towards) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let switch = Switch::default();
        let shared = switch.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if shared.mood() != Mood::Cuts
                    && let Some(far) = towards().and_then(|at| TcpStream::connect(at).ok())
                {
                    join(&near, &far, &shared);
                }
            }
        });
        Self { address, switch }
    }

    /// A wire for datagrams, one way.
    pub fn udp(towards: Towards) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = near.local_addr().expect("bound");
        let switch = Switch::default();
        let shared = switch.clone();
        thread::spawn(move || {
            let mut room = [0; 2048];
            while let Ok(length) = near.recv(&mut room) {
                if shared.mood() == Mood::Passes
                    && let Some(at) = towards()
                {
                    // Nobody listens there: the beat is lost, as it would be without the wire.
                    near.send_to(&room[..length], at).ok();
                }
            }
        });
        Self { address, switch }
    }

    pub fn feel(&self, mood: Mood) {
        self.switch.0.store(mood as u8, SeqCst);
    }
}

fn join(near: &TcpStream, far: &TcpStream, switch: &Switch) {
    for stream in [near, far] {
        stream.set_nodelay(true).ok();
        // A wire that cuts must notice it while nothing comes.
        stream.set_read_timeout(Some(LOOK)).ok();
    }
    for (from, to, answers) in [(near, far, false), (far, near, true)] {
        let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
        let switch = switch.clone();
        thread::spawn(move || carry(from, to, answers, &switch));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, answers: bool, switch: &Switch) {
    let mut room = vec![0; 256 * 1024];
    loop {
        match switch.mood() {
            Mood::Cuts => break,
            Mood::Holds => {
                thread::sleep(LOOK);
                continue;
            }
            Mood::Passes | Mood::Forges | Mood::Zeroes => {}
        }
        let length = match from.read(&mut room) {
            Ok(0) => break,
            Ok(length) => length,
            Err(e) if is_nothing_yet(&e) => continue,
            Err(_) => break,
        };
        // What was under way when the wire began to hold is held too.
        while switch.mood() == Mood::Holds {
            thread::sleep(LOOK);
        }
        let chunk = &mut room[..length];
        match switch.mood() {
            Mood::Forges if answers => change_values(chunk, |digit| b'0' + (digit - b'0' + 3) % 10),
            Mood::Zeroes if answers => change_values(chunk, |_| b'0'),
            Mood::Passes | Mood::Holds | Mood::Cuts | Mood::Forges | Mood::Zeroes => {}
        }
        if to.write_all(chunk).is_err() {
            break;
        }
    }
    for stream in [from, to] {
        stream.shutdown(Shutdown::Both).ok();
    }
}

fn is_nothing_yet(error: &std::io::Error) -> bool {
    let kind = error.kind();
    kind == std::io::ErrorKind::WouldBlock || kind == std::io::ErrorKind::TimedOut
}

/// Changes the digits of every `"value":"…"`; the length stays, and with it the framing.
fn change_values(chunk: &mut [u8], change: impl Fn(u8) -> u8) {
    const KEY: &[u8] = b"\"value\":\"";
    let mut at = 0;
    while let Some(found) = chunk[at..].windows(KEY.len()).position(|window| window == KEY) {
        at += found + KEY.len();
        while let Some(digit) = chunk.get_mut(at).filter(|byte| byte.is_ascii_digit()) {
            *digit = change(*digit);
            at += 1;
        }
    }
}
