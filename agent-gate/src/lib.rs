//! The gate: permits, freezes and reverts, durable.
//!
//! The shell round the pure machine of `agent-gate-core`: it reads the clocks, talks HTTP, signs
//! permits, keeps every step in its store and carries out the reverts that the machine orders.
//!
//! ```text
//! agents, operators ─► api ─► driver ─► Gate::step ─► store ─► answer
//! watchdogs ─────────►  │       │  ▲                    │
//!                     tokens    │  └── outcomes ── revert actions
//!                               └─ latch, shut before the write, clear after it
//! ```
//!
//! Read [`start`], then `driver.rs`. Invariant: shut before you write, write before you act, clear
//! only after you wrote.

pub mod api;
mod attest;
pub mod config;
mod driver;
mod fences;
mod lead;
mod metrics;
pub mod permit;
pub mod revert;
pub mod start;
pub mod store;
pub mod tokens;
mod when;

pub use agent_gate_core::policy::Policy;
pub use config::{Config, EnvironmentConfig, RevertAction, ServiceConfig};
pub use metrics::MetricsPage;
pub use start::{BootstrapToken, Bound, Policies, RunError, StartError, Wiring, bind};
pub use tokens::Role;
