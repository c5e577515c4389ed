//! The gate's pure core: the machine that permits, freezes and reverts.
//!
//! A rollout is allowed only while there is proof of sight, judged only on what was seen, and
//! taken back when sight is lost. Everything here is a function of its arguments: no clock, no
//! I/O, no async, no randomness and no logging, so any decision of any incident replays byte for
//! byte from its record. The shell (`agent-gate`) reads the clock, talks HTTP, signs permits,
//! writes SQLite and runs the revert actions that the core orders.
//!
//! Read [`gate`] first: it is the main path.
//!
//! Invariant: unknown holds. No absence, error or restart ever leads to a permit.

pub mod comparison;
pub mod freeze_set;
pub mod gate;
pub mod ids;
pub mod latch;
pub mod policy;
pub mod scope;
mod sync;

pub use gate::Gate;
