//! Watchdogs that attest: each its own services, once a second, signed with its own key.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ed25519_dalek::{Signer, SigningKey};
use http::{Request, StatusCode};
use http_body_util::Full;
use watchdog_core::attestation::{Attestation, SIGNATURE_HEADER};
use watchdog_core::names::{Boot, Environment, Instance, Revision, Service};
use watchdog_core::tally::Signal;
use watchdog_core::verdict::{
    BeatEvidence, BeatState, InstanceEvidence, ObserverEvidence, ProbeEvidence, ProbeState,
    RevisionEvidence, SignalEvidence, SignalState, Verdict, VerdictKind, WitnessEvidence,
    WitnessState,
};

use crate::load::{Client, Times};

const EVERY: Duration = Duration::from_secs(1);
/// The digits of a sequence number, so that a body keeps its length.
const FIRST_SEQ: u64 = 1_000_000;

pub fn name(number: usize) -> String {
    format!("watchdog-{number:03}")
}

pub fn service(number: usize) -> String {
    format!("shop/service-{number:05}")
}

pub fn key(number: usize) -> SigningKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
    SigningKey::from_bytes(&seed)
}

/// All watchdogs, at work.
pub struct Watch {
    times: Arc<Mutex<Vec<Duration>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// Starts `watchdogs` that attest `each` services a second, evenly spread over the second.
pub fn start(client: &Client, watchdogs: usize, each: usize) -> Watch {
    let times = Arc::new(Mutex::new(Vec::new()));
    let began = Instant::now();
    let tasks = (0..watchdogs).map(|number| {
        let (client, times) = (client.clone(), Arc::clone(&times));
        let services = (number * each..(number + 1) * each).map(verdict).collect();
        let first = EVERY * u32::try_from(number).unwrap() / u32::try_from(watchdogs).unwrap();
        tokio::spawn(attest(client, times, number, services, began + first))
    });
    Watch { tasks: tasks.collect(), times }
}

impl Watch {
    /// Begins to count anew.
    pub fn forget(&self) {
        self.times.lock().unwrap().clear();
    }

    pub fn stop(self) -> Times {
        for task in &self.tasks {
            task.abort();
        }
        Times::of(self.times.lock().unwrap().clone())
    }
}

async fn attest(
    client: Client,
    times: Arc<Mutex<Vec<Duration>>>,
    number: usize,
    items: Vec<Verdict>,
    first: Instant,
) {
    let key = key(number);
    let attestation = Attestation {
        watchdog: name(number),
        boot: Boot::new("1700000000000-w").unwrap(),
        seq: FIRST_SEQ,
        ttl_ms: 3_000,
        mass_silence: false,
        base: None,
        items,
    };
    let text = serde_json::to_string(&attestation).unwrap();
    let (before, after) = text.split_once(&FIRST_SEQ.to_string()).unwrap();
    for turn in 0_u32.. {
        let body = format!("{before}{}{after}", FIRST_SEQ + u64::from(turn));
        let signature = hex::encode(key.sign(body.as_bytes()).to_bytes());
        let due = first + EVERY * turn;
        tokio::time::sleep_until(due.into()).await;
        // Timers have a grain of a millisecond, which is not the gate's.
        let due = due.max(Instant::now());
        let request = Request::post("/v1/attestations")
            .header("host", "gate")
            .header("authorization", "Bearer watchdog")
            .header(SIGNATURE_HEADER, format!("ed25519={signature}"))
            .body(Full::from(body));
        let (status, answer) = client.call(request.unwrap()).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&answer));
        times.lock().unwrap().push(due.elapsed());
    }
}

/// A service with two instances, one revision and three signals, seen live.
fn verdict(number: usize) -> Verdict {
    let revision = Revision::new("r1").unwrap();
    let signal = SignalEvidence {
        state: SignalState::Fresh,
        expected: true,
        last_arrival_age_ms: Some(412),
        cadence_ms: Some(1_000),
        late_ms: Some(37),
        records: Some(123_456),
    };
    let signals = [Signal::Traces, Signal::Metrics, Signal::Logs];
    let beats = BeatEvidence {
        state: BeatState::Fresh,
        age_ms: Some(212),
        interval_ms: Some(1_000),
        authenticated: true,
    };
    Verdict {
        service: Service::new(service(number)).unwrap(),
        environment: Environment::new("default").unwrap(),
        verdict: VerdictKind::Live,
        since_ms: 86_400_000,
        stage: None,
        reason: "beats and telemetry are fresh and their counts agree".into(),
        revisions: vec![RevisionEvidence {
            revision: revision.clone(),
            instances: 2,
            records: Some(370_368),
            requests: Some(123_456),
            errors: Some(12),
            witnessed: Some(123_460),
            durations: None,
        }],
        signals: signals.map(|name| (name, signal.clone())).into_iter().collect(),
        witness: Some(WitnessEvidence {
            state: WitnessState::Agrees,
            requests: 1_240,
            records: Some(1_238),
            ratio: Some(1.0),
            interval: Some([0.97, 1.03]),
        }),
        probes: ProbeEvidence {
            state: ProbeState::Returning,
            coverage: Some(1.0),
            age_ms: Some(300),
        },
        observer: ObserverEvidence { late_ms: 1, healthy: true, strain: 0 },
        instances: ["a", "b"].map(|name| instance(name, &revision, &beats)).to_vec(),
        beats,
    }
}

fn instance(name: &str, revision: &Revision, beats: &BeatEvidence) -> InstanceEvidence {
    InstanceEvidence {
        instance: Instance::new(name).unwrap(),
        boot: Some(Boot::new("1700000000000-s").unwrap()),
        revision: Some(revision.clone()),
        beats: beats.state,
        age_ms: beats.age_ms,
        leaving: false,
    }
}
