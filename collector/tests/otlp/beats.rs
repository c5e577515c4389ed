//! The collector's own beat: it comes by itself, and its token tells a hung runtime.

use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use watchdog_core::beat::{BeatDatagram, Token};

use crate::rig::{on_free_ports, start_beating};
use crate::samples;

fn listener() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a valid timeout");
    socket
}

fn next(socket: &UdpSocket) -> BeatDatagram {
    let mut bytes = [0; 2_048];
    let n = socket.recv(&mut bytes).expect("a beat in time");
    serde_json::from_slice(&bytes[..n]).expect("a beat")
}

fn token(beat: &BeatDatagram) -> u64 {
    match beat.body.token {
        Token::Number(number) => number,
        Token::Text(_) => panic!("the collector's token is a number"),
    }
}

/// A runtime of its own with one worker, so that the test can block it.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

#[test]
fn beats_come_from_the_start_count_work_and_end_with_a_farewell() {
    let (socket, runtime) = (listener(), runtime());
    let target = socket.local_addr().expect("bound");
    let rig = runtime.block_on(start_beating(on_free_ports(), Arc::new(move || Some(target))));
    let first = next(&socket);
    assert_eq!(first.service.as_str(), "holdpoint/collector");
    assert_eq!(first.body.boot.as_str(), "1700000000000-test");
    runtime.block_on(async {
        rig.traces(samples::spans("a", 1, 0).encode_to_vec()).await;
        rig.traces(b"\xff".to_vec()).await;
    });
    let (mut before, mut moved) = (first, 0);
    while before.body.requests != Some(2) || moved < 3 {
        let beat = next(&socket);
        assert_eq!(beat.body.seq, before.body.seq + 1);
        moved += u64::from(token(&beat) > token(&before));
        before = beat;
    }
    assert_eq!(before.body.errors, Some(0), "a client's mistake is no error of the collector");
    runtime.block_on(rig.stop());
    while !before.body.leaving {
        before = next(&socket);
    }
}

#[test]
fn a_blocked_runtime_stops_the_token_and_not_the_beat() {
    let (socket, runtime) = (listener(), runtime());
    let target = socket.local_addr().expect("bound");
    let rig = runtime.block_on(start_beating(on_free_ports(), Arc::new(move || Some(target))));
    let start = token(&next(&socket));
    while token(&next(&socket)) == start {}

    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let (tell, told) = std::sync::mpsc::channel();
    runtime.spawn(async move {
        tell.send(()).expect("the test waits");
        // The one worker stands still until the test is done with it.
        let _ = blocked.recv();
    });
    told.recv().expect("the worker is blocked");
    // A beat may be on its way whose token moved before.
    next(&socket);
    let stood = token(&next(&socket));
    for _ in 0..5 {
        assert_eq!(token(&next(&socket)), stood, "the token moves though nothing turns");
    }
    drop(unblock);
    while token(&next(&socket)) == stood {}
    runtime.block_on(rig.stop());
}
