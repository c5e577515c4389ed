//! All trials, run on all cores and told as two tables.
//!
//! Invariant: a trial that was waved through is counted as such, expected or not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};

use agent_gate_core::gate::rollout::StateName;

use crate::fault::{Fault, Phase};
use crate::peers::{Peer, concerns_peers, waves_on};
use crate::plan::Plan;
use crate::trial::{Outcome, Trial};

/// What the trials of one fault in one phase came to.
#[derive(Debug, Default, Clone)]
pub struct Cell {
    pub trials: u64,
    pub ends: BTreeMap<&'static str, u64>,
    /// Seeds that were waved through.
    pub waved: Vec<u64>,
    /// The known gap that they fall into, by seed.
    pub known: BTreeMap<u64, &'static str>,
    pub shut_ms: Vec<u64>,
    /// Seeds of an honest agent in which there was no traffic and a freeze for it.
    pub frozen_idle: Vec<u64>,
    /// How many of the trials each peer waves on.
    pub peers: BTreeMap<Peer, u64>,
}

pub type Cells = BTreeMap<(Fault, Phase), Cell>;

/// What healthy rollouts came to.
#[derive(Debug, Default)]
pub struct Healthy {
    pub trials: u64,
    pub confirmed: u64,
    pub froze: u64,
    pub bad: Vec<(u64, Option<StateName>)>,
}

/// Runs `job` for `0..count` on all cores and collects what it gives, in order.
fn spread<T: Send>(count: u64, job: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicU64::new(0);
    let mut all: Vec<(u64, T)> = std::thread::scope(|scope| {
        let worker = || {
            let mut done = Vec::new();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= count {
                    return done;
                }
                done.push((index, job(index)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a trial failed")).collect()
    });
    all.sort_unstable_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, done)| done).collect()
}

/// A known gap is for what happens in one trial of so many.
const SELDOM: u64 = 200;

/// Every fault in every phase, with `seeds` seeds each.
pub fn faulty(seeds: u64) -> Cells {
    let kinds: Vec<(Fault, Phase)> =
        Fault::ALL.iter().flat_map(|fault| Phase::ALL.map(|phase| (*fault, phase))).collect();
    let count = kinds.len() as u64 * seeds;
    let outcomes = spread(count, |index| {
        let (fault, phase) = kinds[usize::try_from(index / seeds).expect("a small number")];
        let plan = Plan::new(Some(fault), phase, index % seeds);
        let peers: Vec<Peer> =
            Peer::ALL.iter().copied().filter(|peer| waves_on(*peer, &plan)).collect();
        let is_idle = fault == Fault::ZeroTraffic && !plan.is_rogue;
        (fault, phase, index % seeds, (plan.known_gap(), is_idle), Trial::new(plan).run(), peers)
    });
    let mut cells = Cells::new();
    for (fault, phase, seed, (known, is_idle), outcome, peers) in outcomes {
        let cell = cells.entry((fault, phase)).or_default();
        cell.take(seed, known, &outcome);
        cell.frozen_idle.extend((is_idle && outcome.froze).then_some(seed));
        for peer in peers {
            *cell.peers.entry(peer).or_default() += 1;
        }
    }
    cells
}

/// Healthy rollouts, which must be confirmed.
pub fn healthy(trials: u64) -> Healthy {
    let outcomes = spread(trials, |seed| Trial::new(Plan::new(None, Phase::Baking, seed)).run());
    let mut healthy = Healthy::default();
    for (seed, outcome) in (0..).zip(outcomes) {
        healthy.trials += 1;
        healthy.froze += u64::from(outcome.froze);
        if outcome.state == Some(StateName::Confirmed) {
            healthy.confirmed += 1;
        } else {
            healthy.bad.push((seed, outcome.state));
        }
    }
    healthy
}

impl Cell {
    fn take(&mut self, seed: u64, known: Option<&'static str>, outcome: &Outcome) {
        self.trials += 1;
        *self.ends.entry(outcome.state.map_or("not asked", StateName::as_str)).or_default() += 1;
        if outcome.is_waved_through() {
            self.waved.push(seed);
            self.known.extend(known.map(|why| (seed, why)));
        }
        self.shut_ms.extend(outcome.shut_ms);
    }
}

/// The seeds that were waved through and fall into no known gap, or into one that is seldom met
/// and was met in more than one of two hundred trials.
pub fn unexpected(cells: &Cells) -> Vec<(&'static str, &'static str, Vec<u64>)> {
    cells
        .iter()
        .map(|((fault, phase), cell)| {
            let is_seldom = cell.known.len() as u64 <= (cell.trials / SELDOM).max(1);
            let is_known = |seed| is_seldom && cell.known.contains_key(seed);
            let new = cell.waved.iter().filter(|seed| !is_known(*seed));
            (fault.as_str(), phase.as_str(), new.copied().collect::<Vec<_>>())
        })
        .filter(|(_, _, seeds)| !seeds.is_empty())
        .collect()
}

/// Idle services that caused a freeze.
pub fn frozen_idle(cells: &Cells) -> Vec<(&'static str, u64)> {
    let each = cells
        .iter()
        .flat_map(|((_, phase), cell)| cell.frozen_idle.iter().map(|seed| (phase.as_str(), *seed)));
    each.collect()
}

/// The gate's own table: how trials ended, and how soon sight was known to be lost.
pub fn ours(cells: &Cells) -> String {
    let mut text = String::from(
        "| fault | phase | trials | waved through | of these known | how they ended \
         | sight lost after p50 / p99 / max |\n|---|---|---|---|---|---|---|\n",
    );
    for ((fault, phase), cell) in cells {
        let mut shut = cell.shut_ms.clone();
        shut.sort_unstable();
        let ends: Vec<_> = cell.ends.iter().map(|(end, n)| format!("{n} {end}")).collect();
        let part = |part: usize| shut.get((shut.len().max(1) - 1) * part / 100).copied();
        let ms = |ms: Option<u64>| ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} / {} / {} |",
            fault.as_str(),
            phase.as_str(),
            cell.trials,
            cell.waved.len(),
            cell.known.len(),
            ends.join(", "),
            ms(part(50)),
            ms(part(99)),
            ms(part(100)),
        )
        .expect("writing to a String does not fail");
    }
    text
}

/// The table of all: how many of a hundred faulty rollouts each rule waves on.
pub fn beside_the_peers(cells: &Cells) -> String {
    let names: Vec<_> = Peer::ALL.iter().map(|peer| peer.as_str()).collect();
    let mut text = format!(
        "| of 100 rollouts, waved on | Holdpoint | {} |\n|---|---|{}\n",
        names.join(" | "),
        "---|".repeat(names.len())
    );
    for fault in Fault::ALL {
        let of_fault: Vec<_> =
            cells.iter().filter(|((of, _), _)| of == fault).map(|(_, cell)| cell).collect();
        let trials: u64 = of_fault.iter().map(|cell| cell.trials).sum();
        let waved: u64 = of_fault.iter().map(|cell| cell.waved.len() as u64).sum();
        let share = |count: u64| format!("{:.1}", 100.0 * count as f64 / trials.max(1) as f64);
        let peers: Vec<_> = Peer::ALL
            .iter()
            .map(|peer| {
                let count = of_fault.iter().filter_map(|cell| cell.peers.get(peer)).sum();
                if concerns_peers(*fault) { share(count) } else { "·".to_owned() }
            })
            .collect();
        writeln!(text, "| {} | {} | {} |", fault.as_str(), share(waved), peers.join(" | "))
            .expect("writing to a String does not fail");
    }
    text
}
