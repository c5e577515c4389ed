//! The missing-signal conformance suite: every fault, in every phase, over many seeds.
//!
//! Watchdog and gate are the real cores; the rules of others are re-stated beside them. A few seeds
//! run here; `cargo bench -p agent-gate-core --bench missing_signals` runs a thousand of each.
//!
//! Invariant: no rollout is allowed or confirmed while its fault is there to be seen.

#![cfg(not(loom))]

mod chance;
mod collector;
mod fault;
mod gated;
mod peers;
mod plan;
mod service;
mod table;
mod trial;

use fault::{Fault, Phase};
use peers::{Peer, waves_on};
use plan::Plan;
use trial::Trial;

const SEEDS: u64 = 12;

#[test]
fn no_fault_is_waved_through_but_by_a_known_gap() {
    let cells = table::faulty(SEEDS);
    println!("{}\n{}", table::beside_the_peers(&cells), table::ours(&cells));
    let new = table::unexpected(&cells);
    assert!(new.is_empty(), "waved through, by fault, phase and seeds: {new:#?}");
    assert_eq!(table::frozen_idle(&cells), [], "idle is no fault");
}

#[test]
fn healthy_rollouts_are_confirmed() {
    let healthy = table::healthy(100);
    assert_eq!(healthy.bad, [], "seeds that were not confirmed");
    assert_eq!(healthy.froze, 0);
}

#[test]
fn one_seed_run_twice_gives_one_outcome() {
    for fault in Fault::ALL {
        let plan = Plan::new(Some(*fault), Phase::Baking, 7);
        assert_eq!(Trial::new(plan.clone()).run(), Trial::new(plan).run(), "{fault:?}");
    }
}

/// The cells that stand in the peers' own sources and documents.
#[test]
fn the_peers_answer_as_their_sources_say() {
    use Peer::{
        ArgoAll, ArgoFailure, Datadog, FlaggerInflux, FlaggerPrometheus, GrowthBook, Kayenta, Keptn,
    };
    let passes = [
        (Fault::ExporterHangs, vec![ArgoAll, FlaggerInflux, Kayenta, Keptn, GrowthBook]),
        (Fault::NotANumber, vec![ArgoFailure, FlaggerInflux, Kayenta, Keptn, GrowthBook]),
        (
            Fault::ConstantZero,
            vec![ArgoAll, FlaggerPrometheus, Kayenta, Keptn, GrowthBook, Datadog],
        ),
        (Fault::StaleLast, vec![ArgoAll, FlaggerPrometheus, Kayenta, Keptn, GrowthBook, Datadog]),
        (Fault::BackendDown, vec![Keptn, Datadog]),
        (Fault::FrozenCounters, vec![ArgoAll, FlaggerPrometheus, Kayenta, GrowthBook, Datadog]),
        (Fault::Halved, vec![ArgoAll, FlaggerPrometheus, Kayenta, Keptn, GrowthBook, Datadog]),
        (Fault::BothArmsSilent, vec![ArgoAll, Kayenta, GrowthBook]),
    ];
    for (fault, expected) in passes {
        let plan = Plan::new(Some(fault), Phase::AtRequest, 1);
        for peer in expected {
            assert!(waves_on(peer, &plan), "{} passes {}", peer.as_str(), fault.as_str());
        }
    }
    let holds = [
        (Fault::ExporterHangs, FlaggerPrometheus),
        (Fault::ExporterHangs, Datadog),
        (Fault::NotANumber, ArgoAll),
        (Fault::NotANumber, FlaggerPrometheus),
        (Fault::BackendDown, ArgoAll),
        (Fault::BackendDown, FlaggerPrometheus),
        (Fault::BackendDown, GrowthBook),
        (Fault::BothArmsSilent, FlaggerPrometheus),
    ];
    for (fault, peer) in holds {
        let plan = Plan::new(Some(fault), Phase::AtRequest, 1);
        assert!(!waves_on(peer, &plan), "{} holds {}", peer.as_str(), fault.as_str());
    }
}
