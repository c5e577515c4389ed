//! What places know of the freezes, merged in any order: two gates, three places that are cut off
//! from them and from each other, and every word between them lost, doubled or late.
//!
//! Invariant: a freeze that nobody thawed is in the merge of any places of which one knew it; one
//! that was thawed never comes back; and no floor ever sinks.

#![cfg(not(loom))]

use std::collections::BTreeMap;

use agent_gate_core::freeze_set::{Barred, FreezeSet};
use agent_gate_core::ids::{AgentName, Epoch, FreezeId};
use agent_gate_core::scope::Scope;
use proptest::prelude::*;
use watchdog_core::names::{Environment, Service};

const GATES: [&str; 2] = ["north", "south"];
const PLACES: usize = 3;

/// Something happens somewhere.
#[derive(Debug, Clone)]
enum Deed {
    Freeze {
        gate: usize,
        scope: usize,
    },
    Thaw {
        gate: usize,
        pick: usize,
    },
    /// A gate's word as it stands now is sent to all, and arrives when it is delivered.
    Tell {
        gate: usize,
    },
    /// A word sent earlier arrives at a place; it may arrive twice, late, or never.
    Deliver {
        word: usize,
        place: usize,
    },
    /// One place tells another all it knows.
    Meet {
        from: usize,
        to: usize,
    },
}

/// The gates, the places, and what was sent.
#[derive(Debug, Default)]
struct World {
    gates: [FreezeSet; 2],
    places: [FreezeSet; PLACES],
    words: Vec<FreezeSet>,
    epoch: u64,
    /// Freezes that were made, and whether they were thawed.
    made: BTreeMap<(usize, FreezeId), bool>,
}

fn scopes() -> Vec<Scope> {
    ["fleet", "service=a", "service=b", "environment=production", "agent=x"]
        .map(|text| text.parse().expect("a scope"))
        .into()
}

impl World {
    fn does(&mut self, deed: &Deed) {
        match *deed {
            Deed::Freeze { gate, scope } => {
                self.epoch += 1;
                let scope = scopes()[scope].clone();
                let id = self.gates[gate].freeze(GATES[gate], scope, Epoch(self.epoch));
                self.made.insert((gate, id), false);
            }
            Deed::Thaw { gate, pick } => {
                let mut own = self.made.iter_mut().filter(|((at, _), _)| *at == gate);
                if let Some(((_, id), is_thawed)) = own.nth(pick) {
                    self.gates[gate].thaw(GATES[gate], *id);
                    *is_thawed = true;
                }
            }
            Deed::Tell { gate } => self.words.push(self.gates[gate].clone()),
            Deed::Deliver { word, place } if !self.words.is_empty() => {
                let word = self.words[word % self.words.len()].clone();
                self.places[place].join(&word);
            }
            Deed::Deliver { .. } => {}
            Deed::Meet { from, to } => {
                let told = self.places[from].clone();
                self.places[to].join(&told);
            }
        }
    }
}

fn deed() -> impl Strategy<Value = Deed> {
    prop_oneof![
        3 => (0..2usize, 0..5usize).prop_map(|(gate, scope)| Deed::Freeze { gate, scope }),
        2 => (0..2usize, 0..6usize).prop_map(|(gate, pick)| Deed::Thaw { gate, pick }),
        3 => (0..2usize).prop_map(|gate| Deed::Tell { gate }),
        4 => (0..20usize, 0..PLACES).prop_map(|(word, place)| Deed::Deliver { word, place }),
        2 => (0..PLACES, 0..PLACES).prop_map(|(from, to)| Deed::Meet { from, to }),
    ]
}

/// `HOLDPOINT_FREEZE_CASES` asks for more.
fn from_env() -> u32 {
    let asked = std::env::var("HOLDPOINT_FREEZE_CASES");
    asked.map_or(256, |text| text.parse().expect("a number"))
}

fn worlds() -> impl Strategy<Value = Vec<Deed>> {
    proptest::collection::vec(deed(), 0..60)
}

fn joined(left: &FreezeSet, right: &FreezeSet) -> FreezeSet {
    let mut joined = left.clone();
    joined.join(right);
    joined
}

fn is_in_force(set: &FreezeSet, gate: usize, id: FreezeId) -> bool {
    set.in_force().any(|(origin, known, _)| origin == GATES[gate] && known == id)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(from_env()))]

    #[test]
    fn the_order_of_merging_makes_no_difference(deeds in worlds()) {
        let mut world = World::default();
        deeds.iter().for_each(|deed| world.does(deed));
        let all: Vec<&FreezeSet> = world.places.iter().chain(&world.gates).collect();
        for a in &all {
            prop_assert_eq!(&joined(a, a), *a, "idempotent");
            for b in &all {
                let ab = joined(a, b);
                prop_assert_eq!(&ab, &joined(b, a), "commutative");
                prop_assert!(ab.covers(a) && ab.covers(b), "what is merged knows both");
                for c in &all {
                    prop_assert_eq!(joined(&ab, c), joined(a, &joined(b, c)), "associative");
                    if b.covers(a) {
                        prop_assert!(joined(b, c).covers(&joined(a, c)), "monotone");
                    }
                }
            }
        }
    }

    #[test]
    fn no_freeze_is_lost_and_none_comes_back(deeds in worlds()) {
        let mut world = World::default();
        for deed in &deeds {
            let before = world.places.clone();
            world.does(deed);
            for (was, is) in before.iter().zip(&world.places) {
                prop_assert!(is.covers(was), "a place never knows less than it did");
                for (&(gate, id), &is_thawed) in &world.made {
                    let kept = is_in_force(was, gate, id);
                    prop_assert!(is_thawed || !kept || is_in_force(is, gate, id), "lost {}", id);
                    let known = was.seen(GATES[gate]).is_some_and(|seen| id.0 <= seen);
                    let is_back = known && !kept && is_in_force(is, gate, id);
                    prop_assert!(!is_back, "{} came back", id);
                }
            }
        }
        let mut all = FreezeSet::default();
        world.places.iter().chain(&world.gates).for_each(|set| all.join(set));
        for (&(gate, id), &is_thawed) in &world.made {
            prop_assert_eq!(is_in_force(&all, gate, id), !is_thawed);
        }
    }

    #[test]
    fn what_was_fenced_off_stays_fenced_off(deeds in worlds(), epoch in 0..40u64) {
        let service = Service::new("a").expect("a name");
        let environment = Environment::new("production").expect("a name");
        let agent = AgentName::new("x").expect("a name");
        let old = |set: &FreezeSet| {
            let mut thawed = set.clone();
            let all: Vec<(String, FreezeId)> =
                set.in_force().map(|(origin, id, _)| (origin.to_owned(), id)).collect();
            all.iter().for_each(|(origin, id)| thawed.thaw(origin, *id));
            let barred = thawed.bars(&service, &environment, &agent, Epoch(epoch));
            matches!(barred, Some(Barred::OldEpoch { .. }))
        };
        let mut world = World::default();
        for deed in &deeds {
            let before = world.places.clone();
            world.does(deed);
            for (was, is) in before.iter().zip(&world.places) {
                prop_assert!(!old(was) || old(is), "epoch {} came back to life", epoch);
            }
        }
    }
}

#[test]
fn a_set_that_contradicts_itself_is_not_read() {
    let mut set = FreezeSet::default();
    set.freeze("north", Scope::Fleet, Epoch(4));
    let text = serde_json::to_string(&set).expect("JSON");
    assert_eq!(serde_json::from_str::<FreezeSet>(&text).expect("it is well formed"), set);
    for wrong in [
        text.replace("\"seen\":1", "\"seen\":0"),
        text.replace("\"fleet\":4", "\"fleet\":3"),
        text.replace("floors", "floor"),
    ] {
        assert_ne!(wrong, text);
        assert!(serde_json::from_str::<FreezeSet>(&wrong).is_err(), "{wrong}");
    }
}
