//! What a beat costs the service: `cargo bench -p holdpoint-beat`. The promise is 100 ns.
//!
//! Measured are a turn, and a request with its turn, by one thread and by two at once, while the
//! sending thread runs. Sending costs the service nothing but the cache line it reads.

use std::hint::black_box;
use std::time::{Duration, Instant};

use holdpoint_beat::{Beats, Sender, Work};

const TIMES: u32 = 5_000_000;

fn main() {
    // `cargo test --benches` only asks whether it builds.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let sender = Sender::new("127.0.0.1:9".parse().expect("an address"), "bench");
    let sender = sender.expect("a name").every(Duration::from_millis(10));
    let beats = Beats::start(sender).expect("a socket and a thread");
    for threads in [1, 2] {
        say("turn", threads, &beats, Work::turn);
        say("request and turn", threads, &beats, |work| {
            work.request();
            work.turn();
        });
    }
}

fn say(what: &str, threads: u32, beats: &Beats, act: impl Fn(&Work) + Sync) {
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| (0..TIMES).for_each(|_| act(black_box(beats.work()))));
        }
    });
    let nanoseconds = begun.elapsed().as_secs_f64() * 1e9 / f64::from(TIMES);
    println!("{what:<18} {threads} thread(s): {nanoseconds:6.1} ns");
}
