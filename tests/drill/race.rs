//! The bad revision's race: harmless to one request at a time, fatal to telemetry under two.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::process::{Process, get, get_pair};
use crate::receiver::{Arrivals, Receiver};

/// Ten export periods of the test's services: who is silent for so long exports no more.
const SILENCE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

struct Scene {
    receiver: Receiver,
    beats: UdpSocket,
    process: Process,
}

fn scene(revision: &str) -> Scene {
    let receiver = Receiver::start();
    let beats = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    beats.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let address = beats.local_addr().expect("a bound address");
    let process = Process::start(revision, receiver.address, address);
    Scene { receiver, beats, process }
}

impl Scene {
    /// Calls `work` in turns until both signals have `more` arrivals; false at the deadline.
    fn telemetry_goes_on(&self, more: u64, mut work: impl FnMut(u32)) -> bool {
        let begin = self.receiver.arrivals();
        let started = Instant::now();
        for turn in 0.. {
            work(turn);
            let now = self.receiver.arrivals();
            if now.traces >= begin.traces + more && now.metrics >= begin.metrics + more {
                return true;
            }
            if started.elapsed() > PATIENCE {
                return false;
            }
        }
        unreachable!("the turns are endless")
    }

    /// Calls `work` in turns until nothing arrived for [`SILENCE`]; false at the deadline.
    fn telemetry_falls_silent(&self, mut work: impl FnMut(u32)) -> bool {
        let started = Instant::now();
        let mut last: (Arrivals, Instant) = (self.receiver.arrivals(), Instant::now());
        for turn in 0.. {
            work(turn);
            let now = self.receiver.arrivals();
            if now != last.0 {
                last = (now, Instant::now());
            }
            if last.1.elapsed() > SILENCE {
                return true;
            }
            if started.elapsed() > PATIENCE {
                return false;
            }
        }
        unreachable!("the turns are endless")
    }

    /// The newest beat that has arrived.
    fn beat(&self) -> serde_json::Value {
        let mut datagram = [0; 2048];
        let mut newest = None;
        self.beats.set_nonblocking(true).expect("a socket can be made nonblocking");
        while let Ok(length) = self.beats.recv(&mut datagram) {
            newest = Some(datagram[..length].to_vec());
        }
        self.beats.set_nonblocking(false).expect("a socket can be made blocking");
        let newest = newest.unwrap_or_else(|| {
            let length = self.beats.recv(&mut datagram).expect("a beat arrives");
            datagram[..length].to_vec()
        });
        serde_json::from_slice(&newest).expect("a beat is JSON")
    }

    fn one_at_a_time(&self) -> impl FnMut(u32) + '_ {
        |turn| assert_eq!(get(self.process.http, &format!("/products/p{}", turn % 3)), 200)
    }

    fn two_at_a_time(&self) -> impl FnMut(u32) + '_ {
        |turn| {
            assert_eq!(get_pair(self.process.http, &format!("/products/p{}", turn % 3)), [200, 200])
        }
    }
}

#[test]
fn one_request_at_a_time_never_wakes_the_race() {
    let scene = scene("cached");
    // Long enough for every slot to go stale and be filled again several times.
    assert!(scene.telemetry_goes_on(20, scene.one_at_a_time()));
}

#[test]
fn two_requests_at_once_hang_telemetry_while_answers_and_beats_go_on() {
    let scene = scene("cached");
    assert!(scene.telemetry_falls_silent(scene.two_at_a_time()), "telemetry never hung");

    // For good: quiet requests do not bring it back, and each is answered.
    let before = (scene.receiver.arrivals(), scene.beat());
    let started = Instant::now();
    let mut answers = 0;
    while started.elapsed() < SILENCE || answers < 50 {
        let asked = Instant::now();
        assert_eq!(get(scene.process.http, "/products/p1"), 200);
        assert!(asked.elapsed() < Duration::from_millis(500), "answers stay fast");
        answers += 1;
    }
    assert_eq!(scene.receiver.arrivals(), before.0, "an export got through after the hang");
    let after = scene.beat();
    for counter in ["requests", "token", "seq"] {
        assert!(after[counter].as_u64() > before.1[counter].as_u64(), "{counter}: {after}");
    }
    assert_eq!(after["errors"], 0);
}

#[test]
fn the_plain_revision_stands_the_same_load() {
    let scene = scene("plain");
    assert!(scene.telemetry_goes_on(20, scene.two_at_a_time()));
}

#[test]
fn a_hung_service_still_ends_with_its_lifeline_and_announces_it() {
    let mut scene = scene("cached");
    assert!(scene.telemetry_falls_silent(scene.two_at_a_time()), "telemetry never hung");
    let asked = Instant::now();
    assert!(scene.process.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(3), "took {:?}", asked.elapsed());
    assert_eq!(scene.beat()["leaving"], true);
}
