//! The answer to a request that was taken: an `Export…ServiceResponse`.
//!
//! Invariant: `partial_success` is unset unless something was rejected, as OTLP demands.

use bytes::Bytes;
use serde_json::json;
use watchdog_core::tally::Signal;

use super::status::{bytes_field, varint_field};
use crate::kind::Kind;
use crate::pipeline::Taken;

const WHY: &str = "records with a trace id that is not 16 bytes, or a span id that is not 8";

/// `{ partial_success = 1: { rejected_… = 1, error_message = 2 } }`, the same for all signals.
pub(super) fn protobuf(taken: Taken) -> Bytes {
    let mut response = Vec::new();
    if taken.rejected > 0 {
        let mut partial = Vec::new();
        varint_field(&mut partial, 1, taken.rejected);
        bytes_field(&mut partial, 2, WHY.as_bytes());
        bytes_field(&mut response, 1, &partial);
    }
    Bytes::from(response)
}

/// The same as JSON; 64-bit numbers are strings there.
pub(super) fn json(kind: Kind, taken: Taken) -> Bytes {
    if taken.rejected == 0 {
        return Bytes::from_static(b"{}");
    }
    let rejected = match kind {
        Kind::Tallied(Signal::Traces) => "rejectedSpans",
        Kind::Tallied(Signal::Metrics) => "rejectedDataPoints",
        Kind::Tallied(Signal::Logs) => "rejectedLogRecords",
        Kind::Profiles => "rejectedProfiles",
    };
    let partial = json!({ rejected: taken.rejected.to_string(), "errorMessage": WHY });
    Bytes::from(json!({ "partialSuccess": partial }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_told_by_its_name_and_nothing_is_told_of_nothing() {
        let (all, some) = (Taken { rejected: 0 }, Taken { rejected: 300 });
        assert_eq!(protobuf(all), b"".as_slice());
        assert_eq!(protobuf(some)[2..5], [0x08, 0xac, 0x02]);
        let kind = Kind::Tallied(Signal::Logs);
        assert_eq!(json(kind, all), b"{}".as_slice());
        let told: serde_json::Value = serde_json::from_slice(&json(kind, some)).expect("JSON");
        assert_eq!(told["partialSuccess"]["rejectedLogRecords"], "300");
    }
}
