//! What a service that uses the client sends, seen from the other end of the socket.

use std::net::UdpSocket;
use std::time::Duration;

use holdpoint_beat::{Beats, Sender};
use watchdog_core::beat::{BeatDatagram, Token};

const INTERVAL: Duration = Duration::from_millis(20);

fn watchdog() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket
}

fn start(watchdog: &UdpSocket) -> Beats {
    let sender = Sender::new(watchdog.local_addr().expect("it is bound"), "shop/checkout");
    let sender = sender.expect("a name").every(INTERVAL).revision("v2").expect("a name");
    Beats::start(sender).expect("a socket and a thread")
}

fn hear(watchdog: &UdpSocket) -> BeatDatagram {
    let mut room = [0; 1_024];
    let length = watchdog.recv(&mut room).expect("a beat in time");
    serde_json::from_slice(&room[..length]).expect("a beat")
}

#[test]
fn a_beat_carries_what_the_work_loop_told() {
    let watchdog = watchdog();
    let beats = start(&watchdog);
    let work = beats.work().clone();
    (0..3).for_each(|_| work.request());
    work.error();
    work.turn();
    let beat = (0..100).map(|_| hear(&watchdog)).find(|beat| beat.body.token == Token::Number(1));
    let beat = beat.expect("the turn is told");
    assert_eq!(beat.service.as_str(), "shop/checkout");
    assert_eq!((beat.body.requests, beat.body.errors), (Some(4), Some(1)));
    assert_eq!(beat.body.revision.expect("it was named").as_str(), "v2");
}

#[test]
fn the_token_stands_still_while_the_work_loop_does() {
    let watchdog = watchdog();
    let _beats = start(&watchdog);
    let heard: Vec<_> = (0..5).map(|_| hear(&watchdog)).collect();
    assert!(heard.iter().all(|beat| beat.body.token == Token::Number(0)), "{heard:?}");
    assert!(heard.is_sorted_by(|a, b| a.body.seq < b.body.seq), "{heard:?}");
}

#[test]
fn the_last_beat_announces_the_stop() {
    let watchdog = watchdog();
    drop(start(&watchdog));
    assert!((0..3).map(|_| hear(&watchdog)).any(|beat| beat.body.leaving));
}

#[test]
fn a_watchdog_that_is_gone_is_no_error() {
    let socket = watchdog();
    let beats = start(&socket);
    drop(socket);
    std::thread::scope(|scope| {
        let work = beats.work();
        scope.spawn(|| (0..1_000).for_each(|_| work.turn()));
    });
}

#[test]
fn a_bad_name_is_refused_at_the_start() {
    let refused = Sender::new("127.0.0.1:1".parse().expect("an address"), "");
    assert!(refused.expect_err("no name").to_string().contains("is no name"));
}
