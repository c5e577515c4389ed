//! The quick way through attributes against the general one, field by field.

use proptest::prelude::*;

use super::*;
use crate::samples::field;

const DEPTH: u32 = 3;

/// A `KeyValue` of a key and a value whose bytes are those of an `AnyValue`.
fn pair(key: &[u8], value: &[u8]) -> Vec<u8> {
    [field(1, key), field(2, value)].concat()
}

fn key_values() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        "[ -~]{0,40}".prop_map(String::into_bytes),
        "[ -~]{100,140}".prop_map(String::into_bytes),
        "\\PC{0,12}".prop_map(String::into_bytes),
    ];
    let numbers = prop::sample::select(vec![
        b"\x10\x01".to_vec(),
        b"\x18\xc8\x01".to_vec(),
        b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01".to_vec(),
        b"\x21\0\0\0\0\0\0\xf0\x3f".to_vec(),
        b"\x3a\x02\xff\xfe".to_vec(),
        b"".to_vec(),
        b"\x2a\x04\x0a\x02\x18\x05".to_vec(),
    ]);
    let value = prop_oneof![text.clone().prop_map(|text| field(1, &text)), numbers];
    (text, value).prop_map(|(key, value)| pair(&key, &value))
}

/// All attributes at field 9 of `message`, one by one in the general way.
fn one_by_one(message: &[u8]) -> Result<(), Malformed> {
    let mut reader = Reader::new(message);
    while let Some((number, value)) = reader.next()? {
        if number == 9 {
            any_key_value(value.bytes()?, DEPTH)?;
        }
    }
    Ok(())
}

fn together(message: &[u8]) -> Result<(), Malformed> {
    const ATTRIBUTE: u32 = bytes(9);

    let mut reader = Reader::new(message);
    while let Some(tag) = reader.tag()? {
        match tag {
            ATTRIBUTE => attributes(&mut reader, ATTRIBUTE, DEPTH)?,
            _ => {
                if tag >> 3 == 9 {
                    return Err(Malformed::WireType);
                }
                reader.value(tag)?;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn a_row_of_attributes_is_judged_as_each_of_them_is(
        pairs in prop::collection::vec(key_values(), 1..5),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut message: Vec<u8> = pairs.iter().flat_map(|pair| field(9, pair)).collect();
        for (index, byte) in changes {
            let at = index.index(message.len());
            message[at] = byte;
        }
        let (row, each) = (together(&message), one_by_one(&message));
        prop_assert_eq!(row.is_ok(), each.is_ok(), "{:?} {:?} {:x?}", row, each, message);
    }

    #[test]
    fn the_usual_key_value_is_read_as_any_is(
        mut bytes in key_values(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        prop_assert_eq!(key_value(&bytes, DEPTH).ok(), any_key_value(&bytes, DEPTH).ok());
    }
}

#[test]
fn a_text_is_ascii_or_utf8_at_every_length_and_place() {
    for length in 1..100 {
        let good = vec![b'a'; length];
        assert_eq!(text(&good), Ok(()));
        for at in 0..length {
            let mut bad = good.clone();
            bad[at] = 0x80;
            assert_eq!(text(&bad), Err(Malformed::Utf8), "{at} of {length}");
        }
    }
    assert_eq!(text("äöü, 漢字 and 🦀".as_bytes()), Ok(()));
}
