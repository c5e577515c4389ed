//! One rollout as a well-behaved agent takes it: ask, renew, apply, report.

use std::time::Duration;

use serde_json::json;

use super::Play;
use crate::drill::failure::DrillError;
use crate::drill::fleet::SERVICES;
use crate::drill::gate::{Answer, Change, Decision};
use crate::drill::service::CACHED;
use crate::drill::timeline::{Mark, Who};
use crate::drill::wait::wait_for;

/// A service that is live is allowed after its dwell time.
const ALLOW_WITHIN: Duration = Duration::from_secs(15);

impl Play<'_> {
    /// Takes the optimisation to the first service; its rollout, if it was allowed.
    pub async fn ship_one(&mut self) -> Result<Option<String>, DrillError> {
        let (first, second) = (SERVICES[0], SERVICES[1]);
        self.note(Who::Agent, Mark::Change, format!("asks for {first}: cache responses"));
        let optimisation = self.optimisation(first);
        let Some(allowed) = self.ask_until_allowed(&optimisation).await? else {
            self.check("the first request was allowed", false);
            return Ok(None);
        };
        let next = self.agent.request(&self.optimisation(second)).await?;
        let held = next.decision == Decision::Hold && next.reason("budget").is_some();
        let why = next.reason("budget").map_or_else(|| next.because(), str::to_owned);
        let what = format!("{second} has to wait: {why}");
        self.note(Who::Gate, if held { Mark::Good } else { Mark::Lost }, what);
        self.check("the second request had to wait for the first", held);

        let id = allowed.rollout.id.clone();
        let applied = self.apply(&allowed, first, CACHED).await?;
        self.check("the permit was good until the change was applied", applied);
        Ok(applied.then_some(id))
    }

    /// Asks again until the answer is `allow`.
    pub async fn ask_until_allowed(
        &self,
        change: &Change<'_>,
    ) -> Result<Option<Answer>, DrillError> {
        let mut last = None;
        let allowed = wait_for(ALLOW_WITHIN, async || {
            let answer = self.agent.request(change).await?;
            let allowed = answer.decision == Decision::Allow;
            last = (!allowed).then(|| answer.because());
            Ok(allowed.then_some(answer))
        });
        let allowed = allowed.await?;
        match (&allowed, last) {
            (Some(answer), _) => {
                let what = format!("allows {} for {}", answer.rollout.id, change.service);
                self.note(Who::Gate, Mark::Good, what);
            }
            (None, reason) => {
                let reason = reason.unwrap_or_default();
                let what = format!("never allowed {}: {reason}", change.service);
                self.note(Who::Gate, Mark::Lost, what);
            }
        }
        Ok(allowed)
    }

    /// Renews the permit, changes the service under it, and reports; false if it was taken away.
    pub async fn apply(
        &self,
        allowed: &Answer,
        service: &str,
        revision: &str,
    ) -> Result<bool, DrillError> {
        let id = &allowed.rollout.id;
        let Some(permit) = &allowed.permit else { return Ok(false) };
        let renewed = self.agent.step(id, "renew", &json!({ "epoch": permit.epoch })).await?;
        let Some(permit) = renewed.permit else {
            self.note(
                Who::Gate,
                Mark::Stop,
                format!("takes the permit back: {}", renewed.rollout.state),
            );
            return Ok(false);
        };
        self.scene.fleet.replace(service, revision).await?;
        let what = format!("applies {revision} to {service}; its smoke test passes");
        self.note(Who::Agent, Mark::Change, what);
        let report = json!({ "epoch": permit.epoch, "revision": revision });
        let applied = self.agent.step(id, "applied", &report).await?;
        let what = format!("{service} is {}: watched, no further permit", applied.rollout.state);
        self.note(Who::Gate, Mark::Step, what);
        Ok(true)
    }

    /// Notes each state the baking rollout takes until it is one of `wanted`; `None` if never.
    pub async fn follow(
        &self,
        id: &str,
        wanted: &[&str],
        patience: Duration,
    ) -> Result<Option<String>, DrillError> {
        let mut last = "baking".to_owned();
        let settled = wait_for(patience, async || {
            let state = self.agent.rollout(id).await?.state;
            if state != last {
                if !wanted.contains(&state.as_str()) {
                    self.note(Who::Gate, Mark::Step, format!("{id} is {state}"));
                }
                last.clone_from(&state);
            }
            Ok(wanted.contains(&state.as_str()).then_some(state))
        });
        settled.await
    }
}
