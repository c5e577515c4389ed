//! Every sequence of events of a small alphabet, to depth six, from a fresh watch and from a live
//! service, against what must hold whatever happens.
//!
//! The transition table of the watch is what this walk saw; it is checked in and the test fails
//! when it differs. Write it anew with `HOLDPOINT_BLESS=1`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use watchdog_core::tick::Tick;
use watchdog_core::verdict::{BeatState, ProbeState, SignalState, VerdictKind};

use crate::world::{Symbol, World};

/// Symbols that drive the verdict of a service.
const SERVICE: [Symbol; 8] = [
    Symbol::WorkingBeat,
    Symbol::StillBeat,
    Symbol::Traces,
    Symbol::ChangedMetrics,
    Symbol::ProbeRight,
    Symbol::ObserverLate,
    Symbol::NewBoot,
    Symbol::Wait,
];

/// Symbols that drive what concerns all services, at a smaller depth.
const PATH: [Symbol; 9] = [
    Symbol::WorkingBeat,
    Symbol::StandingMetrics,
    Symbol::ProbeRight,
    Symbol::ProbeWrong,
    Symbol::TallyFailed,
    Symbol::CollectorBeat,
    Symbol::CollectorStarted,
    Symbol::ClockStepped,
    Symbol::Wait,
];

/// The rest, at a smaller depth.
const ENDS: [Symbol; 9] = [
    Symbol::WorkingBeat,
    Symbol::HungBeat,
    Symbol::Leaving,
    Symbol::ProbeSent,
    Symbol::Traces,
    Symbol::StandingMetrics,
    Symbol::ProbeRight,
    Symbol::ProbeWrong,
    Symbol::Wait,
];

type Seen = BTreeMap<(VerdictKind, Symbol), BTreeSet<VerdictKind>>;

fn walk(world: &World, alphabet: &[Symbol], depth: u32, path: &mut Vec<Symbol>, seen: &mut Seen) {
    if depth == 0 {
        return;
    }
    for &symbol in alphabet {
        let mut next = world.clone();
        path.push(symbol);
        next.tell(symbol);
        hold(&next, path);
        seen.entry((world.published.0, symbol)).or_default().insert(next.published.0);
        walk(&next, alphabet, depth - 1, path, seen);
        path.pop();
    }
}

/// What must hold after every sequence.
fn hold(world: &World, path: &[Symbol]) {
    let verdict = world.verdict();
    let (told, now) = (&world.told, world.now);
    let kind = verdict.verdict;
    assert_eq!((kind, verdict.stage), world.published, "{path:?}: published is what is true");
    let age = |at: Option<u64>| at.map(|at| now - at);
    if kind == VerdictKind::Live {
        assert!(told.beats >= 2 && age(told.last_beat) <= Some(2_100), "{path:?}: live, no beats");
        assert!(told.last_arrival.is_some(), "{path:?}: live without telemetry");
        assert!(told.last_right >= Some(told.blind_until), "{path:?}: live without a probe");
        assert!(age(told.last_right) <= Some(5_000), "{path:?}: live on an old probe");
        assert!(verdict.signals.values().all(|s| s.state != SignalState::Silent), "{path:?}");
        assert!(now - told.blind_until >= 1_000, "{path:?}: live right after a gap");
    }
    if kind == VerdictKind::TelemetryLost {
        assert!(told.owes, "{path:?}: lost, and no work is unanswered");
    }
    if kind == VerdictKind::Idle {
        assert_eq!(verdict.probes.state, ProbeState::Returning, "{path:?}");
        assert_eq!(verdict.beats.state, BeatState::Fresh, "{path:?}");
    }
    let faulty = kind > VerdictKind::Unknown && kind != VerdictKind::Forged;
    if faulty && verdict.beats.state != BeatState::Stuck && kind != VerdictKind::Frozen {
        assert!(now - told.blind_until > 2_000, "{path:?}: {kind:?} across a gap");
    }
    assert_eq!(verdict.beats.age_ms, age(told.last_beat), "{path:?}: an age is no guess");
    assert_eq!(verdict.witness.is_some(), told.last_beat.is_some(), "{path:?}");
    for signal in verdict.signals.values() {
        assert_eq!(signal.records.is_some(), signal.last_arrival_age_ms.is_some(), "{path:?}");
    }
    assert!(told.convictions <= 1, "{path:?}: convicted twice");
    assert!(world.watch.deadline().is_none_or(|(at, _)| at > Tick(now)), "{path:?}: still due");
}

fn walk_all(root: &World, alphabet: &[Symbol], depth: u32) -> Seen {
    // One thread for each first symbol.
    let walks = std::thread::scope(|scope| {
        let each = |symbol: &Symbol| {
            let symbol = *symbol;
            scope.spawn(move || {
                let mut next = root.clone();
                next.tell(symbol);
                hold(&next, &[symbol]);
                let mut seen = Seen::new();
                seen.entry((root.published.0, symbol)).or_default().insert(next.published.0);
                walk(&next, alphabet, depth - 1, &mut vec![symbol], &mut seen);
                seen
            })
        };
        let threads: Vec<_> = alphabet.iter().map(each).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Seen>| {
            thread.join().expect("an invariant is broken; see above")
        };
        threads.into_iter().map(join).collect::<Vec<_>>()
    });
    let mut all = Seen::new();
    for seen in walks {
        merge(&mut all, seen);
    }
    all
}

fn merge(all: &mut Seen, seen: Seen) {
    for (key, kinds) in seen {
        all.entry(key).or_default().extend(kinds);
    }
}

fn table(seen: &Seen) -> String {
    let mut text = String::from(
        "Generated by `tests/machine`: what every sequence of events, to depth five or six, from a \
         fresh watch and\nfrom a live service, did to the verdict. Half a second passes before \
         each event.\n\n| from | event | to |\n|---|---|---|\n",
    );
    for ((from, symbol), kinds) in seen {
        let kinds: Vec<_> = kinds.iter().map(|kind| format!("`{}`", kind.as_str())).collect();
        let (from, words) = (from.as_str(), symbol.words());
        writeln!(text, "| `{from}` | {words} | {} |", kinds.join(", ")).expect("a String");
    }
    text
}

#[test]
fn every_sequence_to_depth_six_keeps_the_invariants_and_the_table() {
    let mut seen = Seen::new();
    for root in [World::fresh(), World::live()] {
        merge(&mut seen, walk_all(&root, &SERVICE, 6));
        merge(&mut seen, walk_all(&root, &PATH, 5));
        merge(&mut seen, walk_all(&root, &ENDS, 5));
    }
    let reached: BTreeSet<_> = seen.values().flatten().copied().collect();
    assert_eq!(reached.len(), VerdictKind::ALL.len(), "every verdict is reached: {reached:?}");
    let idle = |(from, _): &(VerdictKind, Symbol)| *from == VerdictKind::Idle;
    let from_idle = seen.iter().filter(|(key, _)| idle(key)).flat_map(|(_, kinds)| kinds);
    assert!(!from_idle.copied().any(|kind| kind == VerdictKind::TelemetryLost));
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/watch/transitions.md");
    let now = table(&seen);
    if std::env::var_os("HOLDPOINT_BLESS").is_some() {
        std::fs::write(&file, &now).expect("write the transition table");
    }
    let checked_in = std::fs::read_to_string(&file).expect("read the transition table");
    assert!(now == checked_in, "the table differs: look at it, then run with HOLDPOINT_BLESS=1");
}
