//! Gates that take turns on one PostgreSQL database, by their stores alone.

use std::task::Poll;
use std::time::{Duration, Instant};

use agent_gate::store::postgres::{Database, PostgresStore, Turns, Whose};
use agent_gate::store::{Batch, Store, StoreError};

use crate::keep::{Keep, LEASE};
use crate::server;
use crate::stand::PATIENCE;
use crate::stores::{decision, entry};

/// What a busy machine adds.
const SLACK: Duration = Duration::from_millis(400);

fn turns(url: &str, holder: &str) -> Turns {
    let database = Database::new(url).expect("a URL");
    Turns::new(database, holder.into(), format!("http://{holder}"), LEASE)
}

/// Looks at the pace of a gate that stands by until it is its turn.
async fn turn(mut turns: Turns) -> Box<PostgresStore> {
    let begun = Instant::now();
    loop {
        if let Whose::Ours(store) = turns.look().await.expect("the database answers") {
            return store;
        }
        assert!(begun.elapsed() < PATIENCE, "the lease before runs out");
        tokio::time::sleep(turns.pace()).await;
    }
}

async fn database() -> Option<String> {
    let url = server::database()?;
    Database::new(&url).expect("a URL").prepare().await.expect("a new database");
    Some(url)
}

fn head(value: &str) -> Batch {
    Batch { meta: vec![("head".into(), value.into())], ..Batch::default() }
}

async fn kept(url: &str) -> Option<String> {
    let keep = Keep::Postgres { url: url.to_owned() };
    let (mut store, _) = keep.open().await.expect("a store");
    let meta = store.load().await.expect("loaded").meta;
    store.close().await;
    meta.into_iter().next().map(|(_, value)| value)
}

#[tokio::test]
async fn a_write_of_an_old_term_is_refused_whole_and_a_turn_is_taken_within_two_leases() {
    let Some(url) = database().await else { return };
    let mut old = turn(turns(&url, "a")).await;
    old.commit(&head("a")).await.expect("its turn");
    let begun = Instant::now();
    let mut new = turn(turns(&url, "b")).await;
    let took = begun.elapsed();
    assert!(took >= LEASE / 2 && took <= 2 * LEASE + SLACK, "{took:?}");
    assert_eq!(new.term(), old.term() + 1);
    // Also before the new one has written anything, and with rows that nothing else would refuse.
    let late = Batch { decisions: vec![decision("d-000001")], ..head("late") };
    let error = old.commit(&late).await.expect_err("its turn is over");
    assert!(matches!(error, StoreError::TermLost { term: 1, .. }), "{error}");
    let error = old.commit(&Batch::default()).await.expect_err("for good");
    assert!(matches!(error, StoreError::Poisoned), "{error}");
    new.commit(&Batch { decisions: vec![decision("d-000001")], ..head("b") }).await.expect("free");
    // Giving back what was lost takes nothing from the new one.
    old.close().await;
    new.commit(&head("still b")).await.expect("its turn");
    new.close().await;
    assert_eq!(kept(&url).await.as_deref(), Some("still b"));
}

#[tokio::test]
async fn a_lease_that_ran_out_untaken_goes_on_with_the_next_commit() {
    let Some(url) = database().await else { return };
    let mut store = turn(turns(&url, "a")).await;
    tokio::time::sleep(LEASE + SLACK).await;
    store.commit(&head("a")).await.expect("nobody wrote in between");
    let mut other = turns(&url, "b");
    let looked = other.look().await.expect("the database answers");
    assert!(matches!(looked, Whose::Others { ref url, .. } if url == "http://a"), "{looked:?}");
}

/// A paused gate holds a transaction open at some point; the server ends it.
#[tokio::test]
async fn a_commit_that_stands_still_at_any_point_holds_up_nobody_and_writes_nothing_late() {
    let Some(url) = database().await else { return };
    // How far a commit is after so many polls is for the scheduler to say, so each is tried twice.
    let mut paused_at = Vec::new();
    for round in 0..16 {
        let polls = round % 8 + 1;
        let mut old = turn(turns(&url, "a")).await;
        let late = Batch { audit: vec![entry("late")], ..head("late") };
        let mut commit = old.commit(&late);
        let mut left = polls;
        let paused = std::future::poll_fn(|context| {
            left -= 1;
            match commit.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Some(done)),
                Poll::Pending if left == 0 => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            }
        });
        if let Some(done) = paused.await {
            done.expect("it was its turn");
            drop(commit);
            old.close().await;
            continue;
        }
        paused_at.push(polls);
        let begun = Instant::now();
        let mut new = turn(turns(&url, "b")).await;
        let took = begun.elapsed();
        assert!(took <= 2 * LEASE + SLACK, "paused after {polls} polls: {took:?}");
        let was_sent = new.load().await.expect("loaded").meta.iter().any(|(_, v)| v == "late");
        let value = format!("new {round}");
        new.commit(&head(&value)).await.expect("its turn");
        let done = commit.await;
        assert!(was_sent || done.is_err(), "answered, and not there before: {done:?}");
        new.close().await;
        assert_eq!(kept(&url).await.as_deref(), Some(value.as_str()), "polls {polls}");
        assert_eq!(Keep::Postgres { url: url.clone() }.broken_at().await, None);
    }
    assert!(paused_at.len() >= 3, "a commit waits for the server: {paused_at:?}");
}

#[tokio::test]
async fn of_many_that_look_at_once_one_gets_the_turn() {
    let Some(url) = database().await else { return };
    let mut gates: Vec<Turns> = (0..8).map(|n| turns(&url, &format!("g{n}"))).collect();
    let mut last = 0;
    for _ in 0..20 {
        let looks = gates.iter_mut().map(Turns::look);
        let looked = futures_util::future::try_join_all(looks).await.expect("all are answered");
        let mut ours = looked.into_iter().filter_map(|whose| match whose {
            Whose::Ours(store) => Some(store),
            Whose::Others { .. } => None,
        });
        let store = ours.next().expect("the row was free");
        assert!(ours.next().is_none(), "a turn is one gate's");
        assert_eq!(store.term(), last + 1);
        last = store.term();
        store.close().await;
    }
}

#[tokio::test]
async fn a_database_that_cannot_be_written_or_reached_is_named_without_its_password() {
    let Some(url) = database().await else { return };
    let name = url.rsplit('/').next().expect("a name");
    server::sql(&url, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let error = Database::new(&url).expect("a URL").prepare().await.expect_err("refused");
    assert!(error.to_string().contains("name the primary"), "{error}");
    let nobody = Database::new("postgres://u:hunter2@127.0.0.1:1/d").expect("a URL");
    let error = nobody.prepare().await.expect_err("nobody is there").to_string();
    assert!(error.starts_with("reach the database postgres://127.0.0.1:1/d: "), "{error}");
    assert!(!error.contains("hunter2"), "{error}");
}
