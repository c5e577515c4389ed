//! `google.rpc.Status`, the body of every refusal.
//!
//! Invariant: a refusal that passes by itself carries a `RetryInfo`; clients of gRPC retry by it.

use serde_json::json;

use crate::refusal::Refusal;

const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `Status { code = 1, message = 2, details = 3 }`.
pub(super) fn protobuf(refusal: &Refusal) -> Vec<u8> {
    let mut status = Vec::new();
    varint_field(&mut status, 1, refusal.grpc_code().unsigned_abs().into());
    bytes_field(&mut status, 2, refusal.to_string().as_bytes());
    if let Some(seconds) = refusal.retry_after_s() {
        // RetryInfo { retry_delay = 1: Duration { seconds = 1 } }
        let (mut duration, mut retry_info) = (Vec::new(), Vec::new());
        varint_field(&mut duration, 1, seconds);
        bytes_field(&mut retry_info, 1, &duration);
        detail(&mut status, RETRY_INFO, &retry_info);
    }
    if let Refusal::Malformed(why) = refusal {
        // BadRequest { field_violations = 1: { field = 1, description = 2 } }
        let (mut violation, mut bad_request) = (Vec::new(), Vec::new());
        bytes_field(&mut violation, 1, b"body");
        bytes_field(&mut violation, 2, why.as_bytes());
        bytes_field(&mut bad_request, 1, &violation);
        detail(&mut status, BAD_REQUEST, &bad_request);
    }
    status
}

/// `details = 3: Any { type_url = 1, value = 2 }`.
fn detail(status: &mut Vec<u8>, type_url: &str, value: &[u8]) {
    let mut any = Vec::new();
    bytes_field(&mut any, 1, type_url.as_bytes());
    bytes_field(&mut any, 2, value);
    bytes_field(status, 3, &any);
}

/// The same as JSON.
pub(super) fn json(refusal: &Refusal) -> Vec<u8> {
    let (code, message) = (refusal.grpc_code(), refusal.to_string());
    let mut details = Vec::new();
    if let Some(seconds) = refusal.retry_after_s() {
        details.push(json!({ "@type": RETRY_INFO, "retryDelay": format!("{seconds}s") }));
    }
    if let Refusal::Malformed(why) = refusal {
        let violation = json!({ "field": "body", "description": why });
        details.push(json!({ "@type": BAD_REQUEST, "fieldViolations": [violation] }));
    }
    json!({ "code": code, "message": message, "details": details }).to_string().into_bytes()
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn varint_field(out: &mut Vec<u8>, number: u64, value: u64) {
    varint(out, number << 3);
    varint(out, value);
}

pub(super) fn bytes_field(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    varint(out, number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_encoded_as_the_protocol_has_it() {
        let status = protobuf(&Refusal::Malformed("x".repeat(200)));
        assert_eq!(status[..2], [0x08, 3]);
        // The message is "malformed request: " and 200 letters: 219 bytes.
        assert_eq!(status[2..5], [0x12, 0xdb, 0x01]);
        assert_eq!(status[5 + 219], 0x1a, "then the details");
        let status = protobuf(&Refusal::QueueFull);
        assert!(status.ends_with(b"RetryInfo\x12\x04\x0a\x02\x08\x01"), "{status:x?}");
        let status: serde_json::Value =
            serde_json::from_slice(&json(&Refusal::QueueFull)).expect("JSON");
        assert_eq!(status["code"], 14);
        assert_eq!(status["details"][0]["retryDelay"], "1s");
        let status = json(&Refusal::Malformed("why".to_owned()));
        let status: serde_json::Value = serde_json::from_slice(&status).expect("JSON");
        assert_eq!(status["details"][0]["fieldViolations"][0]["description"], "why");
    }
}
