//! A caller that goes away at any moment leaves nothing behind.
//!
//! Each call is dropped after its first poll, after its second, and so on until one comes to its
//! end. The gate must decide as before: nothing waits in line, no transaction is open in the store,
//! and no share of the budget is lost.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use sqlx::{Connection, SqliteConnection};

use super::*;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

/// Polls `future` up to `polls` times and drops it; whether it came to its end.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> bool {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        future.as_mut().poll(context).map(|_| true)
    })
    .await
}

/// Every kind of call, `number` making it another one each time.
fn calls(number: usize) -> Vec<(&'static str, String, Value)> {
    let change = format!("c-{number}");
    let mut asked = request(&change);
    asked["digest"] = json!(format!("sha256:{change}"));
    let stop = json!({"scope": "service=elsewhere", "reason": change});
    let reason = json!({"reason": change});
    let rollout = |call: &str| format!("/v1/rollouts/r-000001/{call}");
    vec![
        ("POST", "/v1/rollouts".to_owned(), asked),
        ("POST", rollout("renew"), json!({"epoch": 1})),
        ("POST", rollout("report"), json!({"claim": {"healthy": true}})),
        ("POST", rollout("abort"), reason.clone()),
        ("POST", "/v1/freezes".to_owned(), stop),
        ("POST", "/v1/freezes/f-000001/thaw".to_owned(), reason),
        ("GET", "/v1/services".to_owned(), Value::Null),
        ("GET", "/v1/waivers".to_owned(), Value::Null),
        ("GET", "/v1/rollouts".to_owned(), Value::Null),
        ("GET", "/v1/freezes".to_owned(), Value::Null),
        ("GET", "/v1/decisions".to_owned(), Value::Null),
        ("GET", "/v1/audit".to_owned(), Value::Null),
    ]
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_poll_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("gate.db");
    let store = SqliteStore::open(&file).await.expect("a store");
    let reader = Arc::new(store.reader());
    let api = api_with(Box::new(store), reader).await;
    let router = router(api.clone());
    let mut number = 0;
    for call in 0..calls(0).len() {
        for polls in 1.. {
            number += 1;
            let (method, path, body) = calls(number).swap_remove(call);
            let asked = Request::builder().method(method).uri(&path);
            let asked = asked.header("authorization", "Bearer secret");
            let asked = asked.body(Body::from(body.to_string())).expect("a request");
            let is_done = polled(router.clone().oneshot(asked), polls).await;
            assert!(polls < 1_000, "{method} {path} never ends");
            if is_done {
                break;
            }
        }
    }
    // What was asked is done all the same, and answered to nobody.
    let drained = async {
        while waiting(&api) > 0 {
            tokio::task::yield_now().await;
        }
        let open: Vec<_> = api
            .look(|gate, _, _| gate.ledger.open().map(|rollout| rollout.id).collect())
            .await
            .expect("an answer");
        for rollout in open {
            let by = agent_gate_core::gate::event::Caller {
                name: "agent".to_owned(),
                role: Role::Agent.into(),
            };
            let reason = "over".to_owned();
            api.step(Event::Abort { rollout, reason, by }).await.expect("an answer");
        }
        for seq in 1.. {
            api.step(Event::Attested(attestation(seq))).await.expect("taken");
            let answer = post(router.clone(), "/v1/rollouts", request("last")).await;
            if answer["decision"] == "allow" {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, drained).await.expect("it decides, and the budget is free");
    let url = format!("sqlite://{}", file.display());
    let mut other = SqliteConnection::connect(&url).await.expect("the store");
    let none = sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await;
    assert!(none.is_ok(), "a transaction is open: {none:?}");
}

#[tokio::test]
async fn a_commit_that_is_dropped_at_any_poll_is_whole_or_was_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let batch = crate::store::Batch {
        meta: vec![("alive_ms".to_owned(), "7".to_owned()), ("head".to_owned(), "{}".to_owned())],
        ..Default::default()
    };
    for polls in 1.. {
        let file = directory.path().join(format!("{polls}.db"));
        let mut store = SqliteStore::open(&file).await.expect("a store");
        let is_done = polled(store.commit(&batch), polls).await;
        drop(store);
        let reopened = async {
            loop {
                // The one before lets its file go in a thread of its own.
                if let Ok(store) = SqliteStore::open(&file).await {
                    return store;
                }
                tokio::task::yield_now().await;
            }
        };
        let mut store = tokio::time::timeout(PATIENCE, reopened).await.expect("no lock is left");
        let kept = store.load().await.expect("it can be read").meta.len();
        assert!(kept == 2 || (kept == 0 && !is_done), "{kept} of 2 rows after {polls} polls");
        store.commit(&batch).await.expect("it can be written");
        if is_done {
            return;
        }
    }
}
