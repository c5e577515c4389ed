//! OTLP/gRPC on plain HTTP/2: one message in, one empty message out.
//!
//! A unary call needs little of gRPC: a five-byte frame before the message, the status in the
//! trailers. The message is not decoded here; it goes to the pipeline as it is.
//! Source: "gRPC over HTTP2" of the grpc project.
//!
//! Invariant: every answer is HTTP 200 with a `grpc-status`.

use std::fmt::Write as _;
use std::sync::Arc;

use ::http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use ::http::{Method, Request, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, Bytes};
use hyper::body::Incoming;

use super::guard::Entrance;
use super::{Reply, accepted, body, paths, status};
use crate::arrival::{Arrival, Encoding, Format, Transport};
use crate::kind::Kind;
use crate::pipeline::{Pipeline, Taken};
use crate::refusal::Refusal;

/// Compressed flag and length of a message.
const FRAME_HEAD_BYTES: usize = 5;
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub(super) async fn answer(
    pipeline: &Arc<Pipeline>,
    entrance: Entrance,
    mut request: Request<Incoming>,
) -> Response<Reply> {
    let kind = paths::find(request.uri().path(), paths::grpc);
    match take(pipeline, entrance, kind, &mut request).await {
        Ok(taken) => answered(taken),
        Err(refusal) => {
            pipeline.metrics.refused(kind, &refusal);
            refused(&refusal)
        }
    }
}

async fn take(
    pipeline: &Arc<Pipeline>,
    entrance: Entrance,
    kind: Option<Kind>,
    request: &mut Request<Incoming>,
) -> Result<Taken, Refusal> {
    pipeline.guard.admit(entrance, request.headers())?;
    let kind = kind.ok_or(Refusal::NoSuchRpc)?;
    if request.method() != Method::POST {
        return Err(Refusal::Method);
    }
    let declared = declared_encoding(request.headers())?;
    let max = pipeline.max_request_bytes;
    let most = max + FRAME_HEAD_BYTES;
    let read = body::read(request.body_mut(), &pipeline.budget, most, announced).await;
    // The limit is told without the frame's head, as the operator set it.
    let beyond = Refusal::TooLarge { max: most };
    let (frame, held) = read
        .map_err(|refusal| if refusal == beyond { Refusal::TooLarge { max } } else { refusal })?;
    let (compressed, body) = message(frame)?;
    let encoding = match (compressed, declared) {
        (false, _) => Encoding::Identity,
        (true, Encoding::Identity) => return Err(Refusal::NoGrpcEncoding),
        (true, Encoding::Gzip | Encoding::Deflate | Encoding::Zstd) => declared,
    };
    pipeline
        .carry(Arrival {
            kind,
            transport: Transport::Grpc,
            format: Format::Protobuf,
            encoding,
            body,
            held,
        })
        .await
}

fn declared_encoding(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    match headers.get("grpc-encoding").map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(Encoding::Identity),
        Some(b"gzip") => Ok(Encoding::Gzip),
        Some(b"zstd") => Ok(Encoding::Zstd),
        Some(b"deflate") => Ok(Encoding::Deflate),
        Some(_) => Err(Refusal::Encoding),
    }
}

/// The length of a frame, as its first bytes tell it.
fn announced(first: &[u8]) -> Option<usize> {
    let length = first.get(1..FRAME_HEAD_BYTES)?.first_chunk()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()?.checked_add(FRAME_HEAD_BYTES)
}

/// Takes the one message out of its frame.
fn message(mut frame: Bytes) -> Result<(bool, Bytes), Refusal> {
    let malformed = |why: &str| Refusal::Malformed(format!("gRPC frame: {why}"));
    if frame.len() < FRAME_HEAD_BYTES {
        return Err(malformed("the message is missing"));
    }
    let compressed = match frame.get_u8() {
        0 => false,
        1 => true,
        _ => return Err(malformed("the compressed flag is neither 0 nor 1")),
    };
    let length = frame.get_u32();
    if frame.len() as u64 != u64::from(length) {
        return Err(malformed("the length is not that of exactly one message"));
    }
    Ok((compressed, frame))
}

fn answered(taken: Taken) -> Response<Reply> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    let message = accepted::protobuf(taken);
    let frame = if message.is_empty() {
        // Not compressed, no bytes.
        Bytes::from_static(&[0; FRAME_HEAD_BYTES])
    } else {
        let length = u32::try_from(message.len()).expect("a few words").to_be_bytes();
        Bytes::from([&[0], &length[..], &message].concat())
    };
    response(Reply { data: Some(frame), trailers: Some(trailers) })
}

/// A refusal is an answer without a message: its status stands in the headers.
fn refused(refusal: &Refusal) -> Response<Reply> {
    let mut response = response(Reply { data: None, trailers: None });
    let headers = response.headers_mut();
    headers.insert(GRPC_STATUS, HeaderValue::from(refusal.grpc_code()));
    let text = |text: String| HeaderValue::try_from(text).expect("it is printable ASCII");
    headers.insert(GRPC_MESSAGE, text(percent_encode(&refusal.to_string())));
    let details = STANDARD_NO_PAD.encode(status::protobuf(refusal));
    headers.insert(GRPC_DETAILS, text(details));
    if *refusal == Refusal::Encoding {
        headers
            .insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,deflate,zstd"));
    }
    response
}

fn response(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Printable ASCII but `%` stays; gRPC's `Percent-Encoded`.
fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if (b' '..=b'~').contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            write!(out, "%{byte:02X}").expect("a String takes all");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_holds_exactly_one_message() {
        let ok = message(Bytes::from_static(b"\x01\0\0\0\x02hi"));
        assert_eq!(ok, Ok((true, Bytes::from_static(b"hi"))));
        for bad in
            [b"".as_slice(), b"\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\x01hi", b"\x02\0\0\0\0"]
        {
            assert!(message(Bytes::from_static(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_frame_announces_its_length() {
        assert_eq!(announced(b"\x01\0\0\x02\x01hi"), Some(0x0201 + FRAME_HEAD_BYTES));
        assert_eq!(announced(b"\x01\0\0\x02"), None);
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(percent_encode("100% é\n"), "100%25 %C3%A9%0A");
    }
}
