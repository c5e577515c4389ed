//! The bytes of a request while it waits: as it came, in the forms that exporters send.
//!
//! A form that is not there is made from one that is. That happens where a backend wants another
//! compression than the client used, or settings changed meanwhile.
//!
//! Invariant: all forms hold the same content, and one of them is always there.

use std::cell::RefCell;
use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression as Level;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use zstd::bulk::Compressor;

use crate::arrival::INLINE_BYTES_MAX;
use crate::memory::Held;
use crate::spool::Head;

/// Smaller bodies are copied before they are queued: as slices of a connection's read buffer they
/// would keep all of it in memory.
const COPIED_BYTES_MAX: usize = 16 * 1_024;
/// zstd's fastest level compresses OTLP better than gzip's, at a fraction of its cost.
const ZSTD_LEVEL: i32 = 1;

thread_local! {
    /// A compressor is some hundred KB, which would be a costly thing to make for every request.
    static ZSTD: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// How the bytes of a request are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Gzip,
    Zstd,
}

impl Form {
    /// Its number in a record of the spool, for ever.
    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Gzip => 1,
            Self::Zstd => 2,
        }
    }

    pub(crate) const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Plain),
            1 => Some(Self::Gzip),
            2 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Its name in the headers of HTTP and gRPC; none where nothing is compressed.
    pub(crate) const fn coding(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Gzip => Some("gzip"),
            Self::Zstd => Some("zstd"),
        }
    }
}

/// Which forms the exporters send.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    pub(crate) plain: bool,
    pub(crate) gzip: bool,
    pub(crate) zstd: bool,
}

impl Forms {
    pub(crate) const fn has(self, form: Form) -> bool {
        match form {
            Form::Plain => self.plain,
            Form::Gzip => self.gzip,
            Form::Zstd => self.zstd,
        }
    }
}

/// A request's bytes, shared by the exporters.
#[derive(Debug)]
pub(crate) struct Payload {
    /// At least one of the two is there.
    plain: Option<Bytes>,
    compressed: Option<(Form, Bytes)>,
    plain_bytes: usize,
    #[expect(dead_code, reason = "held for its Drop")]
    held: Option<Held>,
}

impl Payload {
    pub(crate) fn new(
        plain: Option<Bytes>,
        compressed: Option<(Form, Bytes)>,
        plain_bytes: usize,
        held: Held,
    ) -> Self {
        let compressed = compressed.map(|(form, bytes)| (form, own(bytes)));
        Self { plain: plain.map(own), compressed, plain_bytes, held: Some(held) }
    }

    /// A request that was read back from the spool.
    pub(crate) fn stored(head: &Head, body: Bytes) -> Self {
        let plain_bytes = usize::try_from(head.plain_bytes).unwrap_or(usize::MAX);
        let (plain, compressed) = match head.form {
            Form::Plain => (Some(body), None),
            Form::Gzip | Form::Zstd => (None, Some((head.form, body))),
        };
        Self { plain, compressed, plain_bytes, held: None }
    }

    /// The smaller form of it, for the spool.
    pub(crate) fn stored_form(&self) -> (Form, Bytes) {
        match (&self.compressed, &self.plain) {
            (Some((form, bytes)), _) => (*form, bytes.clone()),
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
        self.plain.as_ref().map_or(0, Bytes::len)
            + self.compressed.as_ref().map_or(0, |(_, bytes)| bytes.len())
    }

    /// The form in which it came, as far as that was kept.
    pub(crate) fn form(&self) -> Form {
        self.compressed.as_ref().map_or(Form::Plain, |(form, _)| *form)
    }

    /// Whether [`Self::in_form`] is quick enough for a worker of the runtime.
    pub(crate) fn is_quick_in(&self, form: Form) -> bool {
        let is_there = match form {
            Form::Plain => self.plain.is_some(),
            Form::Gzip | Form::Zstd => self.form() == form,
        };
        is_there || self.plain_bytes <= INLINE_BYTES_MAX / 4
    }

    /// The bytes in `form`: those of the client, or newly made.
    pub(crate) fn in_form(&self, form: Form) -> Bytes {
        match &self.compressed {
            Some((there, bytes)) if *there == form => return bytes.clone(),
            Some(_) | None => {}
        }
        let plain = self.plain();
        match form {
            Form::Plain => plain,
            Form::Gzip | Form::Zstd => compress(form, &plain),
        }
    }

    /// The bytes without compression.
    pub(crate) fn plain(&self) -> Bytes {
        if let Some(plain) = &self.plain {
            return plain.clone();
        }
        let (form, bytes) = self.compressed.as_ref().expect("one of the two is there");
        let mut plain = Vec::with_capacity(self.plain_bytes);
        let read = match form {
            Form::Plain => bytes.as_ref().read_to_end(&mut plain),
            Form::Gzip => MultiGzDecoder::new(bytes.as_ref()).read_to_end(&mut plain),
            Form::Zstd => zstd::Decoder::with_buffer(bytes.as_ref())
                .and_then(|mut decoder| decoder.read_to_end(&mut plain)),
        };
        read.expect("these bytes were inflated when they arrived, and their sum was checked since");
        Bytes::from(plain)
    }
}

fn own(bytes: Bytes) -> Bytes {
    if bytes.len() <= COPIED_BYTES_MAX { Bytes::copy_from_slice(&bytes) } else { bytes }
}

/// Compresses `plain`; as one member, or one frame.
pub(crate) fn compress(form: Form, plain: &[u8]) -> Bytes {
    let written = match form {
        Form::Plain => Ok(plain.to_vec()),
        Form::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Level::fast());
            encoder.write_all(plain).and_then(|()| encoder.finish())
        }
        Form::Zstd => ZSTD.with_borrow_mut(|kept| {
            let mut compressor = match kept.take() {
                Some(compressor) => compressor,
                None => Compressor::new(ZSTD_LEVEL)?,
            };
            let compressed = compressor.compress(plain);
            *kept = Some(compressor);
            compressed
        }),
    };
    Bytes::from(written.expect("writing to memory cannot fail"))
}
