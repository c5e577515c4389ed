//! The answer to a request that was taken: an `Export…ServiceResponse`.
//!
//! Invariant: `partial_success` is unset unless something was rejected, as OTLP demands.

use bytes::Bytes;
use serde_json::json;
use watchdog_core::tally::Signal;

use super::status::{bytes_field, varint_field};
use crate::kind::Kind;
use crate::pipeline::Taken;

const MALFORMED: &str = "records with a trace id that is not 16 bytes, or a span id that is not 8";
const REJECTED: &str = "a backend rejected records";

impl Taken {
    /// How many records were rejected, and why; `None` if none was.
    fn partial(self) -> Option<(u64, String)> {
        let why = match (self.malformed, self.rejected) {
            (0, 0) => return None,
            (_, 0) => MALFORMED.to_owned(),
            (0, _) => REJECTED.to_owned(),
            (malformed, rejected) => format!("{malformed} {MALFORMED}; {rejected}: {REJECTED}"),
        };
        Some((self.malformed.saturating_add(self.rejected), why))
    }
}

/// `{ partial_success = 1: { rejected_… = 1, error_message = 2 } }`, the same for all signals.
pub(super) fn protobuf(taken: Taken) -> Bytes {
    let mut response = Vec::new();
    if let Some((rejected, why)) = taken.partial() {
        let mut partial = Vec::new();
        varint_field(&mut partial, 1, rejected);
        bytes_field(&mut partial, 2, why.as_bytes());
        bytes_field(&mut response, 1, &partial);
    }
    Bytes::from(response)
}

/// The same as JSON; 64-bit numbers are strings there.
pub(super) fn json(kind: Kind, taken: Taken) -> Bytes {
    let Some((rejected, why)) = taken.partial() else {
        return Bytes::from_static(b"{}");
    };
    let name = match kind {
        Kind::Tallied(Signal::Traces) => "rejectedSpans",
        Kind::Tallied(Signal::Metrics) => "rejectedDataPoints",
        Kind::Tallied(Signal::Logs) => "rejectedLogRecords",
        Kind::Profiles => "rejectedProfiles",
    };
    let partial = json!({ name: rejected.to_string(), "errorMessage": why });
    Bytes::from(json!({ "partialSuccess": partial }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_told_by_its_name_and_nothing_is_told_of_nothing() {
        let all = Taken { malformed: 0, rejected: 0 };
        let some = Taken { malformed: 300, rejected: 0 };
        assert_eq!(protobuf(all), b"".as_slice());
        assert_eq!(protobuf(some)[2..5], [0x08, 0xac, 0x02]);
        let kind = Kind::Tallied(Signal::Logs);
        assert_eq!(json(kind, all), b"{}".as_slice());
        let told: serde_json::Value = serde_json::from_slice(&json(kind, some)).expect("JSON");
        assert_eq!(told["partialSuccess"]["rejectedLogRecords"], "300");
    }

    #[test]
    fn what_two_parties_rejected_is_added_and_both_are_named() {
        let (count, why) = Taken { malformed: 2, rejected: 5 }.partial().expect("some");
        assert_eq!(count, 7);
        assert!(why.contains(MALFORMED) && why.contains(REJECTED), "{why}");
    }
}
