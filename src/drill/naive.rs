//! Act one: the agent alone. Its rule is the one in common use: no errors and low latency is a
//! success, so the change goes on to the next service.
//!
//! Invariant: the agent acts on its dashboard alone. The gate runs beside it and is not asked.

use std::time::Duration;

use super::failure::DrillError;
use super::fleet::SERVICES;
use super::gate::Caller;
use super::report::{Act, ActName, Check};
use super::scene::Scene;
use super::service::{CACHED, optimisation};
use super::sight::Reading;
use super::stack::EXPORT_EVERY_MS;
use super::timeline::{Mark, Who};
use super::wait::wait_for;
use super::watch::Watch;

/// How long the agent lets a change run before it looks at its dashboard: longer than an export
/// takes to come, so a reading that is there can be seen.
const LOOK_AFTER: Duration = Duration::from_millis(EXPORT_EVERY_MS + 50);
/// What the agent calls a low latency.
const LATENCY_GOOD_MS: u64 = 50;
/// How long the last change may take to show.
const BLIND_WITHIN: Duration = Duration::from_secs(8);
/// "Nearly all", as a share of what was changed: nine in ten.
const NEARLY_ALL_PERCENT: usize = 90;
/// How long the blind services are then seen to answer.
const BLIND_SERVICE_FOR: Duration = Duration::from_secs(1);
/// An answer that took longer is not fast.
const ANSWER_FAST_MS: u64 = 1_000;

/// Plays the act.
pub async fn play(scene: &Scene) -> Result<(Act, Vec<Check>), DrillError> {
    scene.all_live().await?;
    let watch = Watch::start(scene);
    let mut changed = Vec::new();
    for service in SERVICES {
        changed.push(service);
        if !ship(scene, service).await? {
            break;
        }
    }
    let all = changed.len();
    wait_for(BLIND_WITHIN, async || Ok((watch.blind_now().len() >= all).then_some(()))).await?;
    let blind: Vec<_> =
        changed.iter().copied().filter(|of| watch.blind_now().contains(*of)).collect();

    scene.load.take(&changed);
    tokio::time::sleep(BLIND_SERVICE_FOR).await;
    let answers = scene.load.take(&changed);
    let what = format!(
        "{} answers in {} s, {} failed, the slowest took {} ms; every dashboard reads 0 errors",
        answers.good,
        BLIND_SERVICE_FOR.as_secs(),
        answers.failed,
        answers.slowest_ms,
    );
    scene.timeline.note(Who::Fleet, Mark::Step, what);
    let what = format!("the whole change is out, and {} of {all} services are blind", blind.len());
    scene.timeline.note(Who::Drill, Mark::Lost, what);
    let verdicts = scene.sight.verdicts().await?;
    for spared in changed.iter().filter(|service| !blind.contains(service)) {
        let said = verdicts.get(*spared).map_or("never heard", |of| of.verdict.as_str());
        scene.timeline.note(Who::Watchdog, Mark::Step, format!("{spared} was spared: {said}"));
    }

    let nearly_all = blind.len() * 100 >= SERVICES.len() * NEARLY_ALL_PERCENT;
    let fast = answers.failed == 0 && answers.good > 0 && answers.slowest_ms < ANSWER_FAST_MS;
    let checks = vec![
        Check::new("alone: every reading was good, so all were changed", all == SERVICES.len()),
        Check::new("alone: all or nearly all services went blind", nearly_all),
        Check::new("alone: the blind services answered fast and without an error", fast),
    ];
    let gate = Caller::new(&scene.http, scene.stack.addresses.gate, &scene.stack.operator_token);
    let permits = gate.permits(&optimisation()).await?;
    let act = Act {
        name: ActName::Naive,
        services: SERVICES.len(),
        changed: all,
        blind: blind.len(),
        permits,
        freeze_ms: None,
        reverted_ms: None,
        denied_after: None,
        timeline: scene.timeline.take(),
    };
    Ok((act, checks))
}

/// Changes one service and reads the dashboard; whether the agent calls it a success.
async fn ship(scene: &Scene, service: &str) -> Result<bool, DrillError> {
    scene.fleet.replace(service, CACHED).await?;
    let before = scene.sight.red(service, CACHED).await?;
    tokio::time::sleep(LOOK_AFTER).await;
    let after = scene.sight.red(service, CACHED).await?;
    let reading = Reading::absent_is_zero(before.as_ref(), after.as_ref());
    let good = reading.errors == 0 && reading.p95_ms <= LATENCY_GOOD_MS;
    let verdict = if good { "success" } else { "trouble" };
    let what = format!(
        "ships to {service:<10} {} errors, p95 {} ms: {verdict}",
        reading.errors, reading.p95_ms
    );
    scene.timeline.note(Who::Agent, Mark::Change, what);
    Ok(good)
}
