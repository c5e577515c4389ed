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
    let high = |from: usize, to: usize| {
        let pairs = words[from..to].iter().zip(&mask[from..to]);
        pairs.fold(0, |high, (word, mask)| high | u64::from_le_bytes(*word) & mask)
    };
    high(0, WORDS / 2) == 0 && (length <= WINDOW / 2 || high(WORDS / 2, WORDS) == 0)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{DEPTH_MAX, values};
    use super::*;

    /// A `KeyValue` inside a request that goes on after it.
    fn reader<'a>(request: &'a mut Vec<u8>, key_value: &[u8]) -> Reader<'a> {
        request.push(LENGTH);
        request.push(u8::try_from(key_value.len()).expect("short"));
        request.extend_from_slice(key_value);
        request.extend_from_slice(&[0x0a; 2 * WINDOW]);
        Reader::new(request).short().expect("a short field")
    }

    fn text(key: &str, value: &str) -> Vec<u8> {
        let length = |bytes: usize| u8::try_from(bytes).expect("short");
        let mut bytes = vec![KEY, length(key.len())];
        bytes.extend_from_slice(key.as_bytes());
        bytes.extend_from_slice(&[VALUE, length(value.len() + 2), TEXT, length(value.len())]);
        bytes.extend_from_slice(value.as_bytes());
        bytes
    }

    #[test]
    fn texts_up_to_the_window_are_plain_and_longer_or_other_ones_are_not() {
        for length in 0..=WINDOW {
            let plain = text("key", &"v".repeat(length));
            let is_plain = is_text_pair(&reader(&mut Vec::new(), &plain));
            assert_eq!(is_plain, plain.len() <= WINDOW, "{length}");
        }
        for at in 2..20 {
            let mut odd = text("a.key", "some value");
            odd[at] |= 0x80;
            assert!(!is_text_pair(&reader(&mut Vec::new(), &odd)), "high bit at {at}");
        }
        let alone = text("key", "value");
        assert!(!is_text_pair(&Reader::new(&alone)), "no window at the end of a request");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// One or two changed bytes reach every comparison.
        #[test]
        fn what_is_plain_passes_the_general_check(
            number in any::<bool>(),
            key in "[ -~]{0,20}",
            value in "[ -~]{0,40}",
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        ) {
            let mut bytes = text(&key, &value);
            if number {
                bytes.truncate(key.len() + 2);
                bytes.extend_from_slice(&[VALUE, 3, INT, 0xc8, 0x01]);
            }
            for (index, byte) in changes {
                let at = index.index(bytes.len());
                bytes[at] = byte;
            }
            let mut request = Vec::new();
            let reader = reader(&mut request, &bytes);
            if is_text_pair(&reader) || is_number_pair(&reader) {
                prop_assert!(values::key_value(&bytes, DEPTH_MAX).is_ok());
            }
            if let Some((key, value)) = text_pair(&reader) {
                let (general_key, general_value) = values::key_value(&bytes, DEPTH_MAX).unwrap();
                prop_assert_eq!(key, general_key.as_bytes());
                prop_assert_eq!(Some(value), general_value.map(str::as_bytes));
            }
        }
    }
}
