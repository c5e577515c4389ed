//! After the freeze: the agent goes on asking, a person looks, and the line runs again.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::json;

use super::Play;
use crate::drill::failure::DrillError;
use crate::drill::fleet::{PLAIN, SERVICES};
use crate::drill::gate::{Change, Decision};
use crate::drill::service::digest;
use crate::drill::timeline::{Mark, Who};
use crate::drill::wait::wait_for;

/// While the cause still holds the gate refuses to thaw; it holds for seconds at most.
const THAW_WITHIN: Duration = Duration::from_secs(15);
const CONFIRM_WITHIN: Duration = Duration::from_secs(20);
/// A change that does no harm: the same program under another name.
const REWORDED: &str = "reworded";

impl Play<'_> {
    /// The agent asks for every other service; how many times it was denied.
    pub async fn deny_the_rest(&mut self) -> Result<u64, DrillError> {
        let mut denied = 0;
        let mut reason = String::new();
        for service in &SERVICES[1..] {
            let answer = self.agent.request(&self.optimisation(service)).await?;
            if answer.decision == Decision::Deny {
                denied += 1;
                reason = answer.because();
            }
        }
        let others = SERVICES.len() - 1;
        self.note(Who::Agent, Mark::Change, format!("asks for the other {others} services"));
        self.note(Who::Gate, Mark::Stop, format!("denies {denied} of {others}: {reason}"));
        self.check("every later request was denied", usize::try_from(denied) == Ok(others));
        self.refuse_the_agents_thaw().await?;
        Ok(denied)
    }

    async fn refuse_the_agents_thaw(&mut self) -> Result<(), DrillError> {
        let mut refused = false;
        for freeze in self.agent.freezes().await? {
            let status = self.agent.thaw(&freeze.id, "the agent would like to go on").await?;
            refused = status == StatusCode::FORBIDDEN;
            let what = format!("tries to thaw {}: {status}", freeze.id);
            self.note(Who::Agent, Mark::Change, what);
        }
        self.check("the agent could not thaw", refused);
        Ok(())
    }

    /// A person thaws; a harmless change then goes all the way.
    pub async fn thaw_and_go_on(&mut self) -> Result<(), DrillError> {
        let thawed = wait_for(THAW_WITHIN, async || {
            for freeze in self.operator.freezes().await? {
                self.operator.thaw(&freeze.id, "drill: cause found, change withdrawn").await?;
            }
            Ok(self.operator.freezes().await?.is_empty().then_some(()))
        });
        let thawed = thawed.await?.is_some();
        let mark = if thawed { Mark::Good } else { Mark::Lost };
        self.note(Who::Operator, mark, "looks, finds the cause and thaws the fleet");
        self.check("a person thawed", thawed);

        self.note(Who::Agent, Mark::Change, format!("asks for {}: cache again", SERVICES[2]));
        let id = "second-try".to_owned();
        let again = Change { id, ..self.optimisation(SERVICES[2]) };
        let again = self.agent.request(&again).await?;
        let refused = again.decision == Decision::Deny && again.reason("blocked_digest").is_some();
        let what = "refuses the cache as before: that digest is blocked everywhere";
        let what = if refused { what.to_owned() } else { again.because() };
        self.note(Who::Gate, if refused { Mark::Stop } else { Mark::Lost }, what);
        self.check("the change that silenced a service stays refused", refused);
        self.go_on_with_a_harmless_change().await
    }

    async fn go_on_with_a_harmless_change(&mut self) -> Result<(), DrillError> {
        let service = SERVICES[1];
        let digest = digest(b"reword the price label");
        let summary = "reword the price label";
        let id = format!("{service}-reword");
        let change = Change { id, service, from: PLAIN, to: REWORDED, digest: &digest, summary };
        self.note(Who::Agent, Mark::Change, format!("asks for {service}: {summary}"));
        let allowed = self.ask_until_allowed(&change).await?;
        self.check("a harmless change was allowed after the thaw", allowed.is_some());
        let Some(allowed) = allowed else { return Ok(()) };
        let id = allowed.rollout.id.clone();
        let confirmed = if self.apply(&allowed, service, REWORDED).await? {
            let wanted = ["confirmed", "inconclusive", "reverting", "reverted", "stuck"];
            self.follow(&id, &wanted, CONFIRM_WITHIN).await?
        } else {
            None
        };
        let confirmed = confirmed.as_deref() == Some("confirmed");
        if confirmed {
            self.note(Who::Gate, Mark::Good, format!("{id} is confirmed by its own telemetry"));
        } else {
            // Nobody waits for this rollout; the scene is struck with it in flight.
            let _ = self.agent.step(&id, "abort", &json!({ "reason": "the drill ends" })).await;
        }
        self.check("the harmless change was confirmed with live evidence", confirmed);
        Ok(())
    }
}
