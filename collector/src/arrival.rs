//! A request as it came in, and its content as the scan and the exporters need it.
//!
//! Invariant: the bytes of a protobuf request are never written to; what an exporter sends is what
//! the client sent, or that opened or compressed.

use bytes::Bytes;

use crate::gunzip::{claimed_bytes, gunzip, unzlib};
use crate::json;
use crate::kind::Kind;
use crate::memory::{Budget, Buffer, Held};
pub(crate) use crate::payload::{Form, Forms, Payload};
use crate::refusal::Refusal;
use crate::unzstd::{self, unzstd};

/// Requests beyond this size are opened and scanned away from the runtime's workers, so that a
/// 64 MiB body does not hold up the small ones.
pub(crate) const INLINE_BYTES_MAX: usize = 256 * 1_024;
/// The same where there is nothing to open. A MiB is scanned in a seventh of a millisecond, and a
/// request that changes threads costs two wake-ups.
const SCANNED_INLINE_BYTES_MAX: usize = 1_024 * 1_024;

/// How the body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

/// How the body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Protobuf,
    Json,
}

/// What carried it; the value of the label `transport` in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Grpc,
    Http,
}

impl Transport {
    pub(crate) const ALL: [Self; 2] = [Self::Grpc, Self::Http];

    pub(crate) const fn as_str(self) -> &'static str {
        self.pick("grpc", "http")
    }

    /// The one of both that is for this transport.
    pub(crate) const fn pick<T: Copy>(self, grpc: T, http: T) -> T {
        match self {
            Self::Grpc => grpc,
            Self::Http => http,
        }
    }
}

/// An export request whose body has been read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) kind: Kind,
    pub(crate) transport: Transport,
    pub(crate) format: Format,
    pub(crate) encoding: Encoding,
    pub(crate) body: Bytes,
    /// What the body holds of the memory budget.
    pub(crate) held: Held,
}

/// An export request as protobuf.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) plain: Bytes,
    /// The same content compressed, if it came so and may be forwarded so.
    pub(crate) compressed: Option<(Form, Bytes)>,
    pub(crate) held: Held,
}

impl Arrival {
    /// Whether opening and scanning it is quick enough for a worker of the runtime.
    pub(crate) fn is_small(&self) -> bool {
        if self.encoding == Encoding::Identity && self.format == Format::Protobuf {
            return self.body.len() <= SCANNED_INLINE_BYTES_MAX;
        }
        let opened = match self.encoding {
            Encoding::Identity | Encoding::Deflate => 0,
            Encoding::Gzip => claimed_bytes(&self.body),
            Encoding::Zstd => claimed_by_zstd(&self.body),
        };
        // A trailer may lie, and deflate has none; what is hidden cannot be more than about
        // 1 000 times the body.
        self.body.len().max(opened) <= INLINE_BYTES_MAX
            && (self.encoding == Encoding::Identity || self.body.len() <= INLINE_BYTES_MAX / 16)
    }

    /// Decompresses and, if it is JSON, transcodes.
    pub(crate) fn open(self, budget: &Budget, max: usize) -> Result<Content, Refusal> {
        let Self { kind, transport: _, format, encoding, body, mut held } = self;
        let (plain, compressed) = match encoding {
            Encoding::Identity => (body, None),
            Encoding::Gzip => {
                let opened = gunzip(&body, budget, max)?;
                let (plain, more) = opened.buffer.freeze();
                held.merge(more);
                (plain, opened.single_member.then_some((Form::Gzip, body)))
            }
            Encoding::Deflate => {
                let (plain, more) = unzlib(&body, budget, max)?.freeze();
                held.merge(more);
                (plain, None)
            }
            Encoding::Zstd => {
                let (plain, more) = unzstd(&body, budget, max)?.freeze();
                held.merge(more);
                (plain, Some((Form::Zstd, body)))
            }
        };
        match format {
            Format::Protobuf => Ok(Content { plain, compressed, held }),
            Format::Json => {
                let Kind::Tallied(signal) = kind else { return Err(Refusal::NotInJson) };
                let mut buffer = Buffer::new(budget, max)?;
                json::transcode(signal, &plain, &mut buffer)?;
                let (plain, held) = buffer.freeze();
                Ok(Content { plain, compressed: None, held })
            }
        }
    }
}

/// A size that is not told may be any.
fn claimed_by_zstd(zstd: &[u8]) -> usize {
    let claimed = unzstd::claimed_bytes(zstd).and_then(|bytes| usize::try_from(bytes).ok());
    claimed.unwrap_or(usize::MAX)
}

impl Content {
    /// What exporters need that send it in `wanted` forms.
    pub(crate) fn keep(self, wanted: Forms) -> Payload {
        let Self { plain, compressed, mut held } = self;
        let plain_bytes = plain.len();
        let compressed = compressed.filter(|(form, _)| wanted.has(*form));
        let plain = (wanted.plain || compressed.is_none()).then_some(plain);
        let kept = plain.as_ref().map_or(0, Bytes::len)
            + compressed.as_ref().map_or(0, |(_, bytes)| bytes.len());
        // Giving back cannot fail; a body that was inflated holds more than it needs now.
        let _ = held.resize(kept.min(held.bytes()));
        Payload::new(plain, compressed, plain_bytes, held)
    }
}
