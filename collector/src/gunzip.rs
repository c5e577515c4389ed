//! gzip and deflate, opened for the scan.
//!
//! Output grows in a [`Buffer`], so that 18 KB that would become 18 GiB stop at the limit, and at
//! the budget before that. Several members in a row are one content (RFC 1952, 2.2); who forwards
//! the compressed bytes needs to know, because some decoders silently read only the first.
//!
//! Invariant: no byte of output exists that the budget did not admit.

use std::cell::RefCell;
use std::io::Read;

use flate2::bufread::{GzDecoder, ZlibDecoder};
use libdeflater::Decompressor;
use memchr::memmem;

use crate::memory::{Budget, Buffer};
use crate::refusal::Refusal;

/// Room that is asked for at a time when nothing better is known.
const STEP_BYTES: usize = 16 * 1_024;
/// Text compresses about 10 times; a trailer that claims more than this is not believed at once.
pub(crate) const RATIO_BELIEVED: usize = 64;

/// A gzip member begins so (RFC 1952, 2.3): the magic number, deflate, and no optional field.
const PLAIN_HEAD: [u8; 4] = [0x1f, 0x8b, 8, 0];
const HEAD_BYTES: usize = 10;
const TRAILER_BYTES: usize = 8;

thread_local! {
    static DECODER: RefCell<Decompressor> = RefCell::new(Decompressor::new());
}

/// What a gzip body holds.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) buffer: Buffer,
    /// Whether any decoder reads the compressed bytes whole.
    pub(crate) single_member: bool,
}

/// Inflates `gzip`, up to `max` bytes.
pub(crate) fn gunzip(gzip: &[u8], budget: &Budget, max: usize) -> Result<Opened, Refusal> {
    if let Some(buffer) = gunzip_in_one_step(gzip, budget, max)? {
        return Ok(Opened { buffer, single_member: true });
    }
    let mut buffer = Buffer::new(budget, max)?;
    let expected = claimed_bytes(gzip).min(gzip.len().saturating_mul(RATIO_BELIEVED)).min(max);
    buffer.reserve(expected)?;
    let (mut rest, mut members) = (gzip, 0);
    while !rest.is_empty() || members == 0 {
        let mut decoder = GzDecoder::new(rest);
        inflate(&mut decoder, "gzip", &mut buffer)?;
        rest = decoder.into_inner();
        members += 1;
    }
    Ok(Opened { buffer, single_member: members == 1 })
}

/// Inflates `gzip` if it is one member of a believable size, which is much quicker than step by
/// step; `None` if it is not so, or does not come out well: then the other way says what is wrong.
fn gunzip_in_one_step(gzip: &[u8], budget: &Budget, max: usize) -> Result<Option<Buffer>, Refusal> {
    let claimed = claimed_bytes(gzip);
    let is_believable = claimed <= gzip.len().saturating_mul(RATIO_BELIEVED) && claimed <= max;
    let Some((_, rest)) = gzip.split_first_chunk::<HEAD_BYTES>() else { return Ok(None) };
    let Some(trailer) = rest.last_chunk::<TRAILER_BYTES>() else { return Ok(None) };
    // The decoder checks the trailer where the stream ends and does not say where that was. Another
    // member lies behind a head, so a body without one has none; and anything else that is behind
    // the stream is not its trailer, unless the trailer is there twice.
    // Optional fields of the head may have a checksum of their own, which it does not look at.
    let is_simple = gzip.starts_with(&PLAIN_HEAD)
        && memmem::find(rest, &PLAIN_HEAD[..3]).is_none()
        && memmem::find(rest, trailer) == Some(rest.len() - TRAILER_BYTES);
    if !is_simple || !is_believable {
        return Ok(None);
    }
    let mut buffer = Buffer::new(budget, max)?;
    buffer.extend_zeroed(claimed)?;
    let into = buffer.as_mut_slice();
    let opened = DECODER.with_borrow_mut(|decoder| decoder.gzip_decompress(gzip, into));
    let is_whole = opened == Ok(claimed)
        && trailer.starts_with(&libdeflater::crc32(buffer.as_slice()).to_le_bytes());
    Ok(is_whole.then_some(buffer))
}

/// Inflates `zlib`, which HTTP calls deflate (RFC 9110, 8.4.1.2), up to `max` bytes.
pub(crate) fn unzlib(zlib: &[u8], budget: &Budget, max: usize) -> Result<Buffer, Refusal> {
    let mut buffer = Buffer::new(budget, max)?;
    buffer.reserve(zlib.len().min(max))?;
    // The decoder does not tell the end of the stream from that of the bytes; a byte more does,
    // which only a stream that was cut off goes on to read.
    let mut decoder = ZlibDecoder::new(zlib.chain(&[0][..]));
    inflate(&mut decoder, "deflate", &mut buffer)?;
    let is_whole = decoder.total_in() == zlib.len() as u64;
    if is_whole {
        Ok(buffer)
    } else {
        Err(Refusal::Malformed("deflate: it is not one whole stream".to_owned()))
    }
}

/// Reads all that `decoder` of `coding` gives.
pub(crate) fn inflate(
    decoder: &mut impl Read,
    coding: &str,
    buffer: &mut Buffer,
) -> Result<(), Refusal> {
    loop {
        let read = |into: &mut [u8], decoder: &mut dyn Read| {
            decoder.read(into).map_err(|error| Refusal::Malformed(format!("{coding}: {error}")))
        };
        let at = buffer.len();
        let room = buffer.room().min(1 << 20);
        if room == 0 {
            // Full: whether this is the end shows only when one more byte is asked for.
            let mut one = [0];
            if read(&mut one, decoder)? == 0 {
                return Ok(());
            }
            buffer.reserve(STEP_BYTES.min(buffer.headroom()).max(1))?;
            buffer.extend(&one)?;
            continue;
        }
        buffer.extend_zeroed(room)?;
        let n = read(&mut buffer.as_mut_slice()[at..], decoder)?;
        buffer.truncate(at + n);
        if n == 0 {
            return Ok(());
        }
    }
}

/// The size that the trailer claims (modulo 2^32, and of the last member only).
pub(crate) fn claimed_bytes(gzip: &[u8]) -> usize {
    gzip.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size) as usize)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("memory does not fail");
        encoder.finish().expect("memory does not fail")
    }

    fn open(gzip: &[u8], max: usize) -> Result<(Vec<u8>, bool), Refusal> {
        let opened = gunzip(gzip, &Budget::new(1 << 24), max)?;
        Ok((opened.buffer.as_slice().to_vec(), opened.single_member))
    }

    #[test]
    fn content_comes_back_whole_up_to_the_limit() {
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        let gzip = gzip(&content);
        assert_eq!(open(&gzip, content.len()), Ok((content.clone(), true)));
        let max = content.len() - 1;
        assert_eq!(open(&gzip, max), Err(Refusal::TooLarge { max }));
    }

    #[test]
    fn several_members_are_one_content() {
        let both = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(open(&both, 100), Ok((b"abcd".to_vec(), false)));
        let twice = [gzip(b"ab"), gzip(b"ab")].concat();
        assert_eq!(open(&twice, 100), Ok((b"abab".to_vec(), false)), "equal trailers hide none");
        assert_eq!(open(&gzip(b""), 100), Ok((Vec::new(), true)));
    }

    #[test]
    fn a_bomb_stops_at_the_limit_or_the_budget() {
        let bomb = gzip(&vec![0; 8 << 20]);
        assert!(bomb.len() < 10_000);
        assert_eq!(open(&bomb, 1 << 20), Err(Refusal::TooLarge { max: 1 << 20 }));
        let budget = Budget::new(1 << 20);
        assert_eq!(gunzip(&bomb, &budget, 1 << 26).expect_err("no budget"), Refusal::MemoryFull);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[test]
    fn deflate_is_one_whole_stream_within_the_limit() {
        let zlib = |content: &[u8]| {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(content).expect("memory does not fail");
            encoder.finish().expect("memory does not fail")
        };
        let open = |zlib: &[u8], max| {
            let budget = Budget::new(1 << 24);
            unzlib(zlib, &budget, max).map(|buffer| buffer.as_slice().to_vec())
        };
        let whole = zlib(b"some content that is long enough");
        assert_eq!(open(&whole, 32), Ok(b"some content that is long enough".to_vec()));
        assert_eq!(open(&zlib(b""), 0), Ok(Vec::new()));
        assert_eq!(open(&whole, 31), Err(Refusal::TooLarge { max: 31 }));
        let bomb = zlib(&vec![0; 8 << 20]);
        assert_eq!(open(&bomb, 1 << 20), Err(Refusal::TooLarge { max: 1 << 20 }));
        let trailing = [whole.as_slice(), b"xx"].concat();
        let cut = (0..whole.len()).map(|end| &whole[..end]);
        for bad in cut.chain([b"plain".as_slice(), &trailing]) {
            let opened = open(bad, 1_000);
            assert!(matches!(opened, Err(Refusal::Malformed(_))), "{opened:?} of {bad:x?}");
        }
    }

    #[test]
    fn nothing_may_lie_between_the_stream_and_its_trailer() {
        let whole = gzip(b"some content that is long enough");
        let (stream, trailer) = whole.split_at(whole.len() - TRAILER_BYTES);
        let junk = |junk: &[u8]| [stream, junk, trailer].concat();
        let again = [whole.as_slice(), trailer].concat();
        let mut checked = whole.clone();
        checked[3] = 2;
        checked.splice(HEAD_BYTES..HEAD_BYTES, *b"no");
        assert!(open(&checked, 1_000).is_err(), "the checksum of the head is wrong");
        for bad in [junk(b"x"), junk(b"12345678"), junk(&[0; 100]), junk(stream), again] {
            let opened = open(&bad, 1_000);
            assert!(matches!(opened, Err(Refusal::Malformed(_))), "{opened:?}");
        }
    }

    #[test]
    fn what_is_not_gzip_is_malformed() {
        let whole = gzip(b"some content that is long enough");
        let trailing = [whole.as_slice(), b"xx"].concat();
        for bad in [b"".as_slice(), b"plain", &whole[..whole.len() - 1], &whole[1..], &trailing] {
            let opened = open(bad, 1_000);
            assert!(matches!(opened, Err(Refusal::Malformed(_))), "{opened:?}");
        }
    }
}
