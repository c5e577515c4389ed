//! The API: HTTP in front of the driver.
//!
//! A call checks its body, sends one command to the driver and turns the reply into the answer of
//! the protocol; lists and look-ups read the store. [`roles`] is the table of all calls.
//!
//! Invariant: an answer shows only what is committed, and a permit is signed only behind the
//! latch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_gate_core::gate::Gate;
use agent_gate_core::gate::effect;
use agent_gate_core::gate::event::Event;
use agent_gate_core::policy::PolicySet;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::StatusCode;
use tokio::sync::oneshot;
use watchdog_core::names::Service;
use watchdog_core::tick::Tick;

use crate::attest::Keys;
use crate::config::RevertAction;
use crate::driver::command::{Command, Reply};
use crate::driver::{Shared, Stopwatch};
use crate::lead::{Desk, Lead};
use crate::metrics::{CallLabels, Metrics};
use crate::permit::Issuer;
use crate::store::{AuditEntry, Reader, StoreError, TokenRow};
use refusal::Refusal;
use roles::{Call, OPERATIONS, Operation, Verb};

mod attestations;
pub mod body;
mod fences;
pub mod forward;
mod freezes;
mod guard;
mod health;
pub mod openapi;
pub mod pace;
mod records;
pub mod refusal;
pub mod roles;
mod rollouts;
mod services;
#[cfg(test)]
mod tests;
mod token_calls;
pub mod view;
mod waivers;

/// How long a call waits for the driver. A store that hangs longer makes no decision.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// What every call can use.
#[derive(Clone)]
pub struct Api {
    pub shared: Shared,
    pub desk: Desk,
    pub reader: Arc<dyn Reader>,
    pub issuer: Issuer,
    pub keys: Arc<Keys>,
    pub reverts: Arc<BTreeMap<Service, RevertAction>>,
    /// For calls that another gate decides.
    pub peers: reqwest::Client,
    /// How often a token may call.
    pub pace: Arc<pace::Pace>,
    /// What `approval_url` begins with.
    pub base_url: Arc<str>,
    /// The wall clock, for expiry times that others check.
    pub wall_ms: fn() -> u64,
    /// The clock of ages.
    pub tick: fn() -> Tick,
    /// Random secrets for new tokens.
    pub secret: fn() -> String,
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

impl Api {
    /// Lets the gate take in `event`.
    async fn step(&self, event: Event) -> Result<Reply, Refusal> {
        let (reply, waits) = oneshot::channel();
        self.send(Command::Step { event: Box::new(event), reply }).await?;
        self.wait(waits).await
    }

    /// What `look` makes of the gate's memory.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Gate, &PolicySet, Tick) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (reply, waits) = oneshot::channel();
        let look = Box::new(move |gate: &Gate, policy: &PolicySet, now: Tick| {
            let _gone = reply.send(look(gate, policy, now));
        });
        self.send(Command::Look(look)).await?;
        self.wait(waits).await
    }

    async fn keep_token(&self, row: TokenRow, audit: AuditEntry) -> Result<(), Refusal> {
        let (reply, waits) = oneshot::channel();
        self.send(Command::Token { row, audit: Box::new(audit), reply }).await?;
        self.wait(waits).await
    }

    async fn send(&self, command: Command) -> Result<(), Refusal> {
        let commands = match self.desk.lead() {
            Lead::Own(commands) => commands,
            Lead::Others { url } => return Err(Refusal::standby(&url)),
        };
        match tokio::time::timeout(REPLY_TIMEOUT, commands.send(command)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(Refusal::no_decision("the gate is overloaded")),
        }
    }

    async fn wait<T>(&self, waits: oneshot::Receiver<T>) -> Result<T, Refusal> {
        match tokio::time::timeout(REPLY_TIMEOUT, waits).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(Refusal::no_decision("the store does not answer")),
        }
    }
}

fn stopped() -> Refusal {
    Refusal::no_decision("the gate is stopping; nothing was decided")
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "read for an answer");
        Self::no_decision("the store cannot be read; see the gate's log")
    }
}

/// The router of all calls in the table.
pub fn router(api: Api) -> Router {
    let mut router = Router::new();
    for operation in OPERATIONS {
        let guard = middleware::from_fn_with_state((api.clone(), *operation), guard::check);
        let count = middleware::from_fn_with_state((api.clone(), *operation), count);
        let pass = middleware::from_fn_with_state((api.clone(), *operation), forward::pass);
        let route = serve(*operation).layer(pass).layer(guard).layer(count);
        router = router.route(operation.path, route);
    }
    router.fallback(unknown_path).method_not_allowed_fallback(unknown_method).with_state(api)
}

fn serve(operation: Operation) -> MethodRouter<Api> {
    let verb = match operation.verb {
        Verb::Get => MethodFilter::GET,
        Verb::Post => MethodFilter::POST,
        Verb::Delete => MethodFilter::DELETE,
    };
    match operation.call {
        Call::Healthz => on(verb, health::healthz),
        Call::Readyz => on(verb, health::readyz),
        Call::Metrics => on(verb, health::metrics),
        Call::OpenApi => on(verb, openapi::serve),
        Call::RequestRollout => on(verb, rollouts::request),
        Call::ListRollouts => on(verb, rollouts::list),
        Call::ReadRollout => on(verb, rollouts::read),
        Call::Renew => on(verb, rollouts::renew),
        Call::Applied => on(verb, rollouts::applied),
        Call::Report => on(verb, rollouts::report),
        Call::Conclude => on(verb, rollouts::conclude),
        Call::Abort => on(verb, rollouts::abort),
        Call::Approve => on(verb, rollouts::approve),
        Call::Reject => on(verb, rollouts::reject),
        Call::Settle => on(verb, rollouts::settle),
        Call::ListFreezes => on(verb, freezes::list),
        Call::Freeze => on(verb, freezes::freeze),
        Call::Thaw => on(verb, freezes::thaw),
        Call::ListWaivers => on(verb, waivers::list),
        Call::Waive => on(verb, waivers::waive),
        Call::EndWaiver => on(verb, waivers::end),
        Call::ListFences => on(verb, fences::list),
        Call::PollFence => on(verb, fences::poll),
        Call::ListServices => on(verb, services::list),
        Call::ListDecisions => on(verb, records::decisions),
        Call::ReadDecision => on(verb, records::decision),
        Call::ListAudit => on(verb, records::audit),
        Call::Attest => on(verb, attestations::attest),
        Call::ListTokens => on(verb, token_calls::list),
        Call::CreateToken => on(verb, token_calls::create),
        Call::RevokeToken => on(verb, token_calls::revoke),
    }
}

/// Counts a call by its status, and how long decisions take.
async fn count(
    axum::extract::State((api, operation)): axum::extract::State<(Api, Operation)>,
    request: Request,
    next: Next,
) -> Response {
    let watch = Stopwatch::start();
    let response = next.run(request).await;
    let metrics = &api.shared.metrics;
    if matches!(operation.call, Call::RequestRollout | Call::Renew) {
        Metrics::observe(&metrics.decision, watch.elapsed());
    }
    let labels = CallLabels { call: operation.id(), status: response.status().as_u16() };
    metrics.calls.get_or_create(&labels).inc();
    response
}

async fn unknown_path(request: Request) -> Response {
    Refusal::new(
        StatusCode::NOT_FOUND,
        "not_found",
        format!("there is no {:?}", request.uri().path()),
        "see /openapi.json for all calls",
    )
    .into_response()
}

async fn unknown_method(request: Request) -> Response {
    Refusal::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("{} is not for {:?}", request.method(), request.uri().path()),
        "see /openapi.json for all calls",
    )
    .into_response()
}

/// Rows of a list when the caller does not say.
const LIMIT_DEFAULT: u32 = 100;
const LIMIT_MAX: u32 = 1000;

fn limit(asked: Option<u32>) -> Result<u32, Refusal> {
    match asked {
        None => Ok(LIMIT_DEFAULT),
        Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
        Some(limit) => {
            let message = format!("limit {limit} is not between 1 and {LIMIT_MAX}");
            Err(Refusal::bad_request(message))
        }
    }
}

/// Where a list that filled its page goes on.
fn next<T>(items: &[T], limit: u32, id: impl FnOnce(&T) -> String) -> Option<String> {
    let is_full = usize::try_from(limit).is_ok_and(|limit| items.len() >= limit);
    items.last().filter(|_| is_full).map(id)
}

/// A row of the store as the core's type.
fn parse<T: serde::de::DeserializeOwned>(table: &'static str, body: &str) -> Result<T, Refusal> {
    serde_json::from_str(body).map_err(|error| {
        let id = body.chars().take(40).collect();
        Refusal::from(StoreError::Row { table, id, reason: error.to_string() })
    })
}

/// A refusal of the machine, as HTTP says it.
fn refused(refusal: &effect::Refusal) -> Refusal {
    let status = match refusal.status() {
        effect::RefusalStatus::NotFound => StatusCode::NOT_FOUND,
        effect::RefusalStatus::Forbidden => StatusCode::FORBIDDEN,
        effect::RefusalStatus::Conflict => StatusCode::CONFLICT,
    };
    Refusal::new(status, refusal.code(), refusal.to_string(), refusal.hint())
}

/// The machine answered another question than was asked: a broken invariant, told as no decision.
fn unexpected(reply: &Reply) -> Refusal {
    tracing::error!(?reply, "the machine answered another question than was asked");
    Refusal::no_decision("the gate gave no answer to this call")
}
