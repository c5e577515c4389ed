//! A request as it came in, and its content as the scan and the exporters need it.
//!
//! Invariant: the bytes of a protobuf request are never written to; what an exporter sends is what
//! the client sent, or its gzip opened or closed.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::gunzip::{claimed_bytes, gunzip, unzlib};
use crate::json;
use crate::kind::Kind;
use crate::memory::{Budget, Buffer, Held};
use crate::refusal::Refusal;
use crate::spool::Head;
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
    /// What exporters need that send it `plain`, in `gzip`, or both.
    pub(crate) fn keep(self, plain: bool, gzip: bool) -> Payload {
        let Self { plain: opened, gzip: compressed, mut held } = self;
        let plain_bytes = opened.len();
        let compressed = compressed.filter(|_| gzip);
        let opened = if plain || compressed.is_none() { Some(opened) } else { None };
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        // Giving back cannot fail; a body that was inflated holds more than it needs now.
        let kept = (length(&opened) + length(&compressed)).min(held.bytes());
        let _ = held.resize(kept);
        let (plain, gzip) = (opened.map(own), compressed.map(own));
        Payload { plain, gzip, plain_bytes, held: Some(held) }
    }
}

fn own(bytes: Bytes) -> Bytes {
    if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// How the bytes of a request are kept in the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Gzip,
}

impl Form {
    /// Its number in a record of the spool, for ever.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Gzip => 1,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// A request's bytes, shared by the exporters.
#[derive(Debug)]
pub(crate) struct Payload {
    /// At least one of the two is there.
    plain: Option<Bytes>,
    gzip: Option<Bytes>,
    plain_bytes: usize,
    #[expect(dead_code, reason = "held for its Drop")]
    held: Option<Held>,
}

impl Payload {
    /// A request that was read back from the spool.
    pub(crate) fn stored(head: &Head, body: Bytes) -> Self {
        let plain_bytes = usize::try_from(head.plain_bytes).unwrap_or(usize::MAX);
        let (plain, gzip) = match head.form {
            Form::Plain => (Some(body), None),
            Form::Gzip => (None, Some(body)),
        };
        Self { plain, gzip, plain_bytes, held: None }
    }

    /// The smaller form of it, for the spool.
    pub(crate) fn stored_form(&self) -> (Form, Bytes) {
        match (&self.gzip, &self.plain) {
            (Some(gzip), _) => (Form::Gzip, gzip.clone()),
            (None, Some(plain)) => (Form::Plain, plain.clone()),
            (None, None) => unreachable!("one of the two forms is there"),
        }
    }

    /// Bytes without compression.
    pub(crate) const fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        let length = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
        length(&self.plain) + length(&self.gzip)
    }

    /// The bytes without compression.
    pub(crate) fn plain(&self) -> Bytes {
        if let Some(plain) = &self.plain {
            return plain.clone();
        }
        let gzip = self.gzip.as_ref().expect("one of the two forms is there");
        let mut plain = Vec::with_capacity(self.plain_bytes);
        let read = MultiGzDecoder::new(gzip.as_ref()).read_to_end(&mut plain);
        read.expect("these bytes were inflated when they arrived, and their sum was checked since");
        Bytes::from(plain)
    }

    /// Whether [`Self::gzip`] is quick enough for a worker of the runtime.
    pub(crate) fn is_quick_to_gzip(&self) -> bool {
        self.gzip.is_some() || self.plain_bytes <= INLINE_BYTES_MAX / 4
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
