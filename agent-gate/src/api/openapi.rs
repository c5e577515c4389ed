//! `/openapi.json`: the table of calls as an OpenAPI 3.1 document.
//!
//! It is written from [`OPERATIONS`], so it cannot miss a call, and the schemas are derived from
//! the very types that bodies are read into. Every operation lists its roles under `x-roles`;
//! public ones have an empty security list.
//!
//! Invariant: a call that the router serves is in the document with the roles the guard checks.

use axum::Json;
use serde_json::json;
use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation as Described, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    Components, Content, HttpMethod, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Paths, Ref,
    RefOr, Required, Response, Responses, Schema,
};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::roles::{Access, Call, OPERATIONS, Operation, Verb};
use super::view::{FreezeView, List, RolloutView};
use super::{
    attestations, fences, freezes, health, records, refusal, rollouts, services, token_calls,
    waivers,
};
use crate::tokens::Role;

const SCHEME: &str = "bearer";
const JSON: &str = "application/json";

pub async fn serve() -> Json<OpenApi> {
    Json(document())
}

/// The whole document.
#[must_use]
pub fn document() -> OpenApi {
    let mut schemas = Vec::new();
    let mut paths = Paths::new();
    for operation in OPERATIONS {
        let described = describe(*operation, &mut schemas);
        let method = match operation.verb {
            Verb::Get => HttpMethod::Get,
            Verb::Post => HttpMethod::Post,
            Verb::Delete => HttpMethod::Delete,
        };
        let item = PathItem::new(method, described);
        match paths.paths.get_mut(operation.path) {
            Some(known) => known.merge_operations(item),
            None => drop(paths.paths.insert(operation.path.to_owned(), item)),
        }
    }
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A token of the installation; each has one role"))
        .build();
    let mut components = Components::new();
    components.schemas.extend(schemas);
    components.add_security_scheme(SCHEME, SecurityScheme::Http(bearer));
    let about = InfoBuilder::new()
        .title("Holdpoint gate")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "No proof of sight, no rollout. Decisions are allow, hold or deny, with status 200; \
             503 with Retry-After means that no decision could be made, and never means go.",
        ))
        .build();
    OpenApiBuilder::new().info(about).paths(paths).components(Some(components)).build()
}

type Schemas = Vec<(String, RefOr<Schema>)>;

fn describe(operation: Operation, schemas: &mut Schemas) -> Described {
    let (id, summary) = words(operation.call);
    let mut described = Described::builder()
        .operation_id(Some(id))
        .summary(Some(summary))
        .extensions(Some(roles(operation.access)))
        .securities(Some(security(operation.access)))
        .responses(responses(operation, schemas))
        .request_body(body(operation.call, schemas));
    for parameter in parameters(operation) {
        described = described.parameter(parameter);
    }
    described.build()
}

fn security(access: Access) -> Vec<SecurityRequirement> {
    match access {
        Access::Public => Vec::new(),
        Access::Roles(_) => vec![SecurityRequirement::new(SCHEME, [] as [&str; 0])],
    }
}

fn roles(access: Access) -> Extensions {
    let roles: Vec<&str> = match access {
        Access::Public => Vec::new(),
        Access::Roles(roles) => roles.iter().copied().map(Role::as_str).collect(),
    };
    Extensions::builder().add("x-roles", json!(roles)).build()
}

fn parameters(operation: Operation) -> Vec<Parameter> {
    let query = || Some(ParameterIn::Query);
    let mut all = match operation.call {
        Call::ListRollouts => rollouts::ListQuery::into_params(query),
        Call::ListFreezes => freezes::ListQuery::into_params(query),
        Call::ListWaivers => waivers::ListQuery::into_params(query),
        Call::ListDecisions => records::DecisionsQuery::into_params(query),
        Call::ListAudit => records::AuditQuery::into_params(query),
        Call::Healthz
        | Call::Readyz
        | Call::Metrics
        | Call::OpenApi
        | Call::RequestRollout
        | Call::ReadRollout
        | Call::Renew
        | Call::Applied
        | Call::Report
        | Call::Conclude
        | Call::Abort
        | Call::Approve
        | Call::Reject
        | Call::Settle
        | Call::Freeze
        | Call::Thaw
        | Call::Waive
        | Call::EndWaiver
        | Call::ListFences
        | Call::PollFence
        | Call::ListServices
        | Call::ReadDecision
        | Call::Attest
        | Call::ListTokens
        | Call::CreateToken
        | Call::RevokeToken => Vec::new(),
    };
    for name in ["id", "name"] {
        if operation.path.contains(&format!("{{{name}}}")) {
            let parameter = ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Path)
                .required(Required::True)
                .schema(Some(String::schema()));
            all.push(parameter.build());
        }
    }
    all
}

fn body(call: Call, schemas: &mut Schemas) -> Option<RequestBody> {
    let schema = match call {
        Call::RequestRollout => refer::<rollouts::RequestBody>(schemas),
        Call::Renew => refer::<rollouts::RenewBody>(schemas),
        Call::Applied => refer::<rollouts::AppliedBody>(schemas),
        Call::Report => refer::<rollouts::ReportBody>(schemas),
        Call::Conclude => refer::<rollouts::ConcludeBody>(schemas),
        Call::Abort => refer::<rollouts::AbortBody>(schemas),
        Call::Approve => refer::<rollouts::ApproveBody>(schemas),
        Call::Reject => refer::<rollouts::RejectBody>(schemas),
        Call::Settle => refer::<rollouts::SettleBody>(schemas),
        Call::Freeze => refer::<freezes::FreezeBody>(schemas),
        Call::Thaw => refer::<freezes::ThawBody>(schemas),
        Call::Waive => refer::<waivers::WaiverBody>(schemas),
        Call::EndWaiver => refer::<waivers::EndBody>(schemas),
        Call::PollFence => refer::<fences::FenceBody>(schemas),
        Call::CreateToken => refer::<token_calls::TokenBody>(schemas),
        Call::Attest => refer::<attestations::Statement>(schemas),
        Call::Healthz
        | Call::Readyz
        | Call::Metrics
        | Call::OpenApi
        | Call::ListRollouts
        | Call::ReadRollout
        | Call::ListFreezes
        | Call::ListWaivers
        | Call::ListFences
        | Call::ListServices
        | Call::ListDecisions
        | Call::ReadDecision
        | Call::ListAudit
        | Call::ListTokens
        | Call::RevokeToken => return None,
    };
    let mut body = RequestBody::new();
    body.content.insert(JSON.to_owned(), Content::new(Some(schema)).into());
    body.required = Some(Required::True);
    Some(body)
}

/// The status of success, what it carries, and the errors that are the call's own.
fn responses(operation: Operation, schemas: &mut Schemas) -> Responses {
    let (status, schema) = match operation.call {
        Call::Healthz | Call::Readyz => ("200", Some(refer::<health::Health>(schemas))),
        Call::Metrics | Call::OpenApi => ("200", None),
        Call::RequestRollout
        | Call::Renew
        | Call::Applied
        | Call::Report
        | Call::Conclude
        | Call::Abort
        | Call::Approve
        | Call::Reject
        | Call::Settle => ("200", Some(refer::<rollouts::RolloutAnswer>(schemas))),
        Call::ListRollouts => ("200", Some(list::<RolloutView>(schemas))),
        Call::ReadRollout => ("200", Some(refer::<RolloutView>(schemas))),
        Call::ListFreezes => ("200", Some(list::<FreezeView>(schemas))),
        Call::Freeze => ("201", Some(refer::<FreezeView>(schemas))),
        Call::Thaw => ("200", Some(refer::<FreezeView>(schemas))),
        Call::ListWaivers => ("200", Some(list::<waivers::WaiverView>(schemas))),
        Call::Waive => ("201", Some(refer::<waivers::WaiverView>(schemas))),
        Call::EndWaiver => ("200", Some(refer::<waivers::WaiverView>(schemas))),
        Call::ListFences => ("200", Some(list::<fences::TargetView>(schemas))),
        Call::PollFence => ("200", Some(refer::<fences::FenceAnswer>(schemas))),
        Call::ListServices => ("200", Some(list::<services::ServiceView>(schemas))),
        Call::ListDecisions => ("200", Some(list::<records::DecisionView>(schemas))),
        Call::ReadDecision => ("200", Some(refer::<records::DecisionView>(schemas))),
        Call::ListAudit => ("200", Some(list::<records::AuditView>(schemas))),
        Call::Attest => ("202", Some(refer::<attestations::Taken>(schemas))),
        Call::ListTokens => ("200", Some(list::<token_calls::TokenView>(schemas))),
        Call::CreateToken => ("201", Some(refer::<token_calls::TokenCreated>(schemas))),
        Call::RevokeToken => ("200", Some(refer::<token_calls::TokenView>(schemas))),
    };
    let mut responses = Responses::new();
    let mut success = Response::new(words(operation.call).1);
    if let Some(schema) = schema {
        success.content.insert(JSON.to_owned(), Content::new(Some(schema)).into());
    }
    if operation.call == Call::Freeze {
        // The same freeze is in force already.
        responses.responses.insert("200".to_owned(), success.clone().into());
    }
    responses.responses.insert(status.to_owned(), success.into());
    let error = refer::<refusal::ErrorBody>(schemas);
    for (status, meaning) in errors(operation) {
        let mut response = Response::new(*meaning);
        response.content.insert(JSON.to_owned(), Content::new(Some(error.clone())).into());
        responses.responses.insert((*status).to_owned(), response.into());
    }
    responses
}

fn errors(operation: Operation) -> &'static [(&'static str, &'static str)] {
    match (operation.access, operation.verb) {
        (Access::Public, _) => &[("503", "The gate cannot decide now")],
        (Access::Roles(_), Verb::Get) => &[
            ("400", "Wrong or unknown parameter"),
            ("401", "No token, or one that is not good"),
            ("403", "The role may not"),
            ("404", "No such id"),
            ("429", "The token calls too often; see Retry-After"),
            ("503", "The gate cannot answer now; see Retry-After"),
        ],
        (Access::Roles(_), Verb::Post | Verb::Delete) => &[
            ("400", "Wrong body, or a field that is not known"),
            ("401", "No token, or one that is not good"),
            ("403", "The role may not, or the rollout is another token's"),
            ("404", "No such id"),
            ("409", "Old epoch, other body for a known id, or not in this state"),
            ("413", "The body is too long"),
            ("429", "The token calls too often; see Retry-After"),
            ("503", "No decision was made; see Retry-After"),
        ],
    }
}

/// The `operationId` of a call and what it is for, in a few words.
#[must_use]
pub const fn words(call: Call) -> (&'static str, &'static str) {
    match call {
        Call::Healthz => ("healthz", "Whether the process turns"),
        Call::Readyz => ("readyz", "Whether decisions can be made"),
        Call::Metrics => ("metrics", "OpenMetrics"),
        Call::OpenApi => ("openapi", "This document"),
        Call::RequestRollout => {
            ("requestRollout", "Ask for a rollout; change_id is the idempotency key")
        }
        Call::ListRollouts => ("listRollouts", "Rollouts, newest first"),
        Call::ReadRollout => ("readRollout", "One rollout with its decisions and timeline"),
        Call::Renew => ("renewRollout", "Ask for a permit or a new expiry of it"),
        Call::Applied => ("reportApplied", "Say that the revision is in place"),
        Call::Report => ("reportClaim", "The agent's own reading, kept beside the gate's"),
        Call::Conclude => ("concludeRollout", "End the agent's part"),
        Call::Abort => ("abortRollout", "Call it off; after applying this reverts"),
        Call::Approve => ("approveRollout", "Approve exactly this digest"),
        Call::Reject => ("rejectRollout", "Refuse exactly this digest"),
        Call::Settle => ("settleRollout", "Settle what is inconclusive or stuck"),
        Call::ListFreezes => ("listFreezes", "Freezes in force; ?all=true for all"),
        Call::Freeze => ("freeze", "Stop the line; in force before the answer"),
        Call::Thaw => ("thaw", "Lift a freeze"),
        Call::ListWaivers => ("listWaivers", "Planned silence; ?all=true for what is over too"),
        Call::Waive => ("waive", "Plan silence: it freezes nothing, and nothing rolls out on it"),
        Call::EndWaiver => ("endWaiver", "End a waiver before its time"),
        Call::ListFences => ("listFences", "Targets, and up to which epoch each is fenced"),
        Call::PollFence => ("pollFence", "All freezes for a fence, and what it holds"),
        Call::ListServices => {
            ("listServices", "Services, configured or heard, as the gate sees them")
        }
        Call::ListDecisions => ("listDecisions", "Decisions, newest first"),
        Call::ReadDecision => ("readDecision", "One decision with all it rested on"),
        Call::ListAudit => ("listAudit", "The hash-chained audit log, oldest first"),
        Call::Attest => ("attest", "A watchdog's signed statement"),
        Call::ListTokens => ("listTokens", "Tokens, without their secrets"),
        Call::CreateToken => ("createToken", "Create a token; its secret is shown once"),
        Call::RevokeToken => ("revokeToken", "Revoke a token"),
    }
}

/// A reference to the schema of a page of `T`.
fn list<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema>
where
    List<T>: ToSchema,
{
    // The derived name leaves `T` out, and all pages would be the first one's.
    let name = format!("{}List", T::name());
    if !schemas.iter().any(|(known, _)| *known == name) {
        schemas.push((name.clone(), List::<T>::schema()));
        refer::<T>(schemas);
    }
    Ref::from_schema_name(name).into()
}

/// A reference to the schema of `T`, which is added with all it refers to.
fn refer<T: ToSchema>(schemas: &mut Schemas) -> RefOr<Schema> {
    let name = T::name().into_owned();
    if !schemas.iter().any(|(known, _)| *known == name) {
        schemas.push((name.clone(), T::schema()));
        T::schemas(schemas);
    }
    Ref::from_schema_name(name).into()
}
