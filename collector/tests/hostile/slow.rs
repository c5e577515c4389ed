//! Clients that are slow, in their headers, in their bodies and in reading answers.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::child::{Child, PATIENCE};

const CLIENTS: usize = 300;
const DEAF: usize = 50;

/// Many clients that have sent `first` and then rest.
fn resting(child: &Child, first: &[u8]) -> Vec<TcpStream> {
    let connect = |_| {
        let mut socket = child.connect(child.http);
        socket.write_all(first).unwrap();
        socket
    };
    (0..CLIENTS).map(connect).collect()
}

/// Good clients are served all the while.
fn others_are_served(child: &Child) {
    let slowest = (0..20).map(|_| child.serves()).max().unwrap();
    assert!(slowest < Duration::from_secs(2), "another waited {slowest:?}");
}

#[test]
fn clients_that_drip_their_headers_are_cut_off() {
    let child = Child::start();
    let (cost, ()) = child.cost(|| {
        let mut clients = resting(&child, b"POST /v1/traces HTTP/1.1\r\na: ");
        let begun = Instant::now();
        // A byte now and then does not keep them in.
        while clients[0].write_all(b"b").is_ok() && begun.elapsed() < PATIENCE {
            others_are_served(&child);
            std::thread::sleep(Duration::from_millis(200));
        }
        for client in &mut clients {
            assert!(!matches!(client.read(&mut [0; 16]), Ok(1..)), "it is cut off");
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    });
    cost.is_within("300 that drip their headers", Duration::from_millis(500), 16);
}

#[test]
fn clients_that_never_finish_their_bodies_hold_what_they_sent_and_no_more() {
    let child = Child::start();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\n\
                content-length: 60000000\r\n\r\n";
    let (cost, clients) = child.cost(|| {
        let clients = resting(&child, &[head.as_bytes(), &[0x0a; 1_000]].concat());
        others_are_served(&child);
        clients
    });
    // 18 GB are announced.
    cost.is_within("300 that never finish their bodies", Duration::from_millis(500), 24);
    drop(clients);
}

#[test]
fn clients_that_never_read_are_not_answered_into_memory() {
    let child = Child::start();
    let requests = "POST /v1/nothing HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n".repeat(400);
    let (cost, clients) = child.cost(|| {
        let clients: Vec<_> = (0..DEAF)
            .map(|_| {
                let mut socket = child.connect(child.http);
                socket.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
                // 16 MB of requests; long before, the server takes no more of them.
                let _ = (0..600).try_for_each(|_| socket.write_all(requests.as_bytes()));
                socket
            })
            .collect();
        others_are_served(&child);
        clients
    });
    cost.is_within("50 that never read", Duration::from_secs(3), 24);
    drop(clients);
}
