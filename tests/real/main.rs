//! Real parts: a user's own service with the stock OpenTelemetry SDK, and real Prometheus.
//!
//! Each test needs a program that a machine may not have. It then skips itself with one line that
//! says so, except where `HOLDPOINT_REQUIRE=all` asks for everything.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

#[path = "../e2e/http.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod http;
#[path = "../e2e/service.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod service;
#[path = "../e2e/stack.rs"]
#[allow(dead_code, reason = "the end-to-end stories use the rest")]
mod stack;

#[path = "../matrix/backend.rs"]
mod backend;

mod alerts;
mod dashboards;
mod fuzzed_api;
mod python_sdk;
mod readback;
mod relay;

/// Says that `part` is missing and what for; panics where every part is required.
fn skip(part: &str, what: &str) {
    assert!(
        std::env::var("HOLDPOINT_REQUIRE").as_deref() != Ok("all"),
        "{part} is required here and missing; it is needed to {what}"
    );
    eprintln!("skipped: no {part}, so nothing is shown of this: {what}");
}
