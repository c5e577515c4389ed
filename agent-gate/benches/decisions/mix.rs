//! What is asked: renewals of permits that are out, new requests, their ends, and denials.
//!
//! Of ten calls four renew, two ask for a rollout and get a permit, two end such a rollout so that
//! its service is free for the next, and two ask for what is denied. Each is recorded and durable
//! before it is answered.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::disk::number;
use crate::load::{Client, Times};
use crate::watch;

/// Rollouts that are being applied all the while.
const APPLYING: usize = 64;
/// Services on which rollouts are begun and ended.
const BUSY: usize = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Renew,
    Request,
    End,
    Deny,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Renew, Self::Request, Self::End, Self::Deny];
    const ORDER: [Self; 10] = [
        Self::Renew,
        Self::Request,
        Self::End,
        Self::Renew,
        Self::Deny,
        Self::Renew,
        Self::Request,
        Self::End,
        Self::Renew,
        Self::Deny,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Renew => "renewals",
            Self::Request => "requests allowed",
            Self::End => "rollouts ended",
            Self::Deny => "requests denied",
        }
    }
}

pub struct Mix {
    /// Path and body of each renewal.
    renewals: Vec<(String, String)>,
    services: usize,
    free: Mutex<VecDeque<usize>>,
    granted: Mutex<VecDeque<(usize, String)>>,
    changes: AtomicU64,
    evidence: AtomicU64,
    times: Mutex<BTreeMap<Kind, Vec<Duration>>>,
    unexpected: Mutex<BTreeMap<String, u64>>,
}

impl Mix {
    /// Brings `APPLYING` rollouts to where they are renewed, and tries the way back of all
    /// services that will be asked for.
    pub async fn prepare(client: &Client, services: usize) -> Arc<Self> {
        let mut mix = Self {
            renewals: Vec::new(),
            services,
            free: Mutex::default(),
            granted: Mutex::default(),
            changes: AtomicU64::new(0),
            evidence: AtomicU64::new(0),
            times: Mutex::default(),
            unexpected: Mutex::default(),
        };
        // Spread over all watchdogs.
        let step = services / (APPLYING + BUSY);
        for place in 0..APPLYING + BUSY {
            let service = place * step;
            let (id, epoch) = mix.allowed(client, service).await;
            let body = json!({"epoch": epoch}).to_string();
            if place < APPLYING {
                let path = format!("/v1/rollouts/{id}/renew");
                let (status, answer) = client.post(&path, "agent", body.clone()).await;
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert_eq!((status, &answer["decision"]), (StatusCode::OK, &json!("allow")));
                mix.renewals.push((path, body));
            } else {
                mix.end(client, &id).await;
                mix.free.lock().unwrap().push_back(service);
            }
        }
        Arc::new(mix)
    }

    async fn allowed(&self, client: &Client, service: usize) -> (String, Value) {
        let body = self.request_body(service, "r1", "r2");
        loop {
            let (status, answer) = client.post("/v1/rollouts", "agent", body.clone()).await;
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(status, StatusCode::OK, "{answer}");
            if answer["decision"] == "allow" {
                let id = answer["rollout"]["id"].as_str().unwrap().to_owned();
                return (id, answer["permit"]["epoch"].clone());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(&self, client: &Client, id: &str) -> (StatusCode, Bytes) {
        let path = format!("/v1/rollouts/{id}/abort");
        client.post(&path, "agent", r#"{"reason":"the measurement goes on"}"#.to_owned()).await
    }

    fn request_body(&self, service: usize, from: &str, to: &str) -> String {
        let change = self.changes.fetch_add(1, Ordering::Relaxed);
        json!({
            "change_id": format!("change-{change}"), "service": watch::service(service),
            "from": from, "to": to, "digest": format!("sha256:{change:064x}"),
            "agent": "improver", "summary": "keep the connections of the price look-up open",
        })
        .to_string()
    }

    /// The call that is due with this number.
    pub async fn call(&self, client: &Client, number: u64, due: Instant) {
        let place = usize::try_from(number).unwrap();
        match Kind::ORDER[place % Kind::ORDER.len()] {
            Kind::Renew => {
                let (path, body) = &self.renewals[place % self.renewals.len()];
                let answer = client.post(path, "agent", body.clone()).await;
                self.note(Kind::Renew, due, "allow", &answer);
            }
            Kind::Request => {
                let free = self.free.lock().unwrap().pop_front();
                let Some(service) = free else { return self.deny(client, place, due).await };
                let body = self.request_body(service, "r1", "r2");
                let answer = client.post("/v1/rollouts", "agent", body).await;
                if let Some(id) = self.note(Kind::Request, due, "allow", &answer) {
                    self.granted.lock().unwrap().push_back((service, id));
                }
            }
            Kind::End => {
                let granted = self.granted.lock().unwrap().pop_front();
                let Some((service, id)) = granted else {
                    return self.deny(client, place, due).await;
                };
                let answer = self.end(client, &id).await;
                self.note(Kind::End, due, "deny", &answer);
                self.free.lock().unwrap().push_back(service);
            }
            Kind::Deny => self.deny(client, place, due).await,
        }
    }

    async fn deny(&self, client: &Client, place: usize, due: Instant) {
        let body = self.request_body(place % self.services, "r1", "r1");
        let answer = client.post("/v1/rollouts", "agent", body).await;
        self.note(Kind::Deny, due, "deny", &answer);
    }

    /// Notes the time of an answer; gives the rollout's id if the answer is the expected one.
    fn note(
        &self,
        kind: Kind,
        due: Instant,
        expected: &str,
        (status, body): &(StatusCode, Bytes),
    ) -> Option<String> {
        let took = due.elapsed();
        self.times.lock().unwrap().entry(kind).or_default().push(took);
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        if let Some(id) = answer["evidence_id"].as_str() {
            self.evidence.fetch_max(number(id), Ordering::Relaxed);
        }
        if answer["decision"] == expected {
            return answer["rollout"]["id"].as_str().map(str::to_owned);
        }
        let why = &answer["reasons"][0]["code"];
        let what = format!("{}: {status} {} {why}", kind.as_str(), answer["decision"]);
        *self.unexpected.lock().unwrap().entry(what).or_default() += 1;
        None
    }

    /// Begins to count anew.
    pub fn forget(&self) {
        self.times.lock().unwrap().clear();
        self.unexpected.lock().unwrap().clear();
    }

    pub fn newest_evidence(&self) -> u64 {
        self.evidence.load(Ordering::Relaxed)
    }

    pub fn times(&self, kind: Kind) -> Times {
        Times::of(self.times.lock().unwrap().get(&kind).cloned().unwrap_or_default())
    }

    pub fn all_times(&self) -> Times {
        Times::of(self.times.lock().unwrap().values().flatten().copied().collect())
    }

    pub fn unexpected(&self) -> BTreeMap<String, u64> {
        self.unexpected.lock().unwrap().clone()
    }
}
