//! The watchdog's pure core, and the words every part of Holdpoint speaks.
//!
//! From evidence (beats, telemetry arrivals, probes, the observer's own lateness) to an opinion
//! about each service. No clock, no I/O, no async, no randomness: `now` is an argument, so any
//! moment of any incident can be replayed in a test. The crate border keeps it that way: there is
//! nothing below but `serde`.
//!
//! Invariant: absence is never a number. What was not observed is `None`, and `None` cannot reach
//! a rule as 0.

pub mod admission;
pub mod attestation;
pub mod beat;
pub mod detector;
mod directory;
pub mod judge;
pub mod liveness;
pub mod names;
pub mod probe;
pub mod pulse;
pub mod roster;
mod sync;
pub mod tally;
pub mod tick;
pub mod verdict;
pub mod watch;
