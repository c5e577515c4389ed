//! What a person would expect of the watchdog, one story each.

use watchdog_core::tick::Tick;
use watchdog_core::verdict::{BeatState, SignalState, Stage, VerdictKind};
use watchdog_core::watch::WatchConfig;

use crate::rig::{Behaviour, Rig, START, expected, service};

const fn fast() -> u64 {
    100
}

fn quick() -> Behaviour {
    Behaviour { beat_ms: 1_000, ..Behaviour::default() }
}

/// A service that beats ten times a second under a contract that says so.
fn fast_rig(behaviour: Behaviour) -> Rig {
    let mut contract = expected("a");
    contract.beat_interval_ms = Some(fast());
    let mut rig = Rig::new(WatchConfig::default(), vec![contract]);
    rig.add("a", Behaviour { beat_ms: fast(), ..behaviour });
    rig.run(40_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live, "{:?}", rig.verdict("a"));
    rig
}

#[test]
fn a_fresh_watch_knows_nothing() {
    let rig = Rig::new(WatchConfig::default(), vec![expected("a"), expected("b")]);
    for verdict in rig.watch.verdicts(Tick(START)) {
        assert_eq!(verdict.verdict, VerdictKind::Unknown);
        assert_eq!(verdict.beats.state, BeatState::Never);
        assert_eq!(verdict.beats.age_ms, None);
        assert!(verdict.signals.is_empty());
        assert_eq!(verdict.witness, None);
    }
}

#[test]
fn a_service_that_is_never_heard_stays_unknown_for_ever() {
    let mut rig = Rig::new(WatchConfig::default(), vec![expected("a")]);
    rig.run(200_000);
    assert_eq!(rig.kind("a"), VerdictKind::Unknown);
    assert_eq!(rig.stage("a"), None);
}

#[test]
fn a_service_that_beats_works_and_exports_becomes_live_in_seconds() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    rig.add("a", quick());
    let took = rig.until("a", VerdictKind::Live, 4_000);
    assert!(took <= 4_000);
    rig.run(60_000);
    assert_eq!(rig.kinds["a"].len(), 2, "heard, then live, and live ever after: {:?}", rig.kinds);
}

#[test]
fn a_blocked_exporter_is_the_recursive_crash_within_two_periods() {
    for work_ms in [5, 20, 50, 100] {
        let mut rig = Rig::live(Behaviour { work_ms: Some(work_ms), ..quick() });
        rig.of("a").traces_ms = None;
        rig.until("a", VerdictKind::TelemetryLost, 4_000);
        let verdict = rig.verdict("a");
        let age = verdict.signals.values().next().expect("traces").last_arrival_age_ms;
        assert!(age.expect("it arrived once") <= 2_150, "{work_ms}: {age:?}");
        rig.run(300);
        assert_eq!(rig.stage("a"), Some(Stage::Sdk), "a probe has come back since");
    }
}

#[test]
fn a_blocked_exporter_of_a_fast_service_is_found_in_two_of_its_periods() {
    let behaviour = Behaviour { work_ms: Some(20), traces_ms: Some(200), ..Behaviour::default() };
    let mut rig = fast_rig(behaviour);
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 1_000);
    let age = rig.verdict("a").signals.values().next().expect("traces").last_arrival_age_ms;
    assert!(age.expect("it arrived once") <= 550, "{age:?}");
}

#[test]
fn a_lost_service_recovers_when_its_telemetry_does() {
    let mut rig = Rig::live(quick());
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 4_000);
    rig.run(10_000);
    assert_eq!(rig.kind("a"), VerdictKind::TelemetryLost);
    rig.of("a").traces_ms = Some(1_000);
    rig.until("a", VerdictKind::Live, 2_000);
}

#[test]
fn a_service_without_work_is_idle_and_never_lost() {
    let mut rig = Rig::live(quick());
    rig.of("a").work_ms = None;
    rig.until("a", VerdictKind::Idle, 8_000);
    rig.run(120_000);
    assert_eq!(rig.kind("a"), VerdictKind::Idle);
    rig.of("a").work_ms = Some(50);
    rig.until("a", VerdictKind::Live, 3_000);
    let bad = |kind: &VerdictKind| {
        !matches!(kind, VerdictKind::Live | VerdictKind::Idle | VerdictKind::Unknown)
    };
    assert!(!rig.kinds["a"].iter().any(|(_, kind)| bad(kind)), "{:?}", rig.kinds);
}

#[test]
fn sparse_work_is_never_taken_for_a_loss() {
    for (work_ms, traces_ms) in [(700, 1_000), (1_700, 200), (3_100, 5_000), (9_000, 1_000)] {
        let mut rig = Rig::new(WatchConfig::default(), vec![]);
        rig.add("a", Behaviour { work_ms: Some(work_ms), traces_ms: Some(traces_ms), ..quick() });
        rig.run(400_000);
        let lost = |kind: &VerdictKind| *kind > VerdictKind::Unknown;
        let found: Vec<_> = rig.kinds["a"].iter().filter(|(_, kind)| lost(kind)).collect();
        assert!(found.is_empty(), "{work_ms} {traces_ms}: {found:?}");
    }
}

#[test]
fn work_that_becomes_sparse_or_dense_is_never_taken_for_a_loss() {
    let mut rig = Rig::live(quick());
    for work_ms in [2_300, 50, 700, 20, 4_100, 50, 1_100, 10] {
        rig.of("a").work_ms = Some(work_ms);
        rig.run(40_000);
    }
    let lost = |kind: &VerdictKind| *kind > VerdictKind::Unknown;
    let found: Vec<_> = rig.kinds["a"].iter().filter(|(_, kind)| lost(kind)).collect();
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn beats_without_counters_cannot_tell_idle_from_lost() {
    let mut rig = Rig::live(Behaviour { counts: false, ..quick() });
    rig.of("a").traces_ms = None;
    rig.run(20_000);
    assert_eq!(rig.kind("a"), VerdictKind::Unknown);
    assert!(rig.verdict("a").reason.contains("no work counter"));
    assert_eq!(rig.verdict("a").witness, None);
}

#[test]
fn a_stopped_process_that_beats_ten_times_a_second_is_suspected_in_550_ms() {
    let behaviour = Behaviour { work_ms: Some(20), traces_ms: Some(100), ..Behaviour::default() };
    let mut rig = fast_rig(behaviour);
    let stopped = rig.now;
    rig.services.clear();
    while rig.verdict("a").beats.state == BeatState::Fresh {
        rig.run(1);
    }
    assert!(rig.now - stopped <= 551, "{}", rig.now - stopped);
    assert_eq!(rig.kind("a"), VerdictKind::Down);
    while rig.verdict("a").beats.state == BeatState::Suspect {
        rig.run(1);
    }
    assert!((2_000..=2_200).contains(&(rig.now - stopped)), "{}", rig.now - stopped);
}

#[test]
fn a_stopped_process_is_never_called_blind_on_the_way_down() {
    for phase_ms in [130, 400, 700, 990] {
        let mut rig = Rig::live(Behaviour { phase_ms, work_ms: Some(20), ..quick() });
        for _ in 0..20 {
            rig.run(50);
            let mut stopped = rig.clone();
            stopped.kinds.clear();
            stopped.services.clear();
            stopped.until("a", VerdictKind::Down, 3_300);
            let blind = |(_, kind): &(u64, VerdictKind)| *kind == VerdictKind::TelemetryLost;
            assert!(!stopped.kinds["a"].iter().any(blind), "{phase_ms}: {:?}", stopped.kinds);
        }
    }
}

#[test]
fn a_service_that_is_heard_only_through_telemetry_has_lost_its_heartbeat() {
    let mut rig = Rig::live(quick());
    rig.of("a").beats = false;
    rig.until("a", VerdictKind::HeartbeatLost, 3_200);
    rig.run(30_000);
    assert_eq!(rig.kind("a"), VerdictKind::HeartbeatLost);
}

#[test]
fn a_timer_that_kicks_a_hung_loop_does_not_keep_it_alive() {
    let mut rig = Rig::live(quick());
    rig.of("a").turns = false;
    rig.until("a", VerdictKind::HeartbeatLost, 7_000);
    assert_eq!(rig.verdict("a").beats.state, BeatState::Stuck);
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::Down, 7_000);
    assert_eq!(rig.stage("a"), Some(Stage::Service));
}

#[test]
fn one_silent_signal_of_two_is_a_loss_and_is_named() {
    let mut contract = expected("a");
    contract.expect =
        Some(vec![watchdog_core::tally::Signal::Traces, watchdog_core::tally::Signal::Metrics]);
    let mut rig = Rig::new(WatchConfig::default(), vec![contract]);
    rig.add("a", Behaviour { metrics_ms: Some(1_000), ..quick() });
    rig.run(20_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::Lossy, 4_000);
    assert!(rig.verdict("a").reason.contains("traces"), "{}", rig.verdict("a").reason);
    rig.of("a").metrics_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 4_000);
}

#[test]
fn a_signal_that_came_only_at_the_start_is_not_missed() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    rig.add("a", Behaviour { metrics_ms: Some(200), ..quick() });
    rig.run(1_200);
    rig.of("a").metrics_ms = None;
    rig.run(60_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    let lost = |(_, kind): &(u64, VerdictKind)| *kind > VerdictKind::Unknown;
    assert!(!rig.kinds["a"].iter().any(lost), "{:?}", rig.kinds);
}

#[test]
fn signals_that_stop_together_are_lost_together() {
    for metrics_ms in [900, 1_000, 1_100, 1_300] {
        let mut rig = Rig::live(Behaviour { metrics_ms: Some(metrics_ms), ..quick() });
        rig.kinds.clear();
        (rig.of("a").traces_ms, rig.of("a").metrics_ms) = (None, None);
        rig.until("a", VerdictKind::TelemetryLost, 4_000);
        assert!(!rig.kinds["a"].iter().any(|(_, kind)| *kind == VerdictKind::Lossy));
    }
}

#[test]
fn a_signal_sent_in_the_first_dwell_is_expected_ever_after() {
    let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..quick() });
    rig.of("a").metrics_ms = None;
    rig.until("a", VerdictKind::Lossy, 4_000);
    rig.run(100_000);
    assert_eq!(rig.kind("a"), VerdictKind::Lossy);
    assert!(rig.verdict("a").signals.values().all(|signal| signal.expected));
}

#[test]
fn halved_counts_are_lossy() {
    let mut rig = Rig::live(quick());
    rig.of("a").share = 5;
    rig.until("a", VerdictKind::Lossy, 20_000);
    assert_eq!(rig.stage("a"), Some(Stage::Sdk));
    rig.of("a").share = 10;
    rig.until("a", VerdictKind::Live, 40_000);
}

#[test]
fn a_service_that_samples_one_request_in_ten_is_live() {
    let mut rig = Rig::live(Behaviour { share: 1, work_ms: Some(10), ..quick() });
    rig.run(60_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    assert_eq!(rig.kinds["a"].len(), 2, "{:?}", rig.kinds);
}

#[test]
fn metrics_that_stand_still_while_work_moves_are_frozen() {
    let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..quick() });
    rig.of("a").changes = false;
    rig.until("a", VerdictKind::Frozen, 5_000);
    assert_eq!(rig.stage("a"), Some(Stage::Sdk));
    rig.of("a").changes = true;
    rig.until("a", VerdictKind::Live, 2_000);
}

#[test]
fn metrics_that_stand_still_without_work_are_not_frozen() {
    let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..quick() });
    for phase in 0..10 {
        rig.run(phase * 110);
        rig.of("a").work_ms = None;
        rig.run(1_000);
        rig.of("a").changes = false;
        rig.run(60_000);
        assert_eq!(rig.kind("a"), VerdictKind::Idle);
        (rig.of("a").work_ms, rig.of("a").changes) = (Some(50), true);
        rig.until("a", VerdictKind::Live, 4_000);
    }
    assert!(!rig.kinds["a"].iter().any(|(_, kind)| *kind == VerdictKind::Frozen));
}

#[test]
fn a_restart_with_a_new_boot_is_not_a_loss() {
    let mut rig = Rig::live(quick());
    for (boot, pause) in [("2000-b", 100), ("3000-c", 1_200), ("4000-d", 1_900)] {
        rig.kinds.clear();
        let mut behaviour = rig.of("a").clone();
        rig.services.clear();
        rig.run(pause);
        behaviour.boot = String::from(boot);
        rig.services.insert((String::from("a"), "i1"), behaviour);
        rig.until("a", VerdictKind::Live, 5_000);
        rig.run(10_000);
        assert_eq!(rig.kind("a"), VerdictKind::Live);
        let lost = |kind: &VerdictKind| {
            matches!(kind, VerdictKind::TelemetryLost | VerdictKind::Lossy | VerdictKind::Frozen)
        };
        let kinds = rig.kinds.get("a").cloned().unwrap_or_default();
        assert!(!kinds.iter().any(|(_, kind)| lost(kind)), "{boot}: {kinds:?}");
    }
}

#[test]
fn a_planned_stop_has_its_grace_and_then_counts() {
    let mut rig = Rig::live(quick());
    rig.of("a").leaving = true;
    rig.run(1_100);
    rig.services.clear();
    rig.kinds.clear();
    rig.run(3_600);
    assert_eq!(rig.kind("a"), VerdictKind::Unknown);
    assert!(rig.verdict("a").reason.contains("planned stop"), "{:?}", rig.verdict("a"));
    rig.until("a", VerdictKind::Down, 4_000);
}

#[test]
fn a_bad_revision_that_never_exports_is_lost_from_its_first_beats() {
    let mut rig = Rig::live(quick());
    let behaviour = rig.of("a");
    behaviour.boot = String::from("2000-b");
    behaviour.revision = "r2";
    behaviour.traces_ms = None;
    let took = rig.until("a", VerdictKind::TelemetryLost, 5_000);
    assert!(took <= 3_300, "{took}");
    let revisions = rig.verdict("a").revisions;
    let r2 = revisions.iter().find(|evidence| evidence.revision.as_str() == "r2").expect("r2");
    assert_eq!(r2.records, None, "absence is never a number");
    assert_eq!(r2.durations, None);
    assert!(r2.witnessed.expect("its beats count") > 0);
    let r1 = revisions.iter().find(|evidence| evidence.revision.as_str() == "r1").expect("r1");
    let durations = r1.durations.expect("its spans took time");
    assert_eq!(Some(durations[3]), r1.requests, "each request is in its bucket");
}

#[test]
fn one_blind_instance_among_three_is_lossy() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    for (instance, boot) in [("i1", "1-a"), ("i2", "1-b"), ("i3", "1-c")] {
        rig.add("a", Behaviour { instance, boot: String::from(boot), ..quick() });
    }
    rig.run(40_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live, "{:?}", rig.verdict("a"));
    rig.of("a").traces_ms = None;
    let took = rig.until("a", VerdictKind::Lossy, 4_000);
    assert!(took <= 3_300, "{took}");
}

#[test]
fn fewer_instances_than_the_contract_asks_for_hold() {
    let mut contract = expected("a");
    contract.instances_min = Some(2);
    let mut rig = Rig::new(WatchConfig::default(), vec![contract]);
    for (instance, boot) in [("i1", "1-a"), ("i2", "1-b")] {
        rig.add("a", Behaviour { instance, boot: String::from(boot), ..quick() });
    }
    rig.run(10_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    rig.services.remove(&(String::from("a"), "i2"));
    rig.until("a", VerdictKind::HeartbeatLost, 3_300);
}

#[test]
fn an_exporter_that_slows_down_step_by_step_is_caught() {
    let mut rig = Rig::live(Behaviour { traces_ms: Some(500), ..quick() });
    for traces_ms in (600..8_000).step_by(100) {
        rig.of("a").traces_ms = Some(traces_ms);
        rig.run(3_000);
    }
    let caught = rig.kinds["a"].iter().any(|(_, kind)| *kind == VerdictKind::TelemetryLost);
    assert!(caught, "{:?}", rig.kinds);
}

#[test]
fn a_service_unknown_to_the_configuration_is_listed() {
    let rig = Rig::live(quick());
    let verdicts = rig.watch.verdicts(Tick(rig.now));
    assert_eq!(verdicts.len(), 1);
    assert_eq!(verdicts[0].environment.as_str(), "default");
    assert_eq!(verdicts[0].signals.values().next().expect("traces").state, SignalState::Fresh);
    assert!(rig.watch.verdict(&service("nobody"), Tick(rig.now)).is_none());
}

#[test]
fn the_defaults_of_batch_exporters_are_no_loss() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    let behaviour = Behaviour { traces_ms: Some(5_000), metrics_ms: Some(60_000), ..quick() };
    rig.add("a", behaviour);
    rig.run(400_000);
    let lost = |kind: &VerdictKind| *kind > VerdictKind::Unknown;
    assert!(!rig.kinds["a"].iter().any(|(_, kind)| lost(kind)), "{:?}", rig.kinds);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 12_000);
}
