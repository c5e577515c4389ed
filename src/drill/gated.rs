//! Act two: the same agent and the same change, behind the gate.
//!
//! Invariant: the agent applies only what it holds a permit for. Everything else in this act,
//! the freeze, the revert and the refusals, is the gate's own doing.

mod ending;
mod rollout;

use std::time::Duration;

use watchdog_core::verdict::VerdictKind;

use super::failure::DrillError;
use super::fleet::{PLAIN, SERVICES};
use super::gate::{Caller, Change, Freeze};
use super::report::{Act, ActName, Check};
use super::scene::Scene;
use super::service::{CACHED, optimisation};
use super::timeline::{Mark, Who};
use super::wait::wait_for;
use super::watch::Watch;

/// The drill's own patience. The gate's bounds are far below; what is slower has failed.
const FREEZE_WITHIN: Duration = Duration::from_secs(10);
const REVERT_WITHIN: Duration = Duration::from_secs(20);
const END_WITHIN: Duration = Duration::from_secs(10);
/// The promise is two periods and 250 ms, which the end-to-end suite measures. The drill must
/// also pass on a machine that is busy with other work.
const SILENCE_MAX_MS: u64 = 3_000;

/// The agent, the operator, and what they have found out so far.
struct Play<'a> {
    scene: &'a Scene,
    agent: Caller,
    operator: Caller,
    digest: String,
    checks: Vec<Check>,
}

/// Plays the act.
pub async fn play(scene: &Scene) -> Result<(Act, Vec<Check>), DrillError> {
    let gate = scene.stack.addresses.gate;
    let mut play = Play {
        scene,
        agent: Caller::new(&scene.http, gate, &scene.stack.agent_token),
        operator: Caller::new(&scene.http, gate, &scene.stack.operator_token),
        digest: optimisation(),
        checks: Vec::new(),
    };
    scene.all_live().await?;
    let watch = Watch::start(scene);
    let mut figures = Figures::default();
    if let Some(id) = play.ship_one().await? {
        figures.changed = 1;
        play.see_it_caught(&id, &mut figures).await?;
        figures.denied = Some(play.deny_the_rest().await?);
        play.thaw_and_go_on().await?;
    }
    let mut blind = watch.blind_at_worst();
    // A machine that stalls can darken others for a moment. What the change did is counted here,
    // and that no other stays dark is checked.
    blind.retain(|service| figures.changed > 0 && service == SERVICES[0]);
    let seen = scene.all_seen(END_WITHIN).await?;
    play.check("every service is seen at the end", seen.is_ok());
    play.check("the one change blinded its service, by the watchdog's verdict", blind.len() == 1);
    let permits = play.operator.permits(&play.digest).await?;
    play.check("the gate granted exactly one permit for the change", permits == 1);
    let act = Act {
        name: ActName::Gated,
        services: SERVICES.len(),
        changed: figures.changed,
        blind: blind.len(),
        permits,
        freeze_ms: figures.freeze_ms,
        reverted_ms: figures.reverted_ms,
        denied_after: figures.denied,
        timeline: scene.timeline.take(),
    };
    Ok((act, play.checks))
}

/// What is measured on the way.
#[derive(Debug, Default)]
struct Figures {
    changed: usize,
    freeze_ms: Option<u64>,
    reverted_ms: Option<u64>,
    denied: Option<u64>,
}

impl Play<'_> {
    fn check(&mut self, name: &str, ok: bool) {
        self.checks.push(Check::new(format!("gated: {name}"), ok));
    }

    fn note(&self, who: Who, mark: Mark, what: impl Into<String>) {
        self.scene.timeline.note(who, mark, what);
    }

    /// The optimisation, for one service.
    fn optimisation<'a>(&'a self, service: &'a str) -> Change<'a> {
        Change {
            id: format!("{service}-cache"),
            service,
            from: PLAIN,
            to: CACHED,
            digest: &self.digest,
            summary: "cache responses for 250 ms",
        }
    }

    /// Waits for the freeze, then for the verified revert.
    async fn see_it_caught(&mut self, id: &str, figures: &mut Figures) -> Result<(), DrillError> {
        let frozen =
            wait_for(FREEZE_WITHIN, async || Ok(self.agent.freezes().await?.into_iter().next()));
        let frozen: Option<Freeze> = frozen.await?;
        let frozen_at = self.scene.timeline.now_ms();
        if let Some(freeze) = &frozen {
            figures.freeze_ms = self.silence_ms(SERVICES[0]).await?;
            let what = format!("{} frozen ({}): {}", freeze.scope, freeze.stage, freeze.reason);
            self.note(Who::Gate, Mark::Stop, what);
        }
        let fleet_wide = frozen.is_some_and(|freeze| freeze.scope == "fleet");
        self.check("the loss of sight froze the fleet", fleet_wide);
        let in_time = figures.freeze_ms.is_some_and(|ms| ms <= SILENCE_MAX_MS);
        self.check("the freeze was in force within 3 s of the last telemetry", in_time);

        let settled = self.follow(id, &["reverted", "stuck"], REVERT_WITHIN).await?;
        let reverted = settled.as_deref() == Some("reverted");
        if reverted {
            let took_ms = self.scene.timeline.now_ms() - frozen_at;
            figures.reverted_ms = Some(took_ms);
            let what = format!("revert verified: {} is seen on {PLAIN} again", SERVICES[0]);
            self.note(Who::Gate, Mark::Good, what);
        }
        self.check("the revert was verified by the signal on the old revision", reverted);
        let live = wait_for(FREEZE_WITHIN, async || {
            let live = self.scene.sight.with(VerdictKind::Live).await?;
            Ok(live.contains(SERVICES[0]).then_some(()))
        });
        let live = live.await?.is_some();
        self.check("the reverted service is live again", live);
        Ok(())
    }

    /// How long the service's telemetry has been silent: since the youngest of its last arrivals.
    async fn silence_ms(&self, service: &str) -> Result<Option<u64>, DrillError> {
        let verdicts = self.scene.sight.verdicts().await?;
        let signals = verdicts.get(service).into_iter().flat_map(|of| of.signals.values());
        Ok(signals.filter_map(|signal| signal.last_arrival_age_ms).min())
    }
}
