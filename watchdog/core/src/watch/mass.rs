//! Mass silence: most services fall silent within one window while the path is proven.
//!
//! Then it is more likely that the observer, the network or the backend is at fault than all of
//! them at once. All is frozen, nothing is restarted, and a person is called.
//!
//! Invariant: while the collector is under suspicion there is no mass silence, for its services
//! fell silent because of it; a probe that was sent after the fall and came back must say so.

use std::collections::BTreeMap;

use crate::tick::Tick;
use crate::watch::WatchConfig;

/// What the path to the services says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PathReport {
    /// The collector beats and probes return.
    pub fine: bool,
    /// When the latest probe was sent that came back right.
    pub proven: Option<Tick>,
}

/// Services that were live and fell silent.
#[derive(Debug, Clone, Default)]
pub(super) struct MassWatch {
    /// When each fell; `None` if it fell while the path was not fine.
    fallen: BTreeMap<usize, Option<Tick>>,
    was_fine: bool,
    /// Whether the count must be taken anew.
    stale: bool,
    /// Since when too many are silent, and no probe has cleared the path yet.
    exceeded: Option<Tick>,
    on: bool,
}

impl MassWatch {
    pub fn fall(&mut self, service: usize, now: Tick) {
        let at = self.was_fine.then_some(now);
        self.fallen.entry(service).or_insert(at);
        self.stale = true;
    }

    pub fn rise(&mut self, service: usize) {
        self.stale |= self.fallen.remove(&service).is_some();
    }

    pub const fn is_on(&self) -> bool {
        self.on
    }

    /// Judges anew; `live` services are live now. Says whether it went on or off; `None` if it
    /// stays as it is.
    pub fn turn(
        &mut self,
        now: Tick,
        live: usize,
        path: PathReport,
        config: &WatchConfig,
    ) -> Option<bool> {
        if self.was_fine && !path.fine {
            // Who fell just before fell for the same reason.
            self.fallen.values_mut().for_each(|at| *at = None);
            self.exceeded = None;
        }
        self.was_fine = path.fine;
        let on = path.fine
            && if self.on {
                self.lasts(live, config)
            } else {
                self.begins(now, live, path, config)
            };
        let changed = on != self.on;
        self.on = on;
        changed.then_some(on)
    }

    fn begins(&mut self, now: Tick, live: usize, path: PathReport, config: &WatchConfig) -> bool {
        if std::mem::take(&mut self.stale) {
            let recent =
                |at: &&Option<Tick>| at.is_some_and(|at| now.since_ms(at) <= config.mass_window_ms);
            let fell = self.fallen.values().filter(recent).count();
            let exceeds = exceeds(fell, fell + live, config);
            self.exceeded = exceeds.then(|| self.exceeded.unwrap_or(now));
        }
        self.exceeded.is_some_and(|since| path.proven.is_some_and(|proven| proven > since))
    }

    /// Off once most have come back, so that it does not flicker at the threshold.
    fn lasts(&self, live: usize, config: &WatchConfig) -> bool {
        let fallen = self.fallen.len();
        exceeds(2 * fallen, fallen + live, config)
    }
}

/// Whether `fell` of `were_live` services are too many to fall by chance.
fn exceeds(fell: usize, were_live: usize, config: &WatchConfig) -> bool {
    let [fell, were_live] = [fell, were_live].map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    fell > config.mass_min && f64::from(fell) > config.mass_part * f64::from(were_live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIVE: usize = 4;

    fn path(proven: u64) -> PathReport {
        PathReport { fine: true, proven: Some(Tick(proven)) }
    }

    fn fallen(count: usize, each_ms: u64) -> (MassWatch, Tick) {
        let mut mass = MassWatch::default();
        let config = WatchConfig::default();
        assert_eq!(mass.turn(Tick(0), count + LIVE, path(0), &config), None);
        let mut now = Tick(0);
        for service in 0..count {
            now = now.plus_ms(each_ms);
            mass.fall(service, now);
            let live = count + LIVE - service - 1;
            assert_eq!(mass.turn(now, live, path(0), &config), None);
        }
        (mass, now)
    }

    #[test]
    fn most_services_in_one_window_are_mass_silence_once_a_probe_clears_the_path() {
        let (mut mass, now) = fallen(6, 100);
        let config = WatchConfig::default();
        let after = now.plus_ms(10);
        assert_eq!(mass.turn(after, LIVE, path(after.0), &config), Some(true));
        (0..4).for_each(|service| mass.rise(service));
        assert_eq!(mass.turn(after, LIVE + 4, path(after.0), &config), Some(false));
    }

    #[test]
    fn half_of_them_are_not() {
        let (mut mass, now) = fallen(4, 100);
        let after = now.plus_ms(10);
        assert_eq!(mass.turn(after, LIVE, path(after.0), &WatchConfig::default()), None);
    }

    #[test]
    fn one_after_another_is_not() {
        let (mut mass, now) = fallen(12, 5_000);
        let after = now.plus_ms(10);
        assert_eq!(mass.turn(after, LIVE, path(after.0), &WatchConfig::default()), None);
    }

    #[test]
    fn services_behind_a_sick_collector_are_not() {
        let (mut mass, now) = fallen(8, 10);
        let config = WatchConfig::default();
        let sick = PathReport { fine: false, proven: Some(Tick(0)) };
        assert_eq!(mass.turn(now.plus_ms(10), LIVE, sick, &config), None);
        let healed = now.plus_ms(2_000);
        assert_eq!(mass.turn(healed, LIVE, path(healed.0), &config), None);
        mass.fall(8, healed);
        let after = healed.plus_ms(100);
        assert_eq!(mass.turn(healed, LIVE - 1, path(healed.0), &config), None);
        assert_eq!(mass.turn(after, LIVE - 1, path(after.0), &config), None, "one fell, not nine");
    }
}
