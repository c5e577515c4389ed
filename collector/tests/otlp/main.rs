//! The collector over real sockets: OTLP in, backends and the watchdog's poll out.

mod batches;
mod beats;
mod fair;
mod forms;
mod forwarding;
mod grpc;
mod guard;
mod health;
mod hostile;
mod http;
mod places;
mod profiles;
mod promises;
mod red;
mod reload;
mod rig;
mod rules;
#[expect(dead_code, reason = "shared with the unit tests, which use all of it")]
#[path = "../../src/samples.rs"]
mod samples;
mod sdk;
mod tally;
mod tap;
mod tls;
mod trouble;
