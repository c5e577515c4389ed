//! OTLP over HTTP and gRPC, from the socket to the pipeline and back.
//!
//! Both protocols are taken at both ports; the content type tells them apart. Requests are read
//! here, carried by the [`Pipeline`], and answered in the client's own terms.
//!
//! Invariant: every request is answered in the protocol and encoding it came in, refusals too.

mod accepted;
mod body;
pub(crate) mod cors;
mod grpc;
pub(crate) mod guard;
mod http;
pub(crate) mod paths;
mod status;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::header::CONTENT_TYPE;
use ::http::{HeaderMap, Request, Response, Version};
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::pipeline::Pipeline;
use guard::Entrance;

/// Answers one request that came in at `entrance`.
pub(crate) async fn answer(
    pipeline: Arc<Pipeline>,
    entrance: Entrance,
    request: Request<Incoming>,
) -> Result<Response<Reply>, Infallible> {
    Ok(if is_grpc(&request) {
        grpc::answer(&pipeline, entrance, request).await
    } else {
        http::answer(&pipeline, entrance, request).await
    })
}

/// Whether it is gRPC with protobuf; there is no gRPC over HTTP/1.
fn is_grpc(request: &Request<Incoming>) -> bool {
    let essence = request.headers().get(CONTENT_TYPE).and_then(|value| {
        let value = value.to_str().ok()?;
        value.split(';').next().map(str::trim)
    });
    let is_ours = |essence: &str| {
        essence.eq_ignore_ascii_case("application/grpc")
            || essence.eq_ignore_ascii_case("application/grpc+proto")
    };
    request.version() == Version::HTTP_2 && essence.is_some_and(is_ours)
}

/// The body of an answer: some bytes and, for gRPC, trailers.
#[derive(Debug)]
pub(crate) struct Reply {
    data: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl Reply {
    fn of(bytes: impl Into<Bytes>) -> Self {
        Self { data: Some(bytes.into()).filter(|bytes| !bytes.is_empty()), trailers: None }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = match self.data.take() {
            Some(bytes) => Some(Frame::data(bytes)),
            None => self.trailers.take().map(Frame::trailers),
        };
        Poll::Ready(next.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}
