//! A request as it came in, and its content as the scan and the exporters need it.
//!
//! Invariant: the bytes of a protobuf request are never written to; what an exporter sends is what
//! the client sent, or its gzip opened or closed.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::gunzip::{claimed_bytes, gunzip, unzlib};
use crate::json;
use crate::kind::Kind;
use crate::memory::{Budget, Buffer, Held};
use crate::refusal::Refusal;
use crate::unzstd::{self, unzstd};

/// Requests beyond this size are opened and scanned away from the runtime's workers, so that a
/// 64 MiB body does not hold up the small ones.
const INLINE_BYTES_MAX: usize = 256 * 1_024;

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

/// An export request whose body has been read.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) kind: Kind,
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
    /// The same content in gzip, if it came so and may be forwarded so.
    pub(crate) gzip: Option<Bytes>,
    pub(crate) held: Held,
}

impl Arrival {
    /// Whether opening and scanning it is quick enough for a worker of the runtime.
    pub(crate) fn is_small(&self) -> bool {
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
        let Self { kind, format, encoding, body, mut held } = self;
        let (plain, gzip) = match encoding {
            Encoding::Identity => (body, None),
            Encoding::Gzip => {
                let opened = gunzip(&body, budget, max)?;
                let (plain, more) = opened.buffer.freeze();
                held.merge(more);
                (plain, opened.single_member.then_some(body))
            }
            Encoding::Deflate => {
                let (plain, more) = unzlib(&body, budget, max)?.freeze();
                held.merge(more);
                (plain, None)
            }
            Encoding::Zstd => {
                let (plain, more) = unzstd(&body, budget, max)?.freeze();
                held.merge(more);
                (plain, None)
            }
        };
        match format {
            Format::Protobuf => Ok(Content { plain, gzip, held }),
            Format::Json => {
                let Kind::Tallied(signal) = kind else { return Err(Refusal::NotInJson) };
                let mut buffer = Buffer::new(budget, max)?;
                json::transcode(signal, &plain, &mut buffer)?;
                let (plain, held) = buffer.freeze();
                Ok(Content { plain, gzip: None, held })
            }
        }
    }
}

/// A size that is not told may be any.
fn claimed_by_zstd(zstd: &[u8]) -> usize {
    let claimed = unzstd::claimed_bytes(zstd).and_then(|bytes| usize::try_from(bytes).ok());
    claimed.unwrap_or(usize::MAX)
}

/// Smaller bodies are copied before they are queued: as slices of a connection's read buffer they
/// would keep all of it in memory.
const COPIED_BYTES_MAX: usize = 16 * 1_024;

impl Content {
    /// Bytes that [`Self::keep`] keeps.
    pub(crate) fn weight(&self, plain: bool, gzip: bool) -> usize {
        match &self.gzip {
            Some(compressed) if gzip => compressed.len() + if plain { self.plain.len() } else { 0 },
            Some(_) | None => self.plain.len(),
        }
    }

    /// What exporters need that send it `plain`, in `gzip`, or both.
    pub(crate) fn keep(self, plain: bool, gzip: bool) -> Payload {
        let Self { plain: opened, gzip: compressed, mut held } = self;
        let compressed = compressed.filter(|_| gzip);
        let opened = if plain || compressed.is_none() { Some(opened) } else { None };
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        // Giving back cannot fail; a body that was inflated holds more than it needs now.
        let kept = (length(&opened) + length(&compressed)).min(held.bytes());
        let _ = held.resize(kept);
        Payload { plain: opened.map(own), gzip: compressed.map(own), held }
    }
}

fn own(bytes: Bytes) -> Bytes {
    if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// A request's bytes, shared by the exporters.
#[derive(Debug)]
pub(crate) struct Payload {
    /// At least one of the two is there.
    plain: Option<Bytes>,
    gzip: Option<Bytes>,
    #[expect(dead_code, reason = "held for its Drop")]
    held: Held,
}

impl Payload {
    /// The bytes without compression.
    pub(crate) fn plain(&self) -> Bytes {
        if let Some(plain) = &self.plain {
            return plain.clone();
        }
        // Only settings that changed after it was queued ask for a form that was not kept.
        let gzip = self.gzip.as_ref().expect("one of the two forms is there");
        let mut plain = Vec::new();
        let read = MultiGzDecoder::new(&**gzip).read_to_end(&mut plain);
        read.expect("it was opened before, within the limit");
        Bytes::from(plain)
    }

    /// Whether [`Self::gzip`] is quick enough for a worker of the runtime.
    pub(crate) fn is_quick_to_gzip(&self) -> bool {
        self.gzip.is_some()
            || self.plain.as_ref().is_none_or(|plain| plain.len() <= INLINE_BYTES_MAX / 4)
    }

    /// The bytes in gzip: those of the client, or newly compressed.
    pub(crate) fn gzip(&self) -> Bytes {
        if let Some(gzip) = &self.gzip {
            return gzip.clone();
        }
        let plain = self.plain.as_ref().expect("one of the two forms is there");
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        let written = encoder.write_all(plain).and_then(|()| encoder.finish());
        Bytes::from(written.expect("writing to memory cannot fail"))
    }
}
