//! Stories about the path between services and verdict: probes, collector, backend, and the
//! watchdog's own stalls.

use watchdog_core::probe::Way;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{ProbeState, Stage, VerdictKind};
use watchdog_core::watch::{Conviction, Effect, Event, ReadBack, ReadbackBounds, WatchConfig};

use crate::rig::{Behaviour, Rig};

fn quick() -> Behaviour {
    Behaviour::default()
}

#[test]
fn a_wrong_answer_of_a_probe_is_a_forgery() {
    let mut rig = Rig::live(quick());
    rig.path.probes_right = false;
    rig.until("a", VerdictKind::Forged, 600);
    assert_eq!(rig.verdict("a").probes.state, ProbeState::Wrong);
    rig.path.probes_right = true;
    rig.until("a", VerdictKind::Live, 1_200);
}

#[test]
fn without_returning_probes_nothing_is_live() {
    let mut rig = Rig::live(quick());
    rig.path.probes_pass = false;
    rig.until("a", VerdictKind::Unknown, 1_300);
    assert_eq!(rig.stage("a"), Some(Stage::Collector));
}

#[test]
fn a_hung_collector_is_convicted_once_and_its_services_are_lost_behind_it() {
    let mut rig = Rig::live(quick());
    let hung = rig.now;
    (rig.path.beats, rig.path.answers, rig.path.probes_pass) = (false, false, false);
    rig.run(10_000);
    let convictions: Vec<_> = rig
        .log
        .iter()
        .filter_map(|(at, effect)| match effect {
            Effect::ConvictCollector { reason, .. } => Some((*at - hung, *reason)),
            Effect::VerdictChanged { .. } | Effect::MassSilence { .. } => None,
        })
        .collect();
    assert_eq!(convictions.len(), 1, "{convictions:?}");
    assert_eq!(convictions[0].1, Conviction::Silent);
    assert!((1_900..=2_200).contains(&convictions[0].0), "{convictions:?}");
    assert_eq!(rig.kind("a"), VerdictKind::TelemetryLost);
    assert_eq!(rig.stage("a"), Some(Stage::Collector));
    assert!(rig.watch.collector(Tick(rig.now)).convicted);
    rig.restart_collector("9000-c");
    rig.until("a", VerdictKind::Live, 2_000);
    assert!(!rig.watch.collector(Tick(rig.now)).convicted);
}

#[test]
fn a_lost_beat_alone_convicts_nobody() {
    let mut rig = Rig::live(quick());
    rig.path.beats = false;
    rig.run(20_000);
    let convicted = |(_, effect): &(u64, Effect)| matches!(effect, Effect::ConvictCollector { .. });
    assert!(!rig.log.iter().any(convicted), "probes return: it works");
    rig.path.probes_pass = false;
    rig.run(1_500);
    assert!(rig.log.iter().any(convicted), "two witnesses agree");
}

#[test]
fn a_collector_whose_loop_hangs_is_convicted_though_it_beats() {
    let mut rig = Rig::live(quick());
    (rig.path.turns, rig.path.probes_pass) = (false, false);
    rig.run(3_000);
    let hung = |(_, effect): &(u64, Effect)| {
        matches!(effect, Effect::ConvictCollector { reason: Conviction::Hung, .. })
    };
    assert!(rig.log.iter().any(hung));
}

#[test]
fn a_collector_that_swallows_everything_is_convicted_after_five_seconds() {
    let mut rig = Rig::live(quick());
    let broken = rig.now;
    rig.path.probes_pass = false;
    rig.run(6_000);
    let found = rig.log.iter().find_map(|(at, effect)| match effect {
        Effect::ConvictCollector { reason: Conviction::Drops, .. } => Some(*at - broken),
        Effect::ConvictCollector { .. }
        | Effect::VerdictChanged { .. }
        | Effect::MassSilence { .. } => None,
    });
    assert!((4_900..=5_400).contains(&found.expect("convicted")), "{found:?}");
}

#[test]
fn a_backend_that_takes_nothing_is_no_fault_of_the_collector() {
    let mut rig = Rig::live(quick());
    rig.path.probes_pass = false;
    rig.path.flow.backend = true;
    rig.path.flow.queued = 100;
    rig.run(20_000);
    let convicted = |(_, effect): &(u64, Effect)| matches!(effect, Effect::ConvictCollector { .. });
    assert!(!rig.log.iter().any(convicted));
    assert_eq!(rig.kind("a"), VerdictKind::Unknown);
    assert_eq!(rig.stage("a"), Some(Stage::Backend));
}

#[test]
fn a_backend_that_refuses_for_good_is_no_fault_of_the_collector() {
    let mut rig = Rig::live(quick());
    rig.path.probes_pass = false;
    rig.path.flow.backend = true;
    for _ in 0..40 {
        rig.path.flow.received += 10;
        rig.path.flow.dropped += 10;
        rig.run(500);
    }
    let convicted = |(_, effect): &(u64, Effect)| matches!(effect, Effect::ConvictCollector { .. });
    assert!(!rig.log.iter().any(convicted));
    assert_eq!(rig.stage("a"), Some(Stage::Backend));
}

#[test]
fn an_exporter_that_swallows_what_it_takes_convicts_the_collector() {
    let mut rig = Rig::live(quick());
    rig.path.probes_pass = false;
    rig.path.flow.backend = true;
    for _ in 0..12 {
        rig.path.flow.received += 10;
        rig.run(500);
    }
    assert_eq!(rig.stage("a"), Some(Stage::Exporter));
    let swallows = |(_, effect): &(u64, Effect)| {
        matches!(effect, Effect::ConvictCollector { reason: Conviction::Drops, .. })
    };
    assert!(rig.log.iter().any(swallows));
}

#[test]
fn no_suspicion_arises_from_the_observers_own_stall() {
    for stall in [600, 3_000, 30_000] {
        let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..quick() });
        rig.kinds.clear();
        rig.stall_observer(stall);
        rig.run(stall);
        assert_eq!(rig.kind("a"), VerdictKind::Unknown);
        assert_eq!(rig.stage("a"), Some(Stage::Observer));
        rig.until("a", VerdictKind::Live, 3_000);
        let bad = |kind: &VerdictKind| !matches!(kind, VerdictKind::Live | VerdictKind::Unknown);
        assert!(!rig.kinds["a"].iter().any(|(_, kind)| bad(kind)), "{stall}: {:?}", rig.kinds);
        assert!(rig.verdict("a").observer.healthy);
    }
}

#[test]
fn a_fault_that_came_during_the_stall_is_found_after_it() {
    let mut rig = Rig::live(quick());
    rig.stall_observer(3_000);
    rig.run(1_500);
    rig.of("a").traces_ms = None;
    rig.run(1_500);
    rig.until("a", VerdictKind::TelemetryLost, 3_400);
    let mut rig = Rig::live(quick());
    rig.stall_observer(3_000);
    rig.services.clear();
    rig.run(3_000);
    rig.until("a", VerdictKind::Down, 3_400);
}

#[test]
fn a_clock_step_voids_all_ages() {
    let mut rig = Rig::live(quick());
    rig.tell(Event::ClockStepped);
    assert_eq!(rig.kind("a"), VerdictKind::Unknown);
    assert_eq!(rig.stage("a"), Some(Stage::Observer));
    rig.until("a", VerdictKind::Live, 3_000);
}

#[test]
fn most_services_silent_at_once_are_mass_silence_and_convict_nobody() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    let names: Vec<_> = (0..10).map(|number| format!("s{number}")).collect();
    for name in &names {
        rig.add(name, quick());
    }
    rig.run(30_000);
    for name in &names[..8] {
        rig.of(name).traces_ms = None;
    }
    rig.run(8_000);
    assert!(rig.watch.mass_silence());
    assert_eq!(rig.stage("s0"), Some(Stage::Observer));
    let convicted = |(_, effect): &(u64, Effect)| matches!(effect, Effect::ConvictCollector { .. });
    assert!(!rig.log.iter().any(convicted));
    for name in &names[..8] {
        rig.of(name).traces_ms = Some(1_000);
    }
    rig.run(5_000);
    assert!(!rig.watch.mass_silence());
    let told: Vec<_> = rig
        .log
        .iter()
        .filter_map(|(_, effect)| match effect {
            Effect::MassSilence { on } => Some(*on),
            Effect::ConvictCollector { .. } | Effect::VerdictChanged { .. } => None,
        })
        .collect();
    assert_eq!(told, [true, false]);
}

#[test]
fn most_services_cut_off_at_once_are_mass_silence_although_beats_are_missed_first() {
    let config = WatchConfig { beat_interval_ms: 100, ..WatchConfig::default() };
    let mut rig = Rig::new(config, vec![]);
    let quick = Behaviour { beat_ms: 100, ..quick() };
    (0..5).for_each(|number| rig.add(&format!("s{number}"), quick.clone()));
    rig.run(30_000);
    rig.services.clear();
    rig.run(6_000);
    let missed = |(_, kind): &(u64, VerdictKind)| *kind == VerdictKind::HeartbeatLost;
    assert!(rig.kinds["s0"].iter().any(missed));
    assert_eq!(rig.kind("s0"), VerdictKind::Down);
    assert!(rig.watch.mass_silence());
    assert_eq!(rig.stage("s0"), Some(Stage::Observer));
}

#[test]
fn services_behind_a_hung_collector_are_no_mass_silence() {
    let mut rig = Rig::new(WatchConfig::default(), vec![]);
    for number in 0..10 {
        rig.add(&format!("s{number}"), quick());
    }
    rig.run(30_000);
    (rig.path.beats, rig.path.answers, rig.path.probes_pass) = (false, false, false);
    rig.run(4_000);
    rig.restart_collector("9000-c");
    rig.run(10_000);
    let mass = |(_, effect): &(u64, Effect)| matches!(effect, Effect::MassSilence { .. });
    assert!(!rig.log.iter().any(mass));
    assert_eq!(rig.kind("s3"), VerdictKind::Live);
}

#[test]
fn a_restarted_collector_does_not_make_old_counts_new() {
    let mut rig = Rig::live(quick());
    rig.restart_collector("9000-c");
    rig.run(20_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    let records = rig.verdict("a").signals.values().next().expect("traces").records;
    assert!(records.expect("it arrived") <= 20 * 61, "{records:?}");
}

/// Records wait from now on; for `seconds` the backend is asked each second, and gives what was
/// sent straight to it if `lives`.
fn wait_for_backend(rig: &mut Rig, seconds: u64, lives: bool) {
    (rig.path.probes_pass, rig.path.flow.backend, rig.path.flow.queued) = (false, true, 100);
    for _ in 0..seconds {
        let found = if lives { ReadBack::Right { age_ms: 20 } } else { ReadBack::Unverifiable };
        rig.tell(Event::ReadBack { way: Way::Direct, found });
        rig.run(1_000);
    }
}

#[test]
fn records_that_wait_are_the_exporters_fault_only_if_the_backend_takes_others_meanwhile() {
    let readback = Some(ReadbackBounds { direct: true, late_ms: 60_000 });
    let mut rig = Rig::new(WatchConfig { readback, ..WatchConfig::default() }, vec![]);
    rig.add("a", quick());
    rig.run(40_000);
    // What was sent before they waited returns, and proves nothing of later.
    rig.tell(Event::ReadBack { way: Way::Direct, found: ReadBack::Right { age_ms: 20 } });
    let dead = &mut rig.clone();
    (dead.path.probes_pass, dead.path.flow.backend, dead.path.flow.queued) = (false, true, 100);
    dead.run(1_500);
    assert_eq!((dead.kind("a"), dead.stage("a")), (VerdictKind::Unknown, None), "too soon to say");
    dead.run(8_500);
    assert_eq!(dead.stage("a"), Some(Stage::Backend));
    wait_for_backend(dead, 5, false);
    assert_eq!(dead.stage("a"), Some(Stage::Backend));
    let convicted = |(_, effect): &(u64, Effect)| matches!(effect, Effect::ConvictCollector { .. });
    assert!(!dead.log.iter().any(convicted));

    wait_for_backend(&mut rig, 4, true);
    assert_eq!(rig.stage("a"), Some(Stage::Exporter));
    wait_for_backend(&mut rig, 3, true);
    assert!(rig.log.iter().any(convicted), "it is not the backend");
}
