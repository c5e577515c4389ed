//! The watchdog: proves by beats and probes that the signal is alive, and heals the collector.
//!
//! ```text
//!  beats ──► listen (own thread and runtime) ─┐
//!  tally ◄── tally   (long poll)  ────────────┼─► inbox ─► driver ─► watchdog-core
//!  probes ◄─► probes ─────────────────────────┘                 │
//!                                       published snapshot ◄────┼──► attest ──► gate
//!                                       GET /v1/verdicts        └──► supervise ──► collector
//! ```
//!
//! Invariant: the thread that hears beats never sees telemetry, and nothing that telemetry, the
//! gate or the collector does can make it wait.

mod attest;
mod bind;
mod client;
mod config;
mod dead_man;
mod driver;
mod echo;
mod far_tap;
mod foreign;
mod inbox;
mod kernel;
mod kick;
mod listen;
mod memory;
mod metrics;
mod probes;
mod publish;
mod run;
mod streak;
mod supervise;
mod tally;
mod turns;
mod wiring;

pub use bind::{Bound, StartError, bind};
pub use config::{Config, Foreign, ReadbackConfig, ServiceConfig};
pub use driver::{Clock, SystemClock};
pub use foreign::{Container, Restart};
pub use kernel::KernelPorts;
pub use listen::mac::{canonical as canonical_datagram, sign as sign_beat};
pub use metrics::MetricsPage;
pub use run::RunError;
pub use wiring::{
    BeatKeys, CollectorPlace, FindCollector, FindGate, GatePlace, Healing, Keep, Quarantine,
    Supervise, Wiring,
};
