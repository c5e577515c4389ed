//! The latch under loom: every interleaving of a person who shuts it and agents who want through.
//!
//! The broken twin looks first and counts later. Loom must catch it; a model that cannot fail
//! proves nothing.
#![cfg(loom)]

use agent_gate_core::ids::Epoch;
use agent_gate_core::latch::Latch;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[test]
fn after_shut_returns_no_admission_succeeds() {
    // Three threads: three preemptions find what is to be found, and the run stays short.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let latch = Arc::new(Latch::new());
        let is_shut = Arc::new(AtomicBool::new(false));
        latch.clear(Epoch(1));
        let agents: Vec<_> = (0..2)
            .map(|_| {
                let (latch, is_shut) = (Arc::clone(&latch), Arc::clone(&is_shut));
                thread::spawn(move || {
                    let returned_before = is_shut.load(Ordering::Acquire);
                    let admitted = latch.admit(Epoch(1)).is_ok();
                    assert!(!(returned_before && admitted), "admitted after shut returned");
                })
            })
            .collect();
        latch.shut();
        is_shut.store(true, Ordering::Release);
        assert!(latch.admit(Epoch(1)).is_err());
        for agent in agents {
            agent.join().expect("the agent ends");
        }
        assert_eq!(latch.in_flight(), 0, "every admission ended");
    });
}

#[test]
fn what_shut_reports_is_all_that_can_still_be_sent() {
    loom::model(|| {
        let latch = Arc::new(Latch::new());
        latch.clear(Epoch(1));
        let sent = Arc::new(AtomicBool::new(false));
        let agent = {
            let (latch, sent) = (Arc::clone(&latch), Arc::clone(&sent));
            thread::spawn(move || {
                if let Ok(admission) = latch.admit(Epoch(1)) {
                    sent.store(true, Ordering::Release);
                    drop(admission);
                }
            })
        };
        let in_flight = latch.shut();
        let sent_before = sent.load(Ordering::Acquire);
        agent.join().expect("the agent ends");
        let sent_after = sent.load(Ordering::Acquire);
        assert!(in_flight > 0 || sent_before == sent_after, "sent after shut reported nothing");
    });
}

#[test]
fn a_decision_of_an_older_epoch_never_passes_a_cleared_latch() {
    loom::model(|| {
        let latch = Arc::new(Latch::new());
        latch.clear(Epoch(1));
        let is_clear = Arc::new(AtomicBool::new(false));
        let agent = {
            let (latch, is_clear) = (Arc::clone(&latch), Arc::clone(&is_clear));
            thread::spawn(move || {
                let cleared_before = is_clear.load(Ordering::Acquire);
                let admitted = latch.admit(Epoch(1)).is_ok();
                assert!(!(cleared_before && admitted), "an old decision passed");
            })
        };
        latch.shut();
        latch.clear(Epoch(2));
        is_clear.store(true, Ordering::Release);
        agent.join().expect("the agent ends");
    });
}

/// The broken twin: it looks at one word and counts in another.
struct Twin {
    shut: AtomicBool,
    in_flight: loom::sync::atomic::AtomicU32,
}

impl Twin {
    fn admit(&self) -> bool {
        if self.shut.load(Ordering::Acquire) {
            return false;
        }
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        true
    }

    fn shut(&self) -> u32 {
        self.shut.store(true, Ordering::Release);
        self.in_flight.load(Ordering::Acquire)
    }
}

#[test]
#[should_panic(expected = "sent after shut reported nothing")]
fn the_twin_that_looks_before_it_counts_is_caught() {
    loom::model(|| {
        let in_flight = loom::sync::atomic::AtomicU32::new(0);
        let twin = Arc::new(Twin { shut: AtomicBool::new(false), in_flight });
        let sent = Arc::new(AtomicBool::new(false));
        let agent = {
            let (twin, sent) = (Arc::clone(&twin), Arc::clone(&sent));
            thread::spawn(move || {
                if twin.admit() {
                    sent.store(true, Ordering::Release);
                }
            })
        };
        let in_flight = twin.shut();
        let sent_before = sent.load(Ordering::Acquire);
        agent.join().expect("the agent ends");
        let sent_after = sent.load(Ordering::Acquire);
        assert!(in_flight > 0 || sent_before == sent_after, "sent after shut reported nothing");
    });
}
