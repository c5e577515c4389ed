//! Where a beat from any transport is let in or refused.
//!
//! Invariant: a beat that is refused leaves a count and nothing else. A MAC that is wrong never
//! reaches the admission rules, and an unsigned beat never passes for a signed one.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use watchdog_core::admission::{Admission, Bounds, Origin, Refusal, Seal};
use watchdog_core::beat::{BeatBody, BeatDatagram, TOKEN_BYTES_MAX, Token};
use watchdog_core::names::{Boot, Instance, Service};
use watchdog_core::tick::Tick;
use watchdog_core::verdict::BeatState;

use super::crowd::Crowd;
use super::mac;
use crate::driver::Clock;
use crate::inbox::{Beat, Inbox};
use crate::metrics::{Metrics, Refused, Transport};
use crate::publish::Reader;
use crate::wiring::BeatKeys;

/// For how long a key, or the lack of one, is remembered, in milliseconds.
const KEY_MS: u64 = 5_000;
/// How many keys are remembered.
const KEYS_MAX: usize = 10_000;
/// How often one kind of refusal is worth a line in the log, in milliseconds.
const TOLD_MS: u64 = 10_000;

/// A beat as it came from a transport.
#[derive(Debug)]
pub struct Arrival {
    pub transport: Transport,
    pub service: Service,
    /// `None` is a beat without witness.
    pub body: Option<BeatBody>,
    /// The signature, and the bytes it must be over.
    pub signature: Option<(String, Vec<u8>)>,
    /// `None` for a Unix socket.
    pub peer: Option<IpAddr>,
}

/// Why a beat was not let in, for whoever can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    pub reason: Refused,
    pub message: String,
}

impl Rejection {
    pub fn malformed(message: impl Into<String>) -> Self {
        Self { reason: Refused::Malformed, message: message.into() }
    }
}

/// What a reception is made of.
pub struct Parts {
    pub keys: BeatKeys,
    pub clock: Arc<dyn Clock>,
    pub inbox: Arc<Inbox>,
    pub metrics: Metrics,
    pub reader: Reader,
    pub unsigned_loopback: bool,
    /// Services whose beats must always be signed.
    pub strict: BTreeSet<Service>,
    /// Services that the configuration names: strangers cannot crowd them out.
    pub known: HashSet<Service>,
    /// A service that is judged by something else than its own beats: they are let in and not told.
    pub untold: Option<Service>,
    pub bounds: Bounds,
    /// This start of the watchdog; beats without a boot of their own are numbered within it.
    pub boot: Boot,
}

/// The rules, the keys, and the way to the verdict loop.
pub struct Reception {
    parts: Parts,
    ledger: Mutex<Ledger>,
}

/// What changes from beat to beat.
struct Ledger {
    known: Admission,
    strangers: Admission,
    crowd: Crowd,
    keys: HashMap<Service, (Option<Vec<u8>>, Tick)>,
    /// When each kind of refusal was last told to a person.
    told: BTreeMap<&'static str, Tick>,
    /// Numbers the beats that bring no sequence of their own.
    anonymous: u64,
}

impl Reception {
    pub fn new(parts: Parts) -> Self {
        let ledger = Ledger {
            known: Admission::new(Bounds { services: usize::MAX, ..parts.bounds }),
            strangers: Admission::new(parts.bounds),
            crowd: Crowd::new(parts.clock.now()),
            keys: HashMap::new(),
            told: BTreeMap::new(),
            anonymous: 0,
        };
        Self { parts, ledger: Mutex::new(ledger) }
    }

    pub fn now(&self) -> Tick {
        self.parts.clock.now()
    }

    /// See [`Inbox::drained`].
    pub fn drained(&self, at: Tick) {
        self.parts.inbox.drained(at);
    }

    /// The metrics into which this reception counts.
    pub const fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Lets a beat in and says its sequence number, or says why not.
    pub fn receive(&self, arrival: Arrival, now: Tick) -> Result<u64, Rejection> {
        let (transport, peer) = (arrival.transport, arrival.peer);
        let service = arrival.service.clone();
        match self.admit(arrival, now) {
            Ok(seq) => {
                self.parts.metrics.beat(transport);
                Ok(seq)
            }
            Err(rejection) => Err(self.refuse(transport, rejection, Some(&service), peer)),
        }
    }

    /// Counts a refusal, and tells a person of its kind now and then: a datagram has no answer,
    /// so the log is where its sender finds out.
    pub fn refuse(
        &self,
        transport: Transport,
        rejection: Rejection,
        service: Option<&Service>,
        peer: Option<IpAddr>,
    ) -> Rejection {
        self.parts.metrics.beat_refused(transport, rejection.reason);
        let (reason, now) = (rejection.reason.as_str(), self.now());
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if ledger.told.get(reason).is_none_or(|at| now.since_ms(*at) >= TOLD_MS) {
            ledger.told.insert(reason, now);
            let (transport, message) = (transport.as_str(), rejection.message.as_str());
            let service = service.map(Service::as_str);
            tracing::warn!(transport, reason, message, service, ?peer, "beats are refused");
        }
        rejection
    }

    fn admit(&self, arrival: Arrival, now: Tick) -> Result<u64, Rejection> {
        let Arrival { service, body, signature, peer, .. } = arrival;
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let seal = match (&body, signature) {
            // The MAC of nothing is the same every time: it proves no freshness.
            (None, _) | (Some(_), None) => Seal::Unsigned,
            (Some(_), Some((signature, bytes))) => {
                self.check_mac(&mut ledger, &service, &signature, &bytes, now)?;
                Seal::Signed
            }
        };
        let body = body.map_or_else(|| self.anonymous(&mut ledger, peer), Ok)?;
        check_body(&body)?;
        let seq = body.seq;
        let known = self.parts.known.contains(&service);
        if !known && !ledger.crowd.lets_in(&service, &body.instance, now) {
            let message = "too many instances that are not configured came up".to_owned();
            return Err(Rejection { reason: Refused::TooManyInstances, message });
        }
        let admission = if known { &mut ledger.known } else { &mut ledger.strangers };
        self.ask(admission, &service, &body, seal, self.origin(&service, peer))?;
        drop(ledger);
        let authenticated = matches!(seal, Seal::Signed);
        if self.parts.untold.as_ref() != Some(&service) {
            self.parts.inbox.beat(Beat { service, body, authenticated, at: now });
        }
        Ok(seq)
    }

    fn check_mac(
        &self,
        ledger: &mut Ledger,
        service: &Service,
        signature: &str,
        bytes: &[u8],
        now: Tick,
    ) -> Result<(), Rejection> {
        let bad = |message: &str| Rejection { reason: Refused::BadMac, message: message.into() };
        let key = self.key(ledger, service, now);
        let key =
            key.ok_or_else(|| bad("the beat is signed and no key of its service is known"))?;
        if mac::verifies(&key, service, bytes, signature) {
            Ok(())
        } else {
            Err(bad("the signature is not that of the body under the key of the service"))
        }
    }

    fn key(&self, ledger: &mut Ledger, service: &Service, now: Tick) -> Option<Vec<u8>> {
        if let Some((key, at)) = ledger.keys.get(service)
            && now.since_ms(*at) < KEY_MS
        {
            return key.clone();
        }
        if ledger.keys.len() >= KEYS_MAX {
            ledger.keys.clear();
        }
        let key = (self.parts.keys)(service);
        ledger.keys.insert(service.clone(), (key.clone(), now));
        key
    }

    fn origin(&self, service: &Service, peer: Option<IpAddr>) -> Origin {
        let local = peer.is_none_or(|ip| ip.to_canonical().is_loopback());
        if local && self.parts.unsigned_loopback && !self.parts.strict.contains(service) {
            Origin::Loopback
        } else {
            Origin::Remote
        }
    }

    /// A beat that says no more than "alive". Its token moves with every beat, because sending it
    /// is all the progress that the sender shows.
    fn anonymous(&self, ledger: &mut Ledger, peer: Option<IpAddr>) -> Result<BeatBody, Rejection> {
        ledger.anonymous += 1;
        let instance = peer.map_or_else(|| "local".to_owned(), |ip| ip.to_string());
        let instance = Instance::new(instance).map_err(|e| Rejection::malformed(e.to_string()))?;
        Ok(BeatBody {
            instance,
            boot: self.parts.boot.clone(),
            seq: ledger.anonymous,
            token: Token::Number(ledger.anonymous),
            requests: None,
            errors: None,
            revision: None,
            leaving: false,
        })
    }

    fn ask(
        &self,
        admission: &mut Admission,
        service: &Service,
        body: &BeatBody,
        seal: Seal,
        origin: Origin,
    ) -> Result<(), Rejection> {
        let mut admitted = admission.admit(service, body, seal, origin);
        if admitted == Err(Refusal::TooManyInstances) {
            // Places of instances that are lost go to those that beat.
            for instance in self.lost_instances(service) {
                admission.forget(service, &instance);
            }
            admitted = admission.admit(service, body, seal, origin);
        }
        admitted.map_err(|refusal| Rejection {
            reason: Refused::from(refusal),
            message: refusal.to_string(),
        })
    }

    fn lost_instances(&self, service: &Service) -> Vec<Instance> {
        let snapshot = self.parts.reader.latest();
        let Some(shown) = snapshot.find(service.as_str()) else { return Vec::new() };
        let instances = shown.instances().iter();
        instances.filter(|i| i.beats == BeatState::Lost).map(|i| i.instance.clone()).collect()
    }
}

fn check_body(body: &BeatBody) -> Result<(), Rejection> {
    match &body.token {
        Token::Text(text) if text.len() > TOKEN_BYTES_MAX => {
            Err(Rejection::malformed(format!("token is longer than {TOKEN_BYTES_MAX} bytes")))
        }
        Token::Text(_) | Token::Number(_) => Ok(()),
    }
}

impl Arrival {
    /// Reads a datagram.
    pub fn datagram(datagram: &[u8], peer: IpAddr) -> Result<Self, Rejection> {
        let beat: BeatDatagram =
            serde_json::from_slice(datagram).map_err(|e| Rejection::malformed(e.to_string()))?;
        let signature = match beat.mac {
            None => None,
            Some(signature) => {
                let bytes = mac::canonical(datagram);
                let bytes = bytes.map_err(|e| Rejection::malformed(e.to_string()))?;
                Some((signature, bytes))
            }
        };
        Ok(Self {
            transport: Transport::Udp,
            service: beat.service,
            body: Some(beat.body),
            signature,
            peer: Some(peer),
        })
    }
}
