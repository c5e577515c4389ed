//! Stories of a service whose beats carry no counters, and of the kernel, which sees its port.

use watchdog_core::verdict::{Stage, VerdictKind};
use watchdog_core::watch::Event;

use crate::rig::{Behaviour, Rig, service};

/// What the kernel says each second.
type Said = Option<bool>;

/// Runs `seconds`, and asks the kernel in each.
fn run(rig: &mut Rig, seconds: u64, moved: Said) {
    for _ in 0..seconds {
        rig.run(1_000);
        rig.tell(Event::KernelAsked { service: service("a"), moved, span_ms: 1_000 });
    }
}

fn uncounted(moved: Said) -> Rig {
    let quick = Behaviour { counts: false, metrics_ms: Some(1_000), ..Behaviour::default() };
    let mut rig = Rig::live(quick);
    run(&mut rig, 30, moved);
    assert_eq!(rig.kind("a"), VerdictKind::Live);
    rig.kinds.clear();
    rig
}

fn silence(rig: &mut Rig) {
    (rig.of("a").traces_ms, rig.of("a").metrics_ms) = (None, None);
}

#[test]
fn silence_is_lost_if_bytes_come_in_and_idle_if_none_do_and_unknown_if_nobody_can_say() {
    for (moved, kind) in [
        (Some(true), VerdictKind::TelemetryLost),
        (Some(false), VerdictKind::Idle),
        (None, VerdictKind::Unknown),
    ] {
        let mut rig = uncounted(moved);
        silence(&mut rig);
        run(&mut rig, 5, moved);
        run(&mut rig, 5, moved);
        assert_eq!(rig.kind("a"), kind, "{moved:?}: {:?}", rig.verdict("a"));
        if kind == VerdictKind::TelemetryLost {
            assert_eq!(rig.stage("a"), Some(Stage::Sdk), "probes return");
        }
        let others = rig.kinds["a"].iter().filter(|(_, told)| *told != kind);
        let worst = others.filter(|(_, told)| *told != VerdictKind::Unknown);
        assert_eq!(worst.count(), 0, "{moved:?}: {:?}", rig.kinds);
    }
}

#[test]
fn one_signal_that_falls_silent_while_bytes_come_in_is_a_loss() {
    let mut rig = uncounted(Some(true));
    rig.of("a").traces_ms = None;
    run(&mut rig, 6, Some(true));
    assert_eq!((rig.kind("a"), rig.stage("a")), (VerdictKind::Lossy, Some(Stage::Sdk)));
}

#[test]
fn a_kernel_that_falls_silent_itself_says_nothing_any_more() {
    let mut rig = uncounted(Some(false));
    silence(&mut rig);
    run(&mut rig, 10, Some(false));
    assert_eq!(rig.kind("a"), VerdictKind::Idle);
    rig.until("a", VerdictKind::Unknown, 3_010);
}

#[test]
fn beats_that_tell_their_work_are_believed_and_not_the_kernel() {
    let mut rig = Rig::live(Behaviour { metrics_ms: Some(1_000), ..Behaviour::default() });
    run(&mut rig, 5, Some(true));
    // A health check is answered, and no work is done.
    rig.of("a").work_ms = None;
    silence(&mut rig);
    run(&mut rig, 20, Some(true));
    assert_eq!(rig.kind("a"), VerdictKind::Idle, "{:?}", rig.verdict("a"));
}

#[test]
fn traffic_that_comes_and_goes_is_live_or_idle_and_never_an_accusation() {
    let mut rig = uncounted(Some(true));
    for pause in [3, 8, 20, 8, 3] {
        rig.of("a").work_ms = None;
        run(&mut rig, pause, Some(false));
        rig.of("a").work_ms = Some(50);
        run(&mut rig, 10, Some(true));
        assert_eq!(rig.kind("a"), VerdictKind::Live, "{:?}", rig.verdict("a"));
    }
    let fine = |kind: &VerdictKind| {
        matches!(kind, VerdictKind::Live | VerdictKind::Idle | VerdictKind::Unknown)
    };
    assert!(rig.kinds["a"].iter().all(|(_, kind)| fine(kind)), "{:?}", rig.kinds);
}
