//! What every store must do, run on each of them: all or nothing, in order, append-only, poisoned
//! by a failed write, and no step back to an older version.

use agent_gate::store::{
    AuditEntry, AuditPage, Batch, DecisionRow, EffectRow, FreezeRow, Page, RolloutRow, Settled,
    StoreError, TokenRow,
};
use serde_json::json;

use crate::keep::Keep;

/// Runs each story on both stores.
macro_rules! on_each_store {
    ($($story:ident)*) => {
        mod sqlite {
            $(#[tokio::test] async fn $story() {
                super::$story(super::Keep::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test] async fn $story() {
                if let Some(keep) = super::Keep::postgres() {
                    super::$story(keep).await;
                }
            })*
        }
    };
}

on_each_store! {
    what_was_committed_is_there_after_the_next_start_in_its_order
    the_later_of_two_rows_with_one_id_counts
    an_order_is_open_until_it_is_settled_and_again_when_it_is_given_again
    lists_are_newest_first_and_go_on_before_an_id
    a_batch_that_fails_leaves_nothing_behind_and_poisons_the_store
    a_commit_that_is_dropped_at_any_point_is_whole_or_nothing
    the_audit_log_cannot_be_changed_or_shortened_by_sql
    a_newer_schema_is_refused_with_what_to_do
    a_damaged_journal_is_refused_with_what_to_do
}

pub fn entry(what: &str) -> AuditEntry {
    AuditEntry {
        at_ms: 1,
        who: "gate".into(),
        what: what.into(),
        subject: "f-000001".into(),
        detail: json!({"text": "it's \"quoted\" \\ ü \u{0}"}).to_string(),
        sight: Some(r#"[{"service":"a"}]"#.into()),
    }
}

pub fn decision(id: &str) -> DecisionRow {
    DecisionRow {
        id: id.into(),
        rollout: "r-000001".into(),
        service: "checkout".into(),
        decision: "hold".into(),
        reason: "unknown".into(),
        body: format!("body of {id}"),
        at_ms: 1,
    }
}

fn rollout(id: &str, state: &str) -> RolloutRow {
    RolloutRow {
        id: id.into(),
        change_id: format!("c-{id}"),
        service: "checkout".into(),
        state: state.into(),
        body: format!("{id} is {state}"),
        updated_ms: u64::MAX >> 1,
    }
}

fn freeze(id: &str, in_force: bool) -> FreezeRow {
    let body = format!("{id} in force: {in_force}");
    FreezeRow { id: id.into(), scope: "fleet".into(), in_force, body, at_ms: 1 }
}

fn token(name: &str, revoked_ms: Option<u64>) -> TokenRow {
    TokenRow {
        name: name.into(),
        role: "agent".into(),
        sha256: vec![u8::try_from(name.len()).expect("a short name"); 32],
        created_ms: 1,
        expires_ms: Some(2),
        revoked_ms,
    }
}

fn effect(id: &str) -> EffectRow {
    EffectRow {
        id: id.into(),
        rollout: "r-000001".into(),
        generation: 3,
        body: format!("order {id}"),
        issued_ms: 1,
    }
}

fn settled(effect: &str) -> Settled {
    Settled { effect: effect.into(), at_ms: 2, outcome: "done: it ran".into() }
}

async fn what_was_committed_is_there_after_the_next_start_in_its_order(keep: Keep) {
    // As text the second id comes before the first.
    let ids = ["r-999999", "r-1000000"];
    let (mut store, reader) = keep.open().await.expect("a store");
    let batch = Batch {
        meta: vec![("head".into(), "1".into()), ("alive_ms".into(), "2".into())],
        rollouts: ids.map(|id| rollout(id, "held")).to_vec(),
        freezes: vec![freeze("f-999999", true), freeze("f-1000000", true)],
        decisions: vec![decision("d-000001")],
        audit: vec![entry("request"), entry("freeze")],
        tokens: vec![token("b", None), token("ab", Some(3))],
        effects: vec![effect("e-999999"), effect("e-1000000")],
        settled: Vec::new(),
    };
    store.commit(&batch).await.expect("a commit");
    store.commit(&Batch::default()).await.expect("an empty commit");
    let page = AuditPage { limit: 10, ..AuditPage::default() };
    let rows = reader.audit(&page).await.expect("read beside the writer");
    store.close().await;
    reader.close().await;

    let (mut store, reader) = keep.open().await.expect("a store");
    let loaded = store.load().await.expect("loaded");
    let (key, value) = (|at: usize| loaded.meta[at].0.as_str(), |at: usize| &loaded.meta[at].1);
    assert_eq!(
        (key(0), value(0), key(1), value(1)),
        ("alive_ms", &"2".into(), "head", &"1".into())
    );
    assert_eq!(loaded.rollouts, ["r-999999 is held", "r-1000000 is held"]);
    assert_eq!(loaded.freezes, ["f-999999 in force: true", "f-1000000 in force: true"]);
    assert_eq!(loaded.tokens, [token("ab", Some(3)), token("b", None)]);
    assert_eq!(loaded.effects, [effect("e-999999"), effect("e-1000000")]);
    assert_eq!(reader.audit(&page).await.expect("read"), rows);
    let found = reader.decision("d-000001").await.expect("read");
    assert_eq!(found.as_deref(), Some("body of d-000001"));
    // The chain goes on where it was.
    let more = Batch { audit: vec![entry("thaw")], ..Batch::default() };
    store.commit(&more).await.expect("a commit");
    let rows = reader.audit(&page).await.expect("read");
    let head = agent_gate::store::chain::Head::START;
    assert_eq!(agent_gate::store::chain::broken_at(head, &rows), None);
    assert_eq!(rows.len(), 3);
    store.close().await;
    assert_eq!(keep.broken_at().await, None);
}

async fn the_later_of_two_rows_with_one_id_counts(keep: Keep) {
    let (mut store, reader) = keep.open().await.expect("a store");
    let first = Batch {
        meta: vec![("head".into(), "1".into())],
        rollouts: vec![rollout("r-000001", "held"), rollout("r-000002", "held")],
        freezes: vec![freeze("f-000001", true)],
        tokens: vec![token("a", None), token("a", Some(5))],
        ..Batch::default()
    };
    store.commit(&first).await.expect("a commit");
    let second = Batch {
        meta: vec![("head".into(), "2".into())],
        rollouts: vec![rollout("r-000001", "allowed")],
        freezes: vec![freeze("f-000001", false)],
        ..Batch::default()
    };
    store.commit(&second).await.expect("a commit");
    let loaded = store.load().await.expect("loaded");
    assert_eq!(loaded.meta, [("head".to_owned(), "2".to_owned())]);
    assert_eq!(loaded.rollouts, ["r-000001 is allowed", "r-000002 is held"]);
    assert_eq!(loaded.freezes, ["f-000001 in force: false"]);
    assert_eq!(loaded.tokens, [token("a", Some(5))]);
    assert_eq!(reader.freezes(false).await.expect("read"), Vec::<String>::new());
    assert_eq!(reader.freezes(true).await.expect("read").len(), 1);
    assert_eq!(reader.tokens().await.expect("read"), [token("a", Some(5))]);
}

async fn an_order_is_open_until_it_is_settled_and_again_when_it_is_given_again(keep: Keep) {
    let (mut store, _reader) = keep.open().await.expect("a store");
    let given = Batch { effects: vec![effect("e-1"), effect("e-2")], ..Batch::default() };
    store.commit(&given).await.expect("a commit");
    let ended = Batch { settled: vec![settled("e-1"), settled("e-9")], ..Batch::default() };
    store.commit(&ended).await.expect("a commit");
    assert_eq!(store.load().await.expect("loaded").effects, [effect("e-2")]);
    // One attempt failed and the next is given, in one batch.
    let again = Batch {
        settled: vec![settled("e-2")],
        effects: vec![effect("e-2"), effect("e-1")],
        ..Batch::default()
    };
    store.commit(&again).await.expect("a commit");
    assert_eq!(store.load().await.expect("loaded").effects, [effect("e-1"), effect("e-2")]);
}

async fn lists_are_newest_first_and_go_on_before_an_id(keep: Keep) {
    let (mut store, reader) = keep.open().await.expect("a store");
    let ids = ["d-999998", "d-999999", "d-1000000"];
    let mut decisions = ids.map(decision).to_vec();
    decisions[0].service = "search".into();
    decisions[2].rollout = "r-000002".into();
    let rollouts = vec![rollout("r-1", "held"), rollout("r-2", "denied"), rollout("r-3", "held")];
    store.commit(&Batch { decisions, rollouts, ..Batch::default() }).await.expect("a commit");
    let page = Page { limit: 2, ..Page::default() };
    let body = |id: &str| format!("body of {id}");
    let first = reader.decisions(&page).await.expect("read");
    assert_eq!(first, [body("d-1000000"), body("d-999999")]);
    let next = Page { before: Some("d-999999".into()), ..page.clone() };
    assert_eq!(reader.decisions(&next).await.expect("read"), [body("d-999998")]);
    let only = Page { only: Some("r-000002".into()), ..page.clone() };
    assert_eq!(reader.decisions(&only).await.expect("read"), [body("d-1000000")]);
    let service = Page { service: Some("search".into()), ..page.clone() };
    assert_eq!(reader.decisions(&service).await.expect("read"), [body("d-999998")]);
    let held = Page { only: Some("held".into()), ..page };
    assert_eq!(reader.rollouts(&held).await.expect("read"), ["r-3 is held", "r-1 is held"]);
    assert_eq!(reader.rollout("r-2").await.expect("read").as_deref(), Some("r-2 is denied"));
    assert_eq!(reader.rollout("r-9").await.expect("read"), None);
    let of = AuditPage { subject: Some("x".into()), limit: 9, after: 0 };
    assert_eq!(reader.audit(&of).await.expect("read"), []);
}

async fn a_batch_that_fails_leaves_nothing_behind_and_poisons_the_store(keep: Keep) {
    let (mut store, _) = keep.open().await.expect("a store");
    let first = Batch { decisions: vec![decision("d-000001")], ..Batch::default() };
    store.commit(&first).await.expect("a commit");
    // A decision is never written twice, so the second batch fails in its middle.
    let second = Batch {
        meta: vec![("head".into(), "1".into())],
        decisions: vec![decision("d-000002"), decision("d-000001")],
        audit: vec![entry("request")],
        ..Batch::default()
    };
    let error = store.commit(&second).await.expect_err("a failure");
    assert!(matches!(error, StoreError::Write(_)), "{error}");
    let third = Batch { decisions: vec![decision("d-000003")], ..Batch::default() };
    for _ in 0..2 {
        let error = store.commit(&third).await.expect_err("nothing is written after a failure");
        assert!(matches!(error, StoreError::Poisoned), "{error}");
    }
    drop(store);

    let (mut store, reader) = keep.open().await.expect("a store");
    assert!(store.load().await.expect("loaded").meta.is_empty());
    assert!(reader.decision("d-000001").await.expect("read").is_some());
    assert!(reader.decision("d-000002").await.expect("read").is_none());
    assert!(reader.decision("d-000003").await.expect("read").is_none());
    let page = AuditPage { limit: 10, ..AuditPage::default() };
    assert!(reader.audit(&page).await.expect("read").is_empty());
    store.commit(&third).await.expect("the next start goes on");
}

async fn a_commit_that_is_dropped_at_any_point_is_whole_or_nothing(keep: Keep) {
    // How far a commit is after so many polls is for the scheduler to say, so each is tried often.
    let mut drops = 0;
    for round in 0..60_usize {
        let polls = round % 12 + 1;
        let (mut store, reader) = keep.open().await.expect("the next start finds it free");
        let id = format!("d-{round:06}");
        let batch = Batch {
            meta: vec![("head".into(), id.clone())],
            decisions: vec![decision(&id)],
            audit: vec![entry(&id)],
            ..Batch::default()
        };
        let is_done = {
            let mut commit = store.commit(&batch);
            let mut left = polls;
            let dropped = std::future::poll_fn(|context| {
                left -= 1;
                let polled = commit.as_mut().poll(context);
                if left == 0 {
                    std::task::Poll::Ready(polled.is_ready())
                } else {
                    polled.map(|_| true)
                }
            });
            dropped.await
        };
        if is_done {
            store.close().await;
            reader.close().await;
            continue;
        }
        drops += 1;
        let error = store.commit(&Batch::default()).await.expect_err("half a commit poisons");
        assert!(matches!(error, StoreError::Poisoned), "{error}");
        drop(store);
        reader.close().await;
        let (mut store, reader) = keep.open().await.expect("the next start finds it free");
        let meta = store.load().await.expect("loaded").meta;
        let is_kept = meta.first().is_some_and(|(_, value)| *value == id);
        let decision = reader.decision(&id).await.expect("read");
        assert_eq!(decision.is_some(), is_kept, "dropped at poll {polls}");
        store.close().await;
        reader.close().await;
        assert_eq!(keep.broken_at().await, None);
    }
    assert!(drops >= 5, "a commit waits for the store: {drops}");
}

async fn the_audit_log_cannot_be_changed_or_shortened_by_sql(keep: Keep) {
    let (mut store, _) = keep.open().await.expect("a store");
    let batch = Batch { audit: vec![entry("freeze")], ..Batch::default() };
    store.commit(&batch).await.expect("a commit");
    for sql in ["DELETE FROM audit", "UPDATE audit SET record = '{}'"] {
        let error = keep.sql(sql).await.expect_err("refused").to_string();
        assert!(error.contains("append-only"), "{error}");
    }
}

async fn a_newer_schema_is_refused_with_what_to_do(keep: Keep) {
    let (store, _) = keep.open().await.expect("a store");
    store.close().await;
    keep.set_schema(99).await;
    let error = keep.open().await.err().expect("refused").to_string();
    assert!(error.contains("schema 99") && error.contains("newer Holdpoint"), "{error}");
    assert!(error.contains("start that version again"), "{error}");
}

async fn a_damaged_journal_is_refused_with_what_to_do(keep: Keep) {
    let (mut store, _) = keep.open().await.expect("a store");
    let audit = ["request", "freeze", "thaw"].map(entry).to_vec();
    store.commit(&Batch { audit, ..Batch::default() }).await.expect("a commit");
    store.close().await;
    assert_eq!(keep.broken_at().await, None);
    keep.tamper("UPDATE audit SET record = replace(record, 'freeze', 'greeze') WHERE seq = 2")
        .await;
    assert_eq!(keep.broken_at().await, Some(2));
    let error = keep.open().await.err().expect("refused").to_string();
    assert!(error.contains("broken audit journal") || error.contains("journal in"), "{error}");
    assert!(error.contains("entry 2") && error.contains("audit verify"), "{error}");
    assert!(error.contains("backup"), "{error}");
}
