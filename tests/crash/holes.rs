//! A backend that swallows: it costs nothing, loses nothing, and is used again when it is back.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::{self, AddressFamily, SocketType};

use super::child::Collector;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::wire::RECORDS;
use super::{from_env, turn, wait};

/// Of one processor, while nothing can be delivered.
const CPU_SHARE_MAX: f64 = 0.05;
const HEALED_MAX: Duration = Duration::from_secs(2);
/// Little, so that what is measured is the price of the hole and not that of the load.
const HABIT: Habit = Habit { clients: 1, pause: Duration::from_millis(80), padding: 50 };

/// So short that the first attempts of an exporter with the default `timeout_ms` outlast it.
const HOLE_MS: u64 = 6_000;

fn hole() -> Duration {
    Duration::from_millis(from_env("HOLDPOINT_HOLE_MS", HOLE_MS))
}

/// With all defaults if the hole is long.
fn exporter(address: SocketAddr) -> String {
    let timeout = if hole() > Duration::from_millis(HOLE_MS) { "" } else { "timeout_ms = 1000" };
    format!("endpoint = \"http://{address}\"\n{timeout}")
}

#[test]
fn a_backend_that_never_answers_costs_nothing_and_loses_nothing() {
    let _turn = turn();
    let sink = Sink::start();
    let mut collector = Collector::new("", &[exporter(sink.address)]);
    let load = Load::start(HABIT, collector.start());
    let healthy = collector.cpu_share(Duration::from_secs(2));
    sink.feel(Mood::Hangs);
    // What was on its way is over.
    std::thread::sleep(Duration::from_millis(200));
    let share = collector.cpu_share(hole());
    eprintln!("processor: {healthy:.4} of one in health, {share:.4} in the hole");
    assert!(share <= CPU_SHARE_MAX, "{share}");
    collector.assert_runs();
    sink.feel(Mood::Takes);
    assert_heals(&sink, load, Instant::now());
}

#[test]
fn a_backend_that_cannot_be_reached_costs_nothing_and_loses_nothing() {
    let _turn = turn();
    let deaf = Deaf::new();
    let mut collector = Collector::new("", &[exporter(deaf.address)]);
    let load = Load::start(HABIT, collector.start());
    let share = collector.cpu_share(hole());
    eprintln!("processor: {share:.4} of one while connections are swallowed");
    assert!(share <= CPU_SHARE_MAX, "{share}");
    collector.assert_runs();
    let healed = Instant::now();
    assert_heals(&deaf.listen(), load, healed);
}

/// The rate of the load is reached in time, and all of it is delivered.
fn assert_heals(sink: &Sink, load: Load, healed: Instant) {
    let before = load.answers().acknowledged.len();
    std::thread::sleep(HEALED_MAX);
    let rate = (load.answers().acknowledged.len() - before) * RECORDS;
    assert!(rate > 0, "there is load");
    let window = Duration::from_millis(250);
    let needed = rate * 250 / 2_000;
    let full_at = |from: &Duration| {
        let (from, to) = (healed + *from, healed + *from + window);
        sink.books().between(from, to) >= needed
    };
    let starts = (0..).map(|step| Duration::from_millis(step * 10));
    let start = starts.take_while(|from| *from + window <= HEALED_MAX).find(full_at);
    let first = sink.books().arrivals.iter().map(|(at, _)| *at).find(|at| *at >= healed);
    let first = first.map(|at| at - healed);
    eprintln!("first record {first:?} after healing, full rate {start:?}");
    assert!(start.is_some(), "{needed} records in {window:?} never came; first after {first:?}");
    let answers = load.stop();
    assert_eq!(answers.refused, Vec::<u64>::new());
    wait("all that was acknowledged is delivered", Duration::from_secs(60), || {
        sink.books().missing(&answers.acknowledged).is_empty().then_some(())
    });
    let (repeated, all) = (sink.books().repeated().len(), answers.acknowledged.len());
    eprintln!("{all} requests acknowledged and delivered, {repeated} of them twice");
    sink.books().assert_sound();
}

/// A listener whose queue of connections is full: the kernel drops every further SYN.
struct Deaf {
    address: SocketAddr,
    socket: OwnedFd,
    fillers: Vec<TcpStream>,
}

impl Deaf {
    fn new() -> Self {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        net::bind(&socket, &any).expect("a free port");
        net::listen(&socket, 0).expect("it is bound");
        let listener = TcpListener::from(socket.try_clone().expect("one more handle"));
        let address = listener.local_addr().expect("bound");
        let fill = || TcpStream::connect_timeout(&address, Duration::from_millis(200)).ok();
        let fillers: Vec<_> = std::iter::from_fn(fill).collect();
        Self { address, socket, fillers }
    }

    /// Begins to take connections.
    fn listen(self) -> Sink {
        drop(self.fillers);
        net::listen(&self.socket, 128).expect("it is bound");
        Sink::on(TcpListener::from(self.socket))
    }
}
