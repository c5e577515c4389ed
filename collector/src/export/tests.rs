//! What backends answer, and what it means.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};

use super::attempt::{self, Answer, Failure, Outcome};
use crate::samples::field;

fn answer(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    let (mut head, ()) = Response::builder().status(status).body(()).expect("valid").into_parts();
    for (name, value) in headers {
        let name = HeaderName::try_from(*name).expect("a name");
        head.headers.insert(name, HeaderValue::try_from(*value).expect("a value"));
    }
    Answer { head, trailers: None, body: Bytes::copy_from_slice(body) }
}

fn partial(rejected: u8, message: &[u8]) -> Vec<u8> {
    field(1, &[[0x08, rejected].as_slice(), &field(2, message)].concat())
}

fn after(failure: Result<Outcome, Failure>) -> Option<Option<u64>> {
    match failure {
        Err(Failure::Later { after, .. }) => Some(after),
        Err(Failure::Never { .. }) | Ok(_) => None,
    }
}

#[test]
fn success_tells_how_much_was_rejected() {
    let none = Outcome { rejected: 0, message: String::new() };
    assert_eq!(attempt::http(&answer(200, &[], b"")), Ok(none));
    let some = Outcome { rejected: 3, message: "old".to_owned() };
    assert_eq!(attempt::http(&answer(200, &[], &partial(3, b"old"))), Ok(some));
}

#[test]
fn only_four_statuses_of_http_are_tried_again() {
    for status in [429, 502, 503, 504] {
        assert_eq!(after(attempt::http(&answer(status, &[], b""))), Some(None), "{status}");
    }
    for status in [301, 400, 401, 404, 408, 413, 500, 501] {
        assert_eq!(after(attempt::http(&answer(status, &[], b""))), None, "{status}");
    }
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let asked = |value: &str| after(attempt::http(&answer(503, &[("retry-after", value)], b"")));
    assert_eq!(asked("7"), Some(Some(7_000)));
    assert_eq!(asked("soon"), Some(None));
    assert_eq!(asked("Mon, 01 Jan 1990 00:00:00 GMT"), Some(Some(0)), "the past is now");
    let far = asked("Fri, 31 Dec 9999 23:59:59 GMT").expect("later").expect("a delay");
    assert!(far > 1_000_000_000);
}

#[test]
fn the_status_of_grpc_decides() {
    let status = |code: &str| {
        let mut answer = answer(200, &[], b"\0\0\0\0\0");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::try_from(code).expect("a value"));
        answer.trailers = Some(trailers);
        attempt::grpc(&answer)
    };
    assert_eq!(status("0"), Ok(Outcome { rejected: 0, message: String::new() }));
    for code in ["1", "4", "10", "11", "14", "15"] {
        assert_eq!(after(status(code)), Some(None), "{code}");
    }
    for code in ["2", "3", "5", "7", "8", "12", "13", "16"] {
        assert_eq!(after(status(code)), None, "{code}");
    }
    let bare = attempt::grpc(&answer(200, &[], b""));
    assert_eq!(after(bare), Some(None), "an answer without a status is no success");
}

#[test]
fn exhausted_resources_are_tried_again_only_with_retry_info() {
    // Status { details: [Any { type_url, value: RetryInfo { Duration { 2 s, 500 ms } } }] }
    let duration = [0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    let any =
        [field(1, b"type.googleapis.com/google.rpc.RetryInfo"), field(2, &field(1, &duration))]
            .concat();
    let details = STANDARD_NO_PAD.encode(field(3, &any));
    let headers = [("grpc-status", "8"), ("grpc-status-details-bin", details.as_str())];
    assert_eq!(after(attempt::grpc(&answer(200, &headers, b""))), Some(Some(2_500)));
}
