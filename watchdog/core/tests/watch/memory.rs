//! What a watch that starts anew knows of services that an earlier one has seen.

use std::collections::BTreeSet;

use watchdog_core::tally::Signal;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::{SignalState, VerdictKind};
use watchdog_core::watch::{Event, Watch, WatchConfig};

use crate::rig::{Behaviour, Rig, START, expected, service};

fn live() -> Rig {
    Rig::live(Behaviour { beat_ms: 1_000, ..Behaviour::default() })
}

/// A watch that starts anew with what `rig`'s remembers.
fn anew(rig: &Rig) -> Watch {
    let mut watch = Watch::new(WatchConfig::default(), Vec::new(), Tick(START));
    watch.recall(rig.watch.remembered(), Tick(START));
    watch
}

#[test]
fn a_service_silent_since_before_the_restart_is_unknown_and_not_forgotten() {
    let rig = live();
    let mut watch = anew(&rig);
    for later in [1, 10_000, 3_600_000] {
        watch.step(Event::Turn, Tick(START + later));
        let verdict = watch.verdict(&service("a"), Tick(START + later)).expect("it is known");
        assert_eq!(verdict.verdict, VerdictKind::Unknown, "{verdict:?}");
        assert_eq!(verdict.environment, rig.verdict("a").environment);
        let traces = verdict.signals.get(&Signal::Traces).expect("it is expected");
        assert!(traces.expected && traces.state == SignalState::Never, "{traces:?}");
    }
    assert_eq!(watch.remembered(), rig.watch.remembered(), "not forgotten at the next one either");
}

#[test]
fn a_recalled_service_that_is_heard_becomes_live_as_any_other() {
    let mut rig = live();
    let known = rig.watch.remembered();
    rig = Rig::new(WatchConfig::default(), Vec::new());
    rig.watch.recall(known, Tick(START));
    rig.add("a", Behaviour { beat_ms: 1_000, ..Behaviour::default() });
    rig.until("a", VerdictKind::Live, 4_000);
}

#[test]
fn a_recalled_service_that_no_longer_sends_what_it_sent_is_not_live() {
    let known = live().watch.remembered();
    let mut rig = Rig::new(WatchConfig::default(), Vec::new());
    rig.watch.recall(known, Tick(START));
    let mute = Behaviour { beat_ms: 1_000, traces_ms: None, ..Behaviour::default() };
    rig.add("a", mute);
    rig.run(60_000);
    assert_ne!(rig.kind("a"), VerdictKind::Live);
}

#[test]
fn a_service_that_was_never_live_is_not_remembered() {
    let mut rig = Rig::new(WatchConfig::default(), Vec::new());
    rig.add("a", Behaviour { beat_ms: 1_000, traces_ms: None, ..Behaviour::default() });
    rig.run(10_000);
    assert_eq!(rig.watch.remembered(), Vec::new());
}

#[test]
fn the_configuration_goes_before_the_memory() {
    let mut named = expected("a");
    named.expect = Some(vec![Signal::Logs]);
    let mut watch = Watch::new(WatchConfig::default(), vec![named], Tick(START));
    watch.recall(live().watch.remembered(), Tick(START));
    let remembered = watch.remembered();
    assert_eq!(remembered[0].expect, BTreeSet::from([Signal::Logs]));
}
