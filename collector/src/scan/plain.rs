//! The quick way through attributes and names: short, in the usual order, and ASCII.
//!
//! Attributes are most of the bytes of most requests, and nearly all of them look alike: a short
//! key, a short text or a small number, each length in one byte. Such a `KeyValue` is judged with
//! one load of [`WINDOW`] bytes and a handful of comparisons that are joined without branches, so
//! that the processor does not guess at lengths. ASCII is always UTF-8, so no decoder has to run.
//!
//! Invariant: what is called plain here passes [`super::values::key_value`]; whatever is not plain
//! goes there, and this says nothing about it.

use crate::wire::{FIXED64, LENGTH, Reader};

/// Bytes that are looked at together: a processor's cache line.
const WINDOW: usize = 64;
const WORDS: usize = WINDOW / 8;

// The tags of `KeyValue` and `AnyValue`.
const KEY: u8 = 1 << 3 | LENGTH;
const VALUE: u8 = 2 << 3 | LENGTH;
const TEXT: u8 = 1 << 3 | LENGTH;
const BOOL: u8 = 2 << 3;
const INT: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | FIXED64;

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
#[inline(always)]
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

/// Whether `key_value`, the whole of a `KeyValue`, is `{key: text, value: text}` with nothing left
/// out or added.
///
/// A length of two bytes has a first byte above 127, which no sum below can match.
#[inline(always)]
pub(super) fn is_text_pair(key_value: &Reader<'_>) -> bool {
    let length = key_value.len();
    let Some(window) = key_value.window::<WINDOW>() else { return false };
    if length > WINDOW {
        return false;
    }
    let at = |index: usize| window[index % WINDOW];
    let key = usize::from(at(1));
    let value = usize::from(at(key + 5));
    let shape = u32::from_le_bytes([at(0), at(key + 2), at(key + 4), 0]);
    (shape == u32::from_le_bytes([KEY, VALUE, TEXT, 0]))
        & (key + value + 6 == length)
        & (usize::from(at(key + 3)) == value + 2)
        & is_ascii(window, length)
}

/// The key and the text of a `KeyValue` that [`is_text_pair`]; both are ASCII.
#[inline]
pub(super) fn text_pair<'a>(key_value: &Reader<'a>) -> Option<(&'a [u8], &'a [u8])> {
    if !is_text_pair(key_value) {
        return None;
    }
    let bytes = key_value.remaining();
    let (key, value) = bytes.get(2..)?.split_at_checked(usize::from(*bytes.get(1)?))?;
    Some((key, value.get(4..)?))
}

/// Whether `key_value`, the whole of a `KeyValue`, is `{key: text, value: bool | double | int}`
/// with an integer of at most two bytes and nothing left out or added.
#[inline]
pub(super) fn is_number_pair(key_value: &Reader<'_>) -> bool {
    let length = key_value.len();
    let Some(window) = key_value.window::<WINDOW>() else { return false };
    if length > WINDOW {
        return false;
    }
    let at = |index: usize| window[index % WINDOW];
    let key = usize::from(at(1));
    let value = usize::from(at(key + 3));
    let (kind, first, second) = (at(key + 4), at(key + 5), at(key + 6));
    let is_value = match (kind, value) {
        (BOOL | INT, 2) => first < 0x80,
        (BOOL | INT, 3) => first >= 0x80 && second < 0x80,
        (DOUBLE, 9) => true,
        _ => false,
    };
    is_value
        && (at(0) == KEY)
        && (at(key + 2) == VALUE)
        && (key + 4 + value == length)
        && is_ascii(window, key + 2)
}
