//! Stories about exporters that are slowed down: lost until the new period is a habit.

use watchdog_core::verdict::VerdictKind;

use crate::rig::{Behaviour, Rig};

fn slowed_to(traces_ms: u64) -> Rig {
    let mut rig = Rig::live(Behaviour::default());
    rig.kinds.clear();
    rig.of("a").traces_ms = Some(traces_ms);
    rig
}

fn losses(rig: &Rig) -> usize {
    let told = rig.kinds.get("a").into_iter().flatten();
    told.filter(|(_, kind)| *kind == VerdictKind::TelemetryLost).count()
}

#[test]
fn an_exporter_that_is_slower_for_good_is_lost_until_its_period_is_learnt_and_no_longer() {
    let mut rig = slowed_to(5_000);
    let lost_ms = rig.until("a", VerdictKind::TelemetryLost, 2_500);
    assert!(lost_ms >= 1_000, "{lost_ms} ms");
    rig.run(50_000);
    assert!(losses(&rig) >= 5, "each gap is told: {:?}", rig.kinds);
    rig.kinds.clear();
    rig.run(60_000);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    assert_eq!(losses(&rig), 0, "{:?}", rig.kinds);
    // The new period is held as the old one was.
    rig.of("a").traces_ms = None;
    rig.until("a", VerdictKind::TelemetryLost, 10_300);
}

#[test]
fn nothing_is_learnt_of_gaps_in_which_the_sender_itself_was_suspected() {
    let mut rig = slowed_to(5_000);
    for _ in 0..24 {
        rig.of("a").beats = false;
        rig.run(2_500);
        rig.of("a").beats = true;
        rig.run(2_500);
    }
    rig.kinds.clear();
    rig.run(14_000);
    assert!(losses(&rig) >= 1, "{:?}", rig.kinds);
}

#[test]
fn an_exporter_that_slows_down_step_by_step_is_not_followed() {
    let mut rig = Rig::live(Behaviour::default());
    rig.kinds.clear();
    let mut traces_ms = 1_000;
    while traces_ms < 20_000 {
        rig.of("a").traces_ms = Some(traces_ms);
        rig.run(3 * traces_ms);
        traces_ms += traces_ms * 3 / 10;
    }
    rig.kinds.clear();
    rig.run(60_000);
    assert!(losses(&rig) >= 1, "{:?}", rig.kinds);
}
