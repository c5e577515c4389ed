//! zstd, opened for the scan.
//!
//! Several frames in a row are one content (RFC 8878, 3.1). A frame that tells its size is opened
//! in one step into memory of that size; one that does not needs a window besides, which is taken
//! from the budget too. A frame that asks for a window of more than 8 MiB is refused, as the RFC
//! advises.
//!
//! Invariant: no byte of output, and of a window, exists that the budget did not admit.

use std::cell::RefCell;

use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, find_frame_compressed_size, get_error_name, get_frame_content_size};

use crate::gunzip::{RATIO_BELIEVED, inflate};
use crate::memory::{Budget, Buffer};
use crate::refusal::Refusal;

/// 8 MiB, as a power of two.
const WINDOW_LOG_MAX: u32 = 23;
const WINDOW_BYTES_MAX: usize = 1 << WINDOW_LOG_MAX;
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

thread_local! {
    /// A decoder is 160 KB, which would be a costly thing to make for every request.
    static DECODER: RefCell<DCtx<'static>> = RefCell::new(DCtx::create());
}

/// Opens `zstd`, up to `max` bytes.
pub(crate) fn unzstd(zstd: &[u8], budget: &Budget, max: usize) -> Result<Buffer, Refusal> {
    let mut buffer = Buffer::new(budget, max)?;
    let mut rest = zstd;
    while !rest.is_empty() || zstd.is_empty() {
        let length =
            find_frame_compressed_size(rest).map_err(|code| wrong(get_error_name(code)))?;
        let (frame, after) = rest.split_at(length);
        rest = after;
        if frame.starts_with(&MAGIC) {
            open(frame, budget, &mut buffer)?;
        }
    }
    Ok(buffer)
}

/// Appends what one frame holds.
fn open(frame: &[u8], budget: &Budget, buffer: &mut Buffer) -> Result<(), Refusal> {
    let window = window_bytes(frame);
    if window.is_some_and(|bytes| bytes > WINDOW_BYTES_MAX) {
        return Err(wrong("the window is larger than 8 MiB"));
    }
    let claimed = get_frame_content_size(frame).map_err(|error| wrong(&error.to_string()))?;
    let claimed = claimed.map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if let Some(bytes) = claimed
        && bytes > buffer.headroom()
    {
        return Err(buffer.too_large());
    }
    match claimed {
        Some(bytes) if bytes <= frame.len().saturating_mul(RATIO_BELIEVED) => {
            let at = buffer.len();
            buffer.extend_zeroed(bytes)?;
            let into = &mut buffer.as_mut_slice()[at..];
            let opened = DECODER.with_borrow_mut(|decoder| decoder.decompress(into, frame));
            let opened = opened.map_err(|code| wrong(get_error_name(code)))?;
            buffer.truncate(at + opened);
            Ok(())
        }
        Some(_) | None => {
            // What is claimed beyond belief is opened step by step: it may be a lie.
            let _window =
                budget.take(window.or(claimed).map_or(0, |bytes| bytes.min(WINDOW_BYTES_MAX)))?;
            let failed = |error: std::io::Error| wrong(&error.to_string());
            let mut decoder = Decoder::with_buffer(frame).map_err(failed)?;
            decoder.window_log_max(WINDOW_LOG_MAX).map_err(failed)?;
            inflate(&mut decoder, "zstd", buffer)
        }
    }
}

fn wrong(why: &str) -> Refusal {
    Refusal::Malformed(format!("zstd: {why}"))
}

/// The window that a frame asks for; `None` if it is as large as the content.
/// Source: RFC 8878, 3.1.1.1.
fn window_bytes(frame: &[u8]) -> Option<usize> {
    let (descriptor, window) = (frame.get(4)?, frame.get(5)?);
    let is_single_segment = descriptor & 0x20 != 0;
    let base = 1_usize << (10 + (window >> 3));
    (!is_single_segment).then(|| base + base / 8 * usize::from(window & 7))
}

/// The size that all frames together claim; `None` if one claims none.
pub(crate) fn claimed_bytes(zstd: &[u8]) -> Option<u64> {
    let (mut rest, mut sum) = (zstd, 0_u64);
    while !rest.is_empty() {
        let length = find_frame_compressed_size(rest).ok()?;
        if rest.starts_with(&MAGIC) {
            sum = sum.checked_add(get_frame_content_size(rest).ok().flatten()?)?;
        }
        rest = &rest[length..];
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn zstd(content: &[u8]) -> Vec<u8> {
        zstd::bulk::compress(content, 1).expect("memory does not fail")
    }

    /// As a client does that does not know beforehand how much it will send.
    fn streamed(content: &[u8]) -> Vec<u8> {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("memory");
        encoder.write_all(content).expect("memory does not fail");
        encoder.finish().expect("memory does not fail")
    }

    fn open(zstd: &[u8], max: usize) -> Result<Vec<u8>, Refusal> {
        Ok(unzstd(zstd, &Budget::new(1 << 24), max)?.as_slice().to_vec())
    }

    #[test]
    fn content_comes_back_whole_up_to_the_limit() {
        let content: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
        assert_eq!(claimed_bytes(&zstd(&content)), Some(content.len() as u64));
        assert_eq!(claimed_bytes(&streamed(&content)), None);
        for zstd in [zstd(&content), streamed(&content)] {
            assert_eq!(open(&zstd, content.len()), Ok(content.clone()));
            let max = content.len() - 1;
            assert_eq!(open(&zstd, max), Err(Refusal::TooLarge { max }));
        }
    }

    #[test]
    fn several_frames_are_one_content() {
        let skipped = [&0x184d_2a50u32.to_le_bytes()[..], &2u32.to_le_bytes(), b"xx"].concat();
        let all = [zstd(b"ab"), skipped, streamed(b"cd"), zstd(b"ef")].concat();
        assert_eq!(open(&all, 100), Ok(b"abcdef".to_vec()));
        assert_eq!(open(&zstd(b""), 100), Ok(Vec::new()));
    }

    #[test]
    fn a_bomb_stops_at_the_limit_or_the_budget() {
        for bomb in [zstd(&vec![0; 8 << 20]), streamed(&vec![0; 8 << 20])] {
            assert!(bomb.len() < 1_000);
            assert_eq!(open(&bomb, 1 << 20), Err(Refusal::TooLarge { max: 1 << 20 }));
            let budget = Budget::new(1 << 20);
            assert_eq!(
                unzstd(&bomb, &budget, 1 << 26).expect_err("no budget"),
                Refusal::MemoryFull
            );
            assert_eq!(budget.held_bytes(), 0);
        }
    }

    #[test]
    fn a_window_of_more_than_8_mib_is_refused() {
        // A frame without content size, one raw block "hi"; the descriptor's exponent is of 1 KiB.
        let frame = |exponent: u8| [&MAGIC[..], &[0, exponent << 3, 0x11, 0, 0], b"hi"].concat();
        assert_eq!(open(&frame(13), 100), Ok(b"hi".to_vec()));
        assert!(matches!(open(&frame(14), 100), Err(Refusal::Malformed(_))));
    }

    #[test]
    fn what_is_not_zstd_is_malformed() {
        let whole = zstd(b"some content that is long enough");
        let trailing = [whole.as_slice(), b"xx"].concat();
        let cut = (0..whole.len()).map(|end| &whole[..end]);
        for bad in cut.chain([b"plain".as_slice(), &whole[1..], &trailing]) {
            let opened = open(bad, 1_000);
            assert!(matches!(opened, Err(Refusal::Malformed(_))), "{opened:?}");
        }
    }
}
