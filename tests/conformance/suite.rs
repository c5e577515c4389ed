//! The OTLP conformance suite: probes that any OTLP server can be measured by, over raw HTTP/1.1,
//! HTTP/2 and gRPC, with nothing known of the server but its two addresses.
//!
//! A probe states one requirement, how binding it is, and a check. The requirements are those of
//! the OTLP specification 1.11, of the protobuf and JSON mappings it rests on, and of the HTTP and
//! gRPC it is carried by. The test `conformance` runs it against the collector of this repository,
//! the example `conformance` against any other.

pub mod answer;
pub mod connection;
pub mod delivery;
pub mod encoding;
pub mod grpc_call;
pub mod grpc_frame;
pub mod h2;
pub mod http;
pub mod json_form;
pub mod json_value;
pub mod media_type;
pub mod path;
pub mod probe;
pub mod refusal;
pub mod report;
pub mod requests;
pub mod sink;
pub mod size;
pub mod success;
pub mod target;
pub mod value;
pub mod wire;
pub mod wire_form;

use probe::Probe;

/// All probes that need nothing but the server, family by family, in the order of the report.
/// `delivery::PROBES` come after them where the server exports to the suite's sink.
pub fn probes() -> Vec<Probe> {
    [
        path::PROBES,
        media_type::PROBES,
        success::PROBES,
        refusal::PROBES,
        encoding::PROBES,
        size::PROBES,
        connection::PROBES,
        wire_form::PROBES,
        value::PROBES,
        json_form::PROBES,
        json_value::PROBES,
        grpc_call::PROBES,
        grpc_frame::PROBES,
    ]
    .concat()
}
