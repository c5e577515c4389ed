//! End to end: the real executable, real processes, real sockets, `kill -9` and `kill -STOP`.
//!
//! One file tells one story on one stack. The stack's services are played by the test: they beat
//! over UDP and post OTLP to the collector, so that every silence is exactly the one that is meant.
//!
//! Invariant: stories run one after the other, because their bounds are in real time and the
//! machine may have two cores.

#![allow(clippy::unwrap_used, reason = "in a test a panic with its place is the message")]

mod http;
mod lateness;
mod service;
mod stack;

mod faults;
mod healing;
mod hostile;
mod journal;
mod ladder;
mod recursive_crash;
mod refusals;
mod running;
mod tap;
