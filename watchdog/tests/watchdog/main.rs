//! The watchdog on real sockets and real processes.
//!
//! The collector and the gate are small servers of these tests that speak the real protocols; the
//! watchdog is the whole crate, started as the root package starts it.

mod attestations;
mod beats;
mod clients;
mod docker;
mod echo;
mod fakes;
mod flood;
mod foreign;
mod kernel;
mod lateness;
mod notify;
mod otelcol;
mod outside;
mod readback;
mod stage;
mod stops;
mod supervision;
mod verdicts;
mod watched;
