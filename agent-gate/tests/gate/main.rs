//! The gate on real sockets and a real SQLite file, with a test watchdog that signs attestations.
//!
//! Each test has a gate, a directory and a free port of its own. Nothing sleeps to wait for
//! something: [`stand::eventually`] asks until it is so, or fails at a deadline.

mod attestations;
mod authority;
mod borders;
mod fences;
mod freezes;
mod journal;
mod keep;
mod lifecycle;
mod persons;
mod records;
mod restart;
mod reverts;
mod roles;
mod secured;
mod server;
mod stand;
mod store;
mod stores;
mod turns;
mod waivers;
mod watchdog;
