//! A permit that a freeze overtakes on its way out is not issued.

use std::sync::atomic::Ordering;

use agent_gate_core::latch::Latch;
use agent_gate_core::policy::{self, Policy, ServicePolicy, Tables};
use axum::body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use watchdog_core::attestation::Attestation;
use watchdog_core::names::{Boot, Revision};
use watchdog_core::verdict::{
    BeatEvidence, BeatState, ObserverEvidence, ProbeEvidence, ProbeState, RevisionEvidence,
    Verdict, VerdictKind,
};

use super::*;
use crate::driver::{self, Driver};
use crate::store::paused::Paused;
use crate::tokens::{Role, TokenBook, hash};

mod cancel;

const PATIENCE: Duration = Duration::from_secs(20);
const COMMITS: usize = 1_000_000;

fn service() -> Service {
    Service::new("checkout").expect("a name")
}

/// A live `checkout` on `r1`, believed for a long time.
fn attestation(seq: u64) -> Attestation {
    let evidence = RevisionEvidence {
        revision: Revision::new("r1").expect("a name"),
        instances: 1,
        records: Some(500),
        requests: Some(500),
        errors: Some(0),
        witnessed: Some(500),
        durations: None,
    };
    let verdict = Verdict {
        service: service(),
        environment: "default".parse().expect("a name"),
        verdict: VerdictKind::Live,
        since_ms: 1,
        stage: None,
        reason: "live".into(),
        revisions: vec![evidence],
        signals: watchdog_core::roster::Roster::new(),
        beats: BeatEvidence {
            state: BeatState::Fresh,
            age_ms: Some(1),
            interval_ms: Some(100),
            authenticated: true,
        },
        witness: None,
        probes: ProbeEvidence {
            state: ProbeState::Returning,
            coverage: Some(1.0),
            age_ms: Some(1),
        },
        observer: ObserverEvidence { late_ms: 0, healthy: true, strain: 0 },
        instances: Vec::new(),
    };
    Attestation {
        watchdog: "w1".to_owned(),
        boot: Boot::new("1-a").expect("a boot"),
        seq,
        ttl_ms: 60_000,
        mass_silence: false,
        base: None,
        items: vec![verdict],
    }
}

/// Commands that the driver has not taken.
fn waiting(api: &Api) -> usize {
    match api.desk.lead() {
        Lead::Own(commands) => commands.max_capacity() - commands.capacity(),
        Lead::Others { .. } => panic!("this gate decides"),
    }
}

/// An API on a driver whose store the test holds back, and the store.
async fn api() -> (Api, Paused) {
    api_on(Paused::new(COMMITS)).await
}

async fn api_on(store: Paused) -> (Api, Paused) {
    (api_with(Box::new(store.clone()), Arc::new(store.clone())).await, store)
}

async fn api_with(kept: Box<dyn crate::store::Store>, reader: Arc<dyn Reader>) -> Api {
    let policy = Policy { dwell_ms: 1, ..Policy::default() };
    let checkout = ServicePolicy {
        name: service(),
        environment: "default".parse().expect("a name"),
        revert: policy::RevertAction::Configured,
        tables: Tables::default(),
        policy: policy.clone(),
    };
    let shared = Shared {
        policy: Arc::new(PolicySet::new(policy, [checkout], |_| "hash".to_owned())),
        latch: Arc::new(Latch::new()),
        tokens: TokenBook::default(),
        metrics: Arc::new(Metrics::default()),
        hold: Arc::new(driver::hold::Hold::default()),
        fences: Arc::new(crate::fences::Fences::new("test".to_owned(), &[])),
        outside: outside::Outside::new(outside::Settings::default()).expect("no files"),
    };
    shared.tokens.put([TokenRow {
        name: "agent".to_owned(),
        role: Role::Agent.to_string(),
        sha256: hash("secret"),
        created_ms: 0,
        expires_ms: None,
        revoked_ms: None,
    }]);
    let action = RevertAction::Exec { argv: vec!["/bin/true".to_owned()], timeout_ms: 10_000 };
    let reverts = Arc::new(BTreeMap::from([(service(), action)]));
    let (commands, queue) = tokio::sync::mpsc::channel(driver::QUEUE_MAX);
    let actions = Arc::clone(&reverts);
    let driver = Driver::start(kept, shared.clone(), queue, actions, |_, _| Vec::new());
    let driver = driver.await.expect("a start");
    tokio::spawn(driver.run(CancellationToken::new()));
    Api {
        shared,
        desk: Desk::new(Lead::Own(commands)),
        reader,
        issuer: Issuer::new(&[1; 32]),
        keys: Arc::new(Keys::new(&BTreeMap::new())),
        reverts,
        peers: forward::peers(),
        pace: Arc::new(pace::Pace::new(std::num::NonZeroU32::MAX)),
        base_url: "http://gate".into(),
        wall_ms: driver::wall_ms,
        tick: driver::boot_tick,
        secret: driver::secret,
    }
}

async fn post(router: Router, path: &'static str, body: Value) -> Value {
    let request = Request::post(path)
        .header("authorization", "Bearer secret")
        .body(Body::from(body.to_string()))
        .expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&bytes).expect("JSON")
}

fn request(change: &str) -> Value {
    json!({
        "change_id": change, "service": "checkout", "from": "r1", "to": "r2",
        "digest": "sha256:1", "agent": "improver", "summary": "cache more",
    })
}

#[tokio::test]
async fn a_permit_that_a_freeze_overtakes_is_held_back() {
    let (api, store) = api().await;
    let router = router(api.clone());
    let allowed = async {
        for seq in 1.. {
            api.step(Event::Attested(attestation(seq))).await.expect("taken");
            let answer = post(router.clone(), "/v1/rollouts", request("c-1")).await;
            if answer["decision"] == "allow" {
                assert!(answer["permit"]["token"].is_string(), "{answer}");
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, allowed).await.expect("allowed while nothing is frozen");

    // The store hangs on a token; request and freeze queue behind it, in this order, and become
    // one batch: allowed first, frozen after, answered when both are kept.
    let lets = store.lets.available_permits();
    store.lets.forget_permits(lets);
    let begun = store.begun.load(Ordering::Acquire);
    let row = TokenRow {
        name: "other".to_owned(),
        role: "viewer".to_owned(),
        sha256: vec![1; 32],
        created_ms: 0,
        expires_ms: None,
        revoked_ms: None,
    };
    let audit = AuditEntry {
        at_ms: 0,
        who: "test".to_owned(),
        what: "token_created".to_owned(),
        subject: "other".to_owned(),
        detail: "{}".to_owned(),
        sight: None,
    };
    let hold = tokio::spawn({
        let api = api.clone();
        async move { api.keep_token(row, audit).await }
    });
    until(|| store.begun.load(Ordering::Acquire) > begun).await;
    let asked = tokio::spawn(post(router.clone(), "/v1/rollouts", request("c-1")));
    until(|| waiting(&api) == 1).await;
    let freeze = json!({"scope": "fleet", "reason": "stop"});
    let frozen = tokio::spawn(post(router.clone(), "/v1/freezes", freeze));
    until(|| waiting(&api) == 2).await;
    store.lets.add_permits(COMMITS);

    let answer = asked.await.expect("no panic");
    assert_eq!((answer["decision"].as_str(), &answer["permit"]), (Some("hold"), &Value::Null));
    assert_eq!(answer["reasons"][0]["message"], "a freeze overtook this permit; it was not issued");
    assert_eq!(frozen.await.expect("no panic")["stage"], "durable");
    assert!(hold.await.expect("no panic").is_ok());
}

#[tokio::test]
async fn a_token_that_calls_too_often_hears_when_to_come_back_and_may_still_freeze() {
    let (mut api, _store) = api().await;
    api.pace = Arc::new(pace::Pace::new(std::num::NonZeroU32::MIN));
    let router = router(api);
    let send = async |path: &'static str, body: Value| {
        let request = Request::post(path)
            .header("authorization", "Bearer secret")
            .body(Body::from(body.to_string()))
            .expect("a request");
        router.clone().oneshot(request).await.expect("an answer")
    };
    let first = send("/v1/rollouts", request("c-1")).await;
    assert_eq!(first.status(), http::StatusCode::OK);
    let second = send("/v1/rollouts", request("c-1")).await;
    assert_eq!(second.status(), http::StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(second.headers()["retry-after"], "1");
    let freeze = send("/v1/freezes", json!({"scope": "fleet", "reason": "stop"})).await;
    assert_eq!(freeze.status(), http::StatusCode::CREATED);
}

#[tokio::test]
async fn a_permit_whose_lease_ran_out_since_its_commit_is_held_back() {
    let (api, _) = api_on(Paused { lease: Some(Duration::ZERO), ..Paused::new(COMMITS) }).await;
    let router = router(api.clone());
    let held = async {
        for seq in 1.. {
            api.step(Event::Attested(attestation(seq))).await.expect("taken");
            let answer = post(router.clone(), "/v1/rollouts", request("c-1")).await;
            assert_eq!(
                (answer["decision"].as_str(), &answer["permit"]),
                (Some("hold"), &Value::Null)
            );
            let message = answer["reasons"][0]["message"].as_str().expect("a message");
            if message.contains("turn may be over") {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, held).await.expect("decided, and not issued");
}

async fn until(is_so: impl Fn() -> bool) {
    let asked = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it becomes so");
}
