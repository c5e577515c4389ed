//! The order of things: shut, write, act, clear, answer; with a store that the test holds back.

use std::sync::atomic::Ordering;
use std::time::Duration;

use agent_gate_core::gate::event::{Caller, Role};
use agent_gate_core::policy::Policy;
use agent_gate_core::scope::Scope;
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinHandle;

use super::*;
use crate::store::paused::Paused;

const PATIENCE: Duration = Duration::from_secs(20);

struct Bench {
    store: Paused,
    shared: Shared,
    commands: mpsc::Sender<Command>,
    run: JoinHandle<Result<(), StoreError>>,
}

impl Bench {
    /// A driver that has started and whose store lets nothing more pass.
    async fn start() -> Self {
        let store = Paused::new(1);
        let policy = PolicySet::new(Policy::default(), [], |_| "hash".to_owned());
        let shared = Shared {
            policy: Arc::new(policy),
            latch: Arc::new(Latch::new()),
            tokens: TokenBook::default(),
            metrics: Arc::new(Metrics::default()),
            hold: Arc::new(Hold::default()),
            fences: Arc::new(crate::fences::Fences::new("test".to_owned(), &[])),
            outside: outside::Outside::new(outside::Settings::default()).expect("no files"),
        };
        let (commands, queue) = mpsc::channel(QUEUE_MAX);
        let driver = Driver::start(
            Box::new(store.clone()),
            shared.clone(),
            queue,
            act::Actions::default(),
            |_, _| Vec::new(),
        );
        let driver = driver.await.expect("a start");
        assert!(!shared.latch.is_shut(), "a gate that started and is not frozen is clear");
        let run = tokio::spawn(driver.run(CancellationToken::new()));
        Self { store, shared, commands, run }
    }

    async fn freeze(&self, scope: &str) -> oneshot::Receiver<Reply> {
        let (reply, waits) = oneshot::channel();
        let event = Box::new(Event::Freeze {
            scope: scope.parse::<Scope>().expect("a scope"),
            reason: "stop".to_owned(),
            by: Caller { name: "operator".to_owned(), role: Role::Operator },
        });
        self.commands.send(Command::Step { event, reply }).await.expect("the driver runs");
        waits
    }
}

async fn until(is_so: impl Fn() -> bool) {
    let asked = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("it becomes so");
}

async fn answer(waits: oneshot::Receiver<Reply>) -> Option<Reply> {
    tokio::time::timeout(PATIENCE, waits).await.expect("an answer or none").ok()
}

#[tokio::test]
async fn a_freeze_shuts_the_latch_before_it_is_written_and_is_answered_after() {
    let bench = Bench::start().await;
    let mut waits = bench.freeze("fleet").await;
    until(|| bench.store.begun.load(Ordering::Acquire) == 2).await;
    assert!(bench.shared.latch.is_shut(), "shut while the store hangs");
    assert!(matches!(waits.try_recv(), Err(TryRecvError::Empty)), "no answer before the commit");
    bench.store.lets.add_permits(2);
    let Some(Reply::Freeze { freeze, created: true }) = answer(waits).await else {
        panic!("a freeze is answered");
    };
    assert_eq!(freeze.stage, Stage::Durable);
    assert!(bench.shared.latch.is_shut(), "a frozen fleet stays shut");
    let is_kept = |batch: &crate::store::Batch| !batch.freezes.is_empty();
    assert!(bench.store.kept.lock().expect("no panic").iter().any(is_kept));
}

#[tokio::test]
async fn the_latch_is_cleared_only_after_the_commit() {
    let bench = Bench::start().await;
    let waits = bench.freeze("service=checkout").await;
    until(|| bench.store.begun.load(Ordering::Acquire) == 2).await;
    assert!(bench.shared.latch.is_shut());
    bench.store.lets.add_permits(2);
    assert!(answer(waits).await.is_some());
    assert!(!bench.shared.latch.is_shut(), "the rest of the fleet goes on in the new epoch");
}

#[tokio::test]
async fn a_commit_that_fails_shuts_the_latch_answers_nobody_and_ends_the_driver() {
    let bench = Bench::start().await;
    bench.store.fails.store(true, Ordering::Release);
    let waits = bench.freeze("service=checkout").await;
    bench.store.lets.add_permits(100);
    assert!(answer(waits).await.is_none(), "nobody is told of what is not kept");
    let ended = tokio::time::timeout(PATIENCE, bench.run).await.expect("it ends");
    assert!(matches!(ended.expect("no panic"), Err(StoreError::Write(_))));
    assert!(bench.shared.latch.is_shut());
    assert_eq!(bench.store.begun.load(Ordering::Acquire), 2, "a failed write is not tried again");
}

#[tokio::test]
async fn commands_that_wait_share_one_commit() {
    let bench = Bench::start().await;
    let first = bench.freeze("service=a").await;
    until(|| bench.store.begun.load(Ordering::Acquire) == 2).await;
    let mut waiting = Vec::new();
    for service in 0..10 {
        waiting.push(bench.freeze(&format!("service=b{service}")).await);
    }
    bench.store.lets.add_permits(100);
    assert!(answer(first).await.is_some());
    for waits in waiting {
        assert!(answer(waits).await.is_some());
    }
    let kept = bench.store.kept.lock().expect("no panic").clone();
    let most = kept.iter().map(|batch| batch.freezes.len()).max();
    assert_eq!(most, Some(10));
}
