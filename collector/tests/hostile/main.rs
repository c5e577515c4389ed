//! What hostile clients cost the collector: each attack against a real process of its own, whose
//! processor time and memory are read from the kernel's accounting.
//!
//! Every attack is held to four things: the process lives, its memory stays within a bound, it
//! spends no more than so much processor time, and a well-behaved client is served meanwhile.
//!
//! Figures are those of a release build (`cargo test --release`). A build without optimisation is
//! held to the same memory, and to [`child::SLOWER`] times the processor time.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod bodies;
mod bombs;
mod child;
mod crowds;
mod floods;
mod malformed;
mod slow;
