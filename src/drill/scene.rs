//! What both acts begin with: an installation, a fleet on the plain revision, and load.
//!
//! Invariant: an act begins only on a scene that nobody has touched, so the acts can be compared.

use std::sync::Arc;
use std::time::Duration;

use watchdog_core::verdict::{Verdict, VerdictKind};

use super::conductor::Conductor;
use super::failure::DrillError;
use super::fleet::{Fleet, SERVICES, Wiring};
use super::load::Load;
use super::sight::Sight;
use super::stack::{self, Stack};
use super::timeline::{Mark, Timeline, Who};
use super::wait::wait_for;
use super::workplace::Workplace;

const LIVE_WITHIN: Duration = Duration::from_secs(20);
/// No answer of a service on loopback takes so long unless it is gone.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// A running stage for one act.
#[derive(Debug)]
pub struct Scene {
    pub timeline: Arc<Timeline>,
    pub http: reqwest::Client,
    pub stack: Stack,
    pub fleet: Arc<Fleet>,
    pub load: Load,
    pub sight: Sight,
    _conductor: Conductor,
}

impl Scene {
    /// Sets the stage in a directory `name` of its own.
    pub async fn set(
        workplace: &Workplace,
        name: &str,
        timeline: &Arc<Timeline>,
    ) -> Result<Self, DrillError> {
        let program = stack::own_program()?;
        let dir = workplace.path().join(name);
        // Short, because the kernel takes at most 107 bytes for the path of a Unix socket.
        let socket = workplace.path().join(format!("{name}.sock"));
        let http = client()?;
        let stack = Stack::start(&program, &dir, &socket).await?;
        timeline.note(Who::Drill, Mark::Step, "collector, watchdog and gate are up");
        let wiring = Wiring {
            program,
            otlp: stack.addresses.otlp,
            beats: stack.addresses.watchdog,
            log: dir.join("fleet.log"),
        };
        let fleet = Arc::new(Fleet::start(wiring, http.clone()).await?);
        let conductor = Conductor::start(&socket, Arc::clone(&fleet), Arc::clone(timeline))?;
        let load = Load::start(&fleet, &http);
        let what = format!("{} services serve, beat, export and are under load", SERVICES.len());
        timeline.note(Who::Fleet, Mark::Step, what);
        let sight = Sight::new(http.clone(), stack.addresses);
        let timeline = Arc::clone(timeline);
        Ok(Self { timeline, http, stack, fleet, load, sight, _conductor: conductor })
    }

    /// Waits until every service is live.
    ///
    /// # Errors
    /// If one is not in time: without sight at first, an act can show nothing.
    pub async fn all_live(&self) -> Result<(), DrillError> {
        self.all_seen(LIVE_WITHIN).await?.map_err(|last_words| DrillError::Late {
            what: format!("sight of all {} services", SERVICES.len()),
            after: LIVE_WITHIN,
            last_words,
        })?;
        let what = format!("all {} services are live", SERVICES.len());
        self.timeline.note(Who::Watchdog, Mark::Good, what);
        Ok(())
    }

    /// Waits until every service is live and the watchdog has learnt how often it exports: until
    /// then it allows the minute that is OpenTelemetry's default. The inner error says who is not.
    pub async fn all_seen(&self, patience: Duration) -> Result<Result<(), String>, DrillError> {
        let mut dark = String::new();
        let seen = wait_for(patience, async || {
            let verdicts = self.sight.verdicts().await?;
            let waiting = SERVICES.iter().find(|name| !verdicts.get(**name).is_some_and(is_seen));
            let Some(waiting) = waiting else { return Ok(Some(())) };
            let said = verdicts.get(*waiting).map_or("never heard", |of| &*of.reason);
            dark = format!("{waiting} is not seen: {said}");
            Ok(None)
        });
        let seen = seen.await?;
        Ok(seen.ok_or(dark))
    }

    /// Ends the fleet first, so that its last records and beats still find someone.
    pub async fn strike(self) {
        drop(self.load);
        self.fleet.stop().await;
        self.stack.stop().await;
    }
}

fn is_seen(verdict: &Verdict) -> bool {
    verdict.verdict == VerdictKind::Live
        && verdict.signals.values().all(|signal| !signal.expected || signal.cadence_ms.is_some())
}

fn client() -> Result<reqwest::Client, DrillError> {
    reqwest::Client::builder()
        // Everything is on this machine, whatever proxy the person's environment names.
        .no_proxy()
        .timeout(ANSWER_WITHIN)
        .build()
        .map_err(DrillError::unreachable("build an HTTP client"))
}
