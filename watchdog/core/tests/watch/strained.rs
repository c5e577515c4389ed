//! A watchdog that is slow itself: it accuses nobody falsely, and still finds who is dead.

use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::{Effect, Event, Strain, WatchConfig};

use crate::rig::{Behaviour, Rig};
use crate::slowness::Slowness;

const MINUTE_MS: u64 = 60_000;

/// Services that beat ten times a second and export often and seldom.
fn rig(config: WatchConfig) -> Rig {
    let mut rig = Rig::new(WatchConfig { beat_interval_ms: 100, ..config }, vec![]);
    let quick = Behaviour { beat_ms: 100, work_ms: Some(20), ..Behaviour::default() };
    for (name, behaviour) in [
        ("quick", Behaviour { traces_ms: Some(200), metrics_ms: Some(200), ..quick.clone() }),
        ("steady", Behaviour { traces_ms: Some(500), metrics_ms: Some(1_000), ..quick.clone() }),
        ("slow", Behaviour { traces_ms: Some(1_000), ..quick }),
    ] {
        rig.add(name, behaviour);
    }
    rig.run(40_000);
    assert_eq!(kinds_now(&rig), [VerdictKind::Live; 3]);
    rig.kinds.clear();
    rig
}

fn kinds_now(rig: &Rig) -> [VerdictKind; 3] {
    ["quick", "steady", "slow"].map(|name| rig.kind(name))
}

fn accusations(rig: &Rig) -> Vec<(u64, VerdictKind)> {
    let is_accusation = |(_, kind): &&(u64, VerdictKind)| match kind {
        VerdictKind::Live | VerdictKind::Unknown | VerdictKind::Idle => false,
        VerdictKind::HeartbeatLost
        | VerdictKind::Lossy
        | VerdictKind::Frozen
        | VerdictKind::Forged
        | VerdictKind::TelemetryLost
        | VerdictKind::Down => true,
    };
    rig.kinds.values().flatten().filter(is_accusation).copied().collect()
}

#[test]
fn turns_of_300_ms_for_an_hour_accuse_nobody_and_who_is_dead_is_still_found() {
    let mut rig = rig(WatchConfig::default());
    rig.slow = Some(Slowness::new(300, rig.now));
    rig.run(60 * MINUTE_MS);
    assert_eq!(accusations(&rig), []);
    assert!(rig.log.iter().all(|(_, effect)| !is_conviction(effect)), "{:?}", rig.log);
    assert_eq!(rig.verdict("quick").observer.strain, Strain::MAX);
    rig.services.retain(|(name, _), _| name != "quick");
    // Half a second for beats, one for traces, each doubled; and two turns until they are told.
    rig.until("quick", VerdictKind::Down, 2 * 1_000 + 2 * 450);
    assert_eq!(rig.kind("steady"), VerdictKind::Live);
}

#[test]
fn a_dead_collector_is_convicted_within_the_stretched_bound_and_soon_again_after_it() {
    let mut rig = rig(WatchConfig::default());
    rig.slow = Some(Slowness::new(300, rig.now));
    rig.run(MINUTE_MS);
    let convicted = |rig: &mut Rig, within_ms: u64| {
        (rig.path.beats, rig.path.answers, rig.path.probes_pass) = (false, false, false);
        let begin = rig.now;
        while !rig.log.iter().any(|(_, effect)| is_conviction(effect)) {
            assert!(rig.now - begin <= within_ms, "not convicted: {:?}", rig.log);
            rig.run(10);
        }
        rig.now - begin
    };
    let slow_ms = convicted(&mut rig, 2 * 2_000 + 2 * 450);
    assert!(slow_ms > 2_100, "patience is stretched: {slow_ms} ms");
    rig.restart_collector("9000-c");
    rig.run(1_500);
    rig.slow = None;
    rig.run(30_000);
    rig.log.clear();
    assert_eq!(rig.verdict("quick").observer.strain, 0, "it decays");
    assert!(convicted(&mut rig, 2_300) >= 1_900);
}

#[test]
fn an_echo_that_is_late_stretches_what_is_suspected_and_no_lateness_stretches_nothing() {
    for (late_ms, level, suspected) in [(0, 0, 500..=560), (99, 0, 500..=560), (450, 4, 750..=840)]
    {
        let mut rig = rig(WatchConfig::default());
        rig.tell(Event::EchoLate { late_ms });
        assert_eq!(rig.verdict("quick").observer.strain, level);
        rig.services.retain(|(name, _), _| name != "quick");
        let begin = rig.now;
        while rig.kind("quick") == VerdictKind::Live {
            rig.run(1);
        }
        assert!(suspected.contains(&(rig.now - begin)), "{late_ms}: {} ms", rig.now - begin);
    }
}

fn is_conviction(effect: &Effect) -> bool {
    matches!(effect, Effect::ConvictCollector { .. })
}
