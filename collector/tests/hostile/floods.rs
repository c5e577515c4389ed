//! Floods of HTTP/2 frames. Some are ended by the server, some are merely answered; none may cost
//! memory, or the service of others.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use crate::child::Child;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAMES: usize = 40_000;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `POST` `http` `/v1/traces` of protobuf, in HPACK without compression.
fn head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86];
    for (name, value) in
        [(":path", "/v1/traces"), (":authority", "x"), ("content-type", "application/x-protobuf")]
    {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// Sends `opening`, then what `next` gives for 1, 2, 3 …, until the server has enough of it.
/// Another thread reads what it answers, if `reads`.
fn flood(child: &Child, reads: bool, opening: &[u8], next: impl Fn(u32) -> Vec<u8>) -> usize {
    let mut socket = child.connect(child.grpc);
    // A server that stops reading because nobody reads its answers has defended itself.
    socket.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let reader = reads.then(|| socket.try_clone().unwrap());
    thread::scope(|scope| {
        if let Some(mut reader) = reader {
            scope.spawn(move || while matches!(reader.read(&mut [0; 8_192]), Ok(1..)) {});
        }
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &[]), opening].concat();
        socket.write_all(&begin).unwrap();
        let sent = send(&mut socket, next);
        let _ = socket.shutdown(std::net::Shutdown::Both);
        sent
    })
}

fn send(socket: &mut TcpStream, next: impl Fn(u32) -> Vec<u8>) -> usize {
    const AT_A_TIME: usize = 100;
    for batch in 0..FRAMES / AT_A_TIME {
        let numbers = (1..=AT_A_TIME).map(|n| u32::try_from(batch * AT_A_TIME + n).unwrap());
        let frames: Vec<u8> = numbers.flat_map(&next).collect();
        if socket.write_all(&frames).is_err() {
            return batch * AT_A_TIME;
        }
    }
    FRAMES
}

fn costs_little(what: &str, reads: bool, opening: &[u8], next: impl Fn(u32) -> Vec<u8> + Sync) {
    let child = Child::start();
    let (cost, sent) = child.cost(|| {
        thread::scope(|scope| {
            let flooding: Vec<_> =
                (0..4).map(|_| scope.spawn(|| flood(&child, reads, opening, &next))).collect();
            let slowest = (0..20).map(|_| child.serves()).max().unwrap();
            assert!(slowest < Duration::from_secs(2), "{what}: another waited {slowest:?}");
            flooding.into_iter().map(|flood| flood.join().unwrap()).collect::<Vec<_>>()
        })
    });
    println!("{what}: {sent:?} of {FRAMES} frames were sent");
    cost.is_within(what, Duration::from_secs(1), 8);
}

#[test]
fn empty_data_frames() {
    let open = frame(HEADERS, END_HEADERS, 1, &head());
    costs_little("empty DATA", true, &open, |_| frame(DATA, 0, 1, &[]));
}

#[test]
fn continuation_frames_without_end() {
    let open = frame(HEADERS, 0, 1, &head());
    costs_little("CONTINUATION", true, &open, |_| {
        // A literal header that is not indexed: "a: b".
        frame(CONTINUATION, 0, 1, &[0, 1, b'a', 1, b'b'])
    });
}

#[test]
fn streams_that_are_opened_and_reset() {
    costs_little("rapid reset", true, &[], |n| {
        let stream = 2 * n - 1;
        let open = frame(HEADERS, END_HEADERS, stream, &head());
        [open, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
}

#[test]
fn streams_that_the_server_is_made_to_reset() {
    costs_little("made to reset", true, &[], |n| {
        let stream = 2 * n - 1;
        let open = frame(HEADERS, END_HEADERS, stream, &head());
        [open, frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
    });
}

#[test]
fn pings_and_settings_whose_answers_are_read() {
    costs_little("PING", true, &[], |_| frame(PING, 0, 0, &[7; 8]));
    costs_little("SETTINGS", true, &[], |_| frame(SETTINGS, 0, 0, &[]));
}

#[test]
fn pings_and_settings_whose_answers_nobody_reads() {
    costs_little("PING, unread", false, &[], |_| frame(PING, 0, 0, &[7; 8]));
    costs_little("SETTINGS, unread", false, &[], |_| frame(SETTINGS, 0, 0, &[]));
}
