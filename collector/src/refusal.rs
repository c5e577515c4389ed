//! Why a request is not taken, and how HTTP and gRPC say so.
//!
//! | refusal | HTTP | gRPC | may the client retry |
//! |---|---|---|---|
//! | `NotFound` | 404 | `UNIMPLEMENTED` | no |
//! | `Method` | 405 | | no |
//! | `MediaType`, `NotInJson`, `Encoding` | 415 | `UNIMPLEMENTED` | no |
//! | `Unauthenticated` | 401 | `UNAUTHENTICATED` | no |
//! | `TooLarge` | 413 | `RESOURCE_EXHAUSTED` | no |
//! | `Malformed`, `Rejected` | 400 | `INVALID_ARGUMENT` | no |
//! | `NoGrpcEncoding` | 400 | `INTERNAL` | no |
//! | `ShareFull` | 429 | `RESOURCE_EXHAUSTED` | yes, after [`RETRY_AFTER_S`] |
//! | `SlowBody` | 408 | `CANCELLED` | yes |
//! | `MemoryFull`, `QueueFull`, `Stopping` | 503 | `UNAVAILABLE` | yes, after [`RETRY_AFTER_S`] |
//! | `SpoolFull`, `SpoolFailing`, `Undelivered` | 503 | `UNAVAILABLE` | yes, likewise |
//!
//! Invariant: a refusal that passes by itself is told apart from one that does not, because
//! clients drop their telemetry for the second kind.

use http::StatusCode;

/// When a client that was refused for want of room may come back.
pub(crate) const RETRY_AFTER_S: u64 = 1;

/// Why a request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "no such path; OTLP is taken at POST /v1/traces, /v1/metrics, /v1/logs and \
             /v1development/profiles"
    )]
    NotFound,
    #[error(
        "no such method; OTLP services are TraceService, MetricsService, \
             LogsService and ProfilesService"
    )]
    NoSuchRpc,
    #[error("send a token that the collector knows, as Authorization: Bearer TOKEN")]
    Unauthenticated,
    #[error("only POST is allowed here")]
    Method,
    #[error(
        "the content type must be application/x-protobuf or application/json; \
         gRPC needs application/grpc over HTTP/2"
    )]
    MediaType,
    #[error("profiles are carried as bytes; send them as application/x-protobuf")]
    NotInJson,
    #[error("the message is compressed, but grpc-encoding does not say how")]
    NoGrpcEncoding,
    #[error("the content encoding must be gzip, zstd, deflate or none")]
    Encoding,
    #[error("the request is larger than {max} bytes; send smaller batches")]
    TooLarge { max: usize },
    #[error("malformed request: {0}")]
    Malformed(String),
    #[error("the body came too slowly")]
    SlowBody,
    #[error("the collector's memory budget is spent; come back later")]
    MemoryFull,
    #[error("this service fills more than its share of the queue; come back later")]
    ShareFull,
    #[error("the queue to the backend is full; come back later")]
    QueueFull,
    #[error("the spool is full; come back later")]
    SpoolFull,
    #[error("the spool cannot be written; come back later")]
    SpoolFailing,
    #[error("the backend refused it for good")]
    Rejected,
    #[error("the backend did not take it in time; come back later")]
    Undelivered,
    #[error("the collector is stopping; come back later")]
    Stopping,
}

impl Refusal {
    /// The value of the label `reason` in metrics.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound | Self::NoSuchRpc => "not_found",
            Self::Unauthenticated => "unauthenticated",
            Self::Method => "method",
            Self::MediaType | Self::NotInJson => "media_type",
            Self::Encoding => "encoding",
            Self::TooLarge { .. } => "too_large",
            Self::Malformed(_) | Self::NoGrpcEncoding => "malformed",
            Self::SlowBody => "slow_body",
            Self::MemoryFull => "memory_full",
            Self::ShareFull => "share_full",
            Self::QueueFull => "queue_full",
            Self::SpoolFull => "spool_full",
            Self::SpoolFailing => "spool_failing",
            Self::Rejected => "rejected",
            Self::Undelivered => "undelivered",
            Self::Stopping => "stopping",
        }
    }

    pub(crate) const fn http_status(&self) -> StatusCode {
        match self {
            Self::NotFound | Self::NoSuchRpc => StatusCode::NOT_FOUND,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::MediaType | Self::NotInJson | Self::Encoding => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Malformed(_) | Self::NoGrpcEncoding | Self::Rejected => StatusCode::BAD_REQUEST,
            Self::ShareFull => StatusCode::TOO_MANY_REQUESTS,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::MemoryFull
            | Self::QueueFull
            | Self::SpoolFull
            | Self::SpoolFailing
            | Self::Undelivered
            | Self::Stopping => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The number of the `google.rpc.Code`.
    pub(crate) const fn grpc_code(&self) -> i32 {
        match self {
            Self::SlowBody => 1,
            Self::Malformed(_) | Self::Rejected => 3,
            Self::TooLarge { .. } | Self::ShareFull => 8,
            Self::NotFound
            | Self::NoSuchRpc
            | Self::Method
            | Self::MediaType
            | Self::NotInJson
            | Self::Encoding => 12,
            Self::NoGrpcEncoding => 13,
            Self::MemoryFull
            | Self::QueueFull
            | Self::SpoolFull
            | Self::SpoolFailing
            | Self::Undelivered
            | Self::Stopping => 14,
            Self::Unauthenticated => 16,
        }
    }

    /// Seconds after which the client may try again, if that can help.
    pub(crate) const fn retry_after_s(&self) -> Option<u64> {
        match self {
            Self::MemoryFull
            | Self::QueueFull
            | Self::SpoolFull
            | Self::SpoolFailing
            | Self::Undelivered
            | Self::ShareFull
            | Self::Stopping => Some(RETRY_AFTER_S),
            Self::NotFound
            | Self::NoSuchRpc
            | Self::Unauthenticated
            | Self::Method
            | Self::MediaType
            | Self::NotInJson
            | Self::NoGrpcEncoding
            | Self::Encoding
            | Self::TooLarge { .. }
            | Self::Malformed(_)
            | Self::Rejected
            | Self::SlowBody => None,
        }
    }
}

/// Malformed protobuf is the client's mistake.
impl From<crate::wire::Malformed> for Refusal {
    fn from(malformed: crate::wire::Malformed) -> Self {
        Self::Malformed(malformed.to_string())
    }
}
