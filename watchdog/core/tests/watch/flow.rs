//! Stories about what the collector says of the records: refused, dropped by a rule, sampled.

use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{Stage, VerdictKind};
use watchdog_core::watch::{Conviction, Effect, WatchConfig};

use crate::rig::{Behaviour, Rig};

fn kinds(rig: &Rig) -> Vec<VerdictKind> {
    rig.kinds.get("a").into_iter().flatten().map(|(_, kind)| *kind).collect()
}

fn is_conviction(told: &(u64, Effect)) -> bool {
    matches!(told.1, Effect::ConvictCollector { .. })
}

#[test]
fn a_service_that_the_collector_refuses_is_not_blamed_for_the_silence() {
    let mut rig = Rig::live(Behaviour::default());
    rig.kinds.clear();
    rig.of("a").refused = true;
    rig.until("a", VerdictKind::Unknown, 2_300);
    assert_eq!(rig.stage("a"), Some(Stage::Collector));
    assert!(rig.verdict("a").reason.contains("refuses"), "{}", rig.verdict("a").reason);
    rig.run(20_000);
    assert_eq!(kinds(&rig), [VerdictKind::Unknown], "it stays the collector's doing");
    rig.of("a").refused = false;
    rig.until("a", VerdictKind::Live, 25_000);
    assert_eq!(kinds(&rig), [VerdictKind::Unknown, VerdictKind::Live]);
}

#[test]
fn a_service_that_falls_silent_after_it_was_refused_is_lost_in_its_own_right() {
    let mut rig = Rig::live(Behaviour::default());
    rig.of("a").refused = true;
    rig.run(10_000);
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 2_300);
    assert_eq!(rig.stage("a"), Some(Stage::Sdk), "probes return: the way is open");
}

#[test]
fn a_rule_that_drops_one_service_is_located_at_the_collector_although_probes_return() {
    for (metrics_ms, lost) in [(None, VerdictKind::TelemetryLost), (Some(500), VerdictKind::Lossy)]
    {
        let mut rig = Rig::live(Behaviour { metrics_ms, ..Behaviour::default() });
        rig.of("a").ruled_out = true;
        rig.until("a", lost, 2_300);
        assert_eq!(rig.stage("a"), Some(Stage::Collector));
        rig.run(20_000);
        assert_eq!((rig.kind("a"), rig.stage("a")), (lost, Some(Stage::Collector)));
        assert!(!rig.log.iter().any(is_conviction), "the same rules would drop the same again");
        rig.of("a").traces_ms = None;
        rig.run(3_000);
        assert_eq!(rig.stage("a"), Some(Stage::Sdk), "nothing came that could have been dropped");
    }
}

#[test]
fn a_rule_that_drops_the_probes_too_is_located_at_the_collector_and_no_backend_is_blamed() {
    let mut rig = Rig::live(Behaviour::default());
    rig.path.probes_pass = false;
    rig.path.flow.backend = true;
    for _ in 0..20 {
        rig.path.flow.received += 10;
        rig.path.flow.dropped += 10;
        rig.path.flow.dropped_by_rule += 10;
        rig.run(500);
    }
    assert_eq!((rig.kind("a"), rig.stage("a")), (VerdictKind::Unknown, Some(Stage::Collector)));
    assert!(rig.verdict("a").reason.contains("rule"), "{}", rig.verdict("a").reason);
    let told = |rig: &Rig| {
        let is_rules = |(_, effect): &&(u64, Effect)| {
            matches!(effect, Effect::ConvictCollector { reason: Conviction::Rules, .. })
        };
        rig.log.iter().filter(is_rules).count()
    };
    assert_eq!(told(&rig), 1, "it is told once");
    assert_eq!(rig.log.iter().filter(|told| is_conviction(told)).count(), 1, "and nothing else");
    assert!(!rig.watch.collector(Tick(rig.now)).convicted, "the process works");
    rig.path.probes_pass = true;
    rig.run(2_000);
    rig.path.probes_pass = false;
    for _ in 0..8 {
        rig.path.flow.received += 10;
        rig.path.flow.dropped += 10;
        rig.path.flow.dropped_by_rule += 10;
        rig.run(500);
    }
    assert_eq!(told(&rig), 2, "each time that probes fall silent");
}

#[test]
fn a_rule_that_lets_probes_pass_is_no_trouble() {
    let mut rig = Rig::live(Behaviour::default());
    rig.kinds.clear();
    rig.path.flow.backend = true;
    for _ in 0..20 {
        rig.path.flow.received += 10;
        rig.path.flow.forwarded += 5;
        rig.path.flow.dropped += 5;
        rig.path.flow.dropped_by_rule += 5;
        rig.run(500);
    }
    assert_eq!(kinds(&rig), [], "{:?}", rig.verdict("a"));
}

#[test]
fn a_sampler_that_is_turned_down_and_says_so_is_not_lossy() {
    let mut rig = Rig::live(Behaviour { work_ms: Some(10), ..Behaviour::default() });
    rig.kinds.clear();
    rig.of("a").sampled = 1;
    rig.run(60_000);
    assert_eq!(kinds(&rig), [], "{:?}", rig.verdict("a"));
}

#[test]
fn records_that_vanish_without_a_word_are_lossy() {
    let mut rig = Rig::live(Behaviour { work_ms: Some(10), ..Behaviour::default() });
    rig.of("a").share = 5;
    rig.until("a", VerdictKind::Lossy, 40_000);
}

#[test]
fn a_filter_that_drops_one_signal_is_seen_by_who_sends_it_and_convicts_the_collector() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    rig.add("a", Behaviour::default());
    rig.add("b", Behaviour { metrics_ms: Some(1_000), ..Behaviour::default() });
    rig.run(40_000);
    assert_eq!((rig.kind("a"), rig.kind("b")), (VerdictKind::Live, VerdictKind::Live));
    rig.path.drops = Some(Signal::Metrics);
    let found_ms = rig.until("b", VerdictKind::Unknown, 2_000);
    assert!(found_ms <= 1_300, "{found_ms} ms");
    assert_eq!(rig.stage("b"), Some(Stage::Collector));
    assert_eq!(rig.kind("a"), VerdictKind::Live, "it sends traces alone");
    rig.run(5_000);
    let drops = |(_, effect): &(u64, Effect)| {
        matches!(effect, Effect::ConvictCollector { reason: Conviction::Drops, .. })
    };
    assert!(rig.log.iter().any(drops));
}

#[test]
fn a_backend_that_takes_traces_and_refuses_metrics_is_no_fault_of_the_collector() {
    let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..Behaviour::default() });
    rig.path.flow.backend = true;
    rig.path.drops = Some(Signal::Metrics);
    for _ in 0..20 {
        rig.path.flow.received += 10;
        rig.path.flow.forwarded += 5;
        rig.path.flow.dropped += 5;
        rig.run(500);
    }
    assert_eq!((rig.kind("a"), rig.stage("a")), (VerdictKind::Unknown, Some(Stage::Backend)));
    assert!(!rig.log.iter().any(is_conviction));
}
