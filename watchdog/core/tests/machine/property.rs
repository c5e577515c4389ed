//! What holds for long random histories: a replay gives the same state, a turn changes nothing
//! but what is due, a page read twice counts once.

use proptest::collection::vec;
use proptest::prelude::*;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;
use watchdog_core::watch::Event;

use crate::world::{Symbol, World};

const SYMBOLS: [Symbol; 17] = [
    Symbol::WorkingBeat,
    Symbol::StillBeat,
    Symbol::HungBeat,
    Symbol::NewBoot,
    Symbol::Leaving,
    Symbol::Traces,
    Symbol::ChangedMetrics,
    Symbol::StandingMetrics,
    Symbol::ProbeRight,
    Symbol::ProbeSent,
    Symbol::ProbeWrong,
    Symbol::TallyFailed,
    Symbol::CollectorBeat,
    Symbol::CollectorStarted,
    Symbol::ObserverLate,
    Symbol::ClockStepped,
    Symbol::Wait,
];

/// Half of all symbols are those of a healthy service, so that verdicts other than `unknown` last.
fn symbol() -> impl Strategy<Value = (Symbol, u64)> {
    let healthy = prop::sample::select(vec![
        Symbol::WorkingBeat,
        Symbol::Traces,
        Symbol::ChangedMetrics,
        Symbol::ProbeRight,
        Symbol::CollectorBeat,
    ]);
    let any = prop::sample::select(SYMBOLS.to_vec());
    (prop_oneof![4 => healthy, 1 => any], 0_u64..600)
}

fn kind() -> impl Strategy<Value = VerdictKind> {
    prop::sample::select(VerdictKind::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(200)
    })]

    #[test]
    fn a_history_told_twice_gives_the_same_state(history in vec(symbol(), 1..120)) {
        let tell = || {
            let mut world = World::live();
            for (symbol, ms) in &history {
                world.tell_after(*symbol, *ms);
            }
            format!("{:?}", world.watch)
        };
        prop_assert_eq!(tell(), tell());
    }

    #[test]
    fn extra_turns_change_nothing(history in vec(symbol(), 1..120), every in 1_u64..200) {
        let mut sparse = World::live();
        let mut dense = World::live();
        for (symbol, ms) in &history {
            let mut left = *ms;
            while left > every {
                dense.pass(every);
                left -= every;
            }
            dense.tell_after(*symbol, left);
            sparse.tell_after(*symbol, *ms);
            prop_assert_eq!(dense.verdict(), sparse.verdict());
        }
    }

    #[test]
    fn a_turn_at_the_same_moment_changes_nothing(history in vec(symbol(), 1..60)) {
        let mut world = World::live();
        for (symbol, ms) in &history {
            world.tell_after(*symbol, *ms);
            let before = world.verdict();
            prop_assert!(world.watch.step(Event::Turn, Tick(world.now)).is_empty());
            prop_assert_eq!(before, world.verdict());
        }
    }

    #[test]
    fn the_worst_of_several_verdicts_does_not_depend_on_their_order(
        a in kind(),
        b in kind(),
        c in kind(),
    ) {
        prop_assert_eq!(a.worst(b).worst(c), a.worst(b.worst(c)));
        prop_assert_eq!(a.worst(b), b.worst(a));
        prop_assert_eq!(a.worst(a), a);
        prop_assert_eq!(a.worst(VerdictKind::Live), a);
    }
}
