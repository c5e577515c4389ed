//! The suite of `tests/gate` once more, on a gate that keeps its state in PostgreSQL.
//!
//! Left out is what asks for SQLite by name. Where no PostgreSQL is installed nothing runs, unless
//! `HOLDPOINT_REQUIRE=all` asks for every part.

#[path = "../gate/attestations.rs"]
mod attestations;
#[path = "../gate/fences.rs"]
mod fences;
#[path = "../gate/freezes.rs"]
mod freezes;
#[path = "../gate/lifecycle.rs"]
mod lifecycle;
#[path = "../gate/persons.rs"]
mod persons;
#[path = "../gate/records.rs"]
mod records;
#[path = "../gate/restart.rs"]
mod restart;
#[path = "../gate/reverts.rs"]
mod reverts;
#[path = "../gate/roles.rs"]
mod roles;
#[path = "../gate/server.rs"]
mod server;
#[allow(dead_code, reason = "the suite on SQLite uses the rest")]
#[path = "../gate/stand.rs"]
mod stand;
#[path = "../gate/waivers.rs"]
mod waivers;
#[allow(dead_code, reason = "the suite on SQLite uses the rest")]
#[path = "../gate/watchdog.rs"]
mod watchdog;
