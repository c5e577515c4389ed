//! The watchdog: proves by beats and probes that the signal is alive, and heals the collector.
//!
//! ```text
//!  beats ──► listen (own thread and runtime) ─┐
//!  tally ◄── tally   (long poll)  ────────────┼─► inbox ─► driver (verdict thread) ─► watchdog-core
//!  probes ◄─► probes ─────────────────────────┘                 │
//!                                       published snapshot ◄────┼──► attest ──► gate
//!                                       GET /v1/verdicts        └──► supervise ──► collector
//! ```
//!
//! Invariant: the thread that hears beats never sees telemetry, and nothing that telemetry, the
//! gate or the collector does can make it wait.

mod bind;
mod config;
mod wiring;

pub use bind::{Bound, RunError, StartError, bind};
pub use config::{Config, ServiceConfig};
pub use wiring::{BeatKeys, CollectorPlace, FindCollector, FindGate, GatePlace, Supervise, Wiring};
