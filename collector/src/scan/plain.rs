//! The quick way through attributes and names: short, in the usual order, and ASCII.
//!
//! Attributes are most of the bytes of most requests, and nearly all of them look alike: a short
//! key, a short text or a small number, each length in one byte. Such a `KeyValue` is judged with
//! one load of [`WINDOW`] bytes and a handful of comparisons that are joined without branches, so
//! that the processor does not guess at lengths. ASCII is always UTF-8, so no decoder has to run.
//!
//! Invariant: what is called plain here passes [`super::values::key_value`]; whatever is not plain
//! goes there, and this says nothing about it.

use crate::wire::Reader;

/// Bytes that are looked at together: a processor's cache line.
const WINDOW: usize = 64;
const WORDS: usize = WINDOW / 8;

/// For each length up to [`WINDOW`], the high bits of so many first bytes.
static MASKS: [[u64; WORDS]; WINDOW + 1] = masks();

const fn masks() -> [[u64; WORDS]; WINDOW + 1] {
    let mut masks = [[0; WORDS]; WINDOW + 1];
    let mut length = 0;
    while length <= WINDOW {
        let mut byte = 0;
        while byte < length {
            masks[length][byte / 8] |= 0x80 << (8 * (byte % 8));
            byte += 1;
        }
        length += 1;
    }
    masks
}

/// Whether the first `length` bytes of `window`, at most all, are ASCII.
#[inline]
fn is_ascii(window: &[u8; WINDOW], length: usize) -> bool {
    let mask = &MASKS[length.min(WINDOW)];
    let (words, _) = window.as_chunks::<8>();
    let mut high = 0;
    for (word, mask) in words.iter().zip(mask) {
        high |= u64::from_le_bytes(*word) & mask;
    }
    high == 0
}

/// Whether `text`, the whole of a text field, is short ASCII.
#[inline]
pub(super) fn is_text(text: &Reader<'_>) -> bool {
    let length = text.len();
    match text.window::<WINDOW>() {
        Some(window) if length <= WINDOW => is_ascii(window, length),
        _ => false,
    }
}

/// Whether `key_value`, the whole of a `KeyValue`, is `{key: text, value: text | number | bool}`
/// with nothing left out or added.
///
/// A length of two bytes has a first byte above 127, which no sum below can match.
#[inline]
pub(super) fn is_key_value(key_value: &Reader<'_>) -> bool {
    let length = key_value.len();
    let Some(window) = key_value.window::<WINDOW>() else { return false };
    if length > WINDOW {
        return false;
    }
    let at = |index: usize| window[index & (WINDOW - 1)];
    let key = usize::from(at(1));
    let value = usize::from(at(key + 3));
    let (kind, inner) = (at(key + 4), usize::from(at(key + 5)));
    let is_text = (kind == 0x0a) & (inner + 2 == value);
    let is_small = (kind == 0x18) | (kind == 0x10);
    let is_one_byte = is_small & (value == 2) & (inner < 0x80);
    let is_two_bytes = is_small & (value == 3) & (inner >= 0x80) & (at(key + 6) < 0x80);
    let is_double = (kind == 0x21) & (value == 9);
    // What follows the key is text only if the value is one.
    let text_ends = if is_text { length } else { (key + 2).min(length) };
    (at(0) == 0x0a)
        & (at(key + 2) == 0x12)
        & (key + 4 + value == length)
        & (is_text | is_one_byte | is_two_bytes | is_double)
        & is_ascii(window, text_ends)
}
