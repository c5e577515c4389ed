//! One owner per restart: an order that names another start touches nothing.

use super::*;
use crate::driver::SystemClock;

fn steward(argv: &[&str]) -> (Steward, watch::Receiver<Custody>) {
    let (custody, held) = watch::channel(Custody::Absent);
    let argv = argv.iter().map(|&word| word.to_owned()).collect();
    let steward = Steward {
        adapter: Adapter::new(&Restart::Command(argv)),
        clock: Arc::new(SystemClock),
        metrics: Metrics::default(),
        inbox: Arc::default(),
        capture_dir: None,
        orders: mpsc::channel(1).1,
        attested: watch::channel(9).1,
        probes: watch::channel(false).1,
        custody,
        budget: Budget::default(),
        looks: Streak::default(),
    };
    (steward, held)
}

fn order(boot: &str) -> Conviction {
    let boot = Boot::new(boot).expect("a name");
    let blame = crate::supervise::Blame::Process;
    Conviction { boot, reason: "silent".into(), blame, attestation_seq: 1 }
}

#[tokio::test]
async fn an_order_restarts_the_start_it_names_and_no_other() {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("restarted");
    let (mut steward, held) =
        steward(&["/bin/sh", "-c", &format!("echo x >> {}", trace.display())]);
    let (mut known, shutdown) = (None, CancellationToken::new());
    assert!(steward.obey(order("7-restarts"), &mut known, &shutdown).await);
    assert!(!trace.exists(), "another start is innocent");
    assert!(steward.obey(order("0-restarts"), &mut known, &shutdown).await);
    assert_eq!(std::fs::read_to_string(&trace).expect("it ran"), "x\n");
    // The same order again comes too late: it has been obeyed.
    assert!(steward.obey(order("0-restarts"), &mut known, &shutdown).await);
    assert_eq!(std::fs::read_to_string(&trace).expect("it ran"), "x\n");
    let boot = Boot::new("1-restarts").expect("a name");
    assert_eq!(*held.borrow(), Custody::Elsewhere { adapter: "command", boot });
}

#[tokio::test]
async fn a_restart_that_always_fails_calls_a_person_in_the_end() {
    let (mut steward, held) = steward(&["/bin/false"]);
    let (mut known, shutdown) = (None, CancellationToken::new());
    let stop = shutdown.clone();
    let obeying =
        tokio::spawn(async move { steward.obey(order("0-restarts"), &mut known, &shutdown).await });
    let mut seen = held.clone();
    let given_up = seen.wait_for(|custody| *custody == Custody::GivenUp);
    timeout(Duration::from_secs(20), given_up).await.expect("in time").expect("it is told");
    stop.cancel();
    assert!(!obeying.await.expect("it does not panic"));
}
