//! The protobuf wire format, read in place.
//!
//! A [`Reader`] walks the fields of one message and borrows what it finds; nothing is copied or
//! allocated. Lengths are checked before they are used, so no bytes at all can make it panic or
//! read out of range. Reference: the "Encoding" page of the protobuf documentation.
//!
//! Invariant: `next` either moves forward or ends, so every walk takes linear time.

use crate::memory::Buffer;
use crate::refusal::Refusal;

/// How deeply groups (a construct that OTLP never uses) and unknown messages may nest.
const GROUP_DEPTH_MAX: u32 = 32;

/// Why bytes are not the message they should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a field runs past the end of its message")]
    Truncated,
    #[error("a variable-length integer has more than 64 bits")]
    Varint,
    #[error("a field has an impossible number or wire type")]
    Tag,
    #[error("a field has another wire type than OTLP gives it")]
    WireType,
    #[error("values nest too deeply")]
    Depth,
    #[error("a text is not UTF-8")]
    Utf8,
    /// The one mistake that concerns its record alone.
    #[error("a trace id has not 16 bytes, or a span id not 8")]
    Id,
}

/// The value of one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    /// A group; its content is checked and skipped.
    Group,
}

impl<'a> Value<'a> {
    pub(crate) const fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            Self::Fixed64(_) | Self::Bytes(_) | Self::Fixed32(_) | Self::Group => {
                Err(Malformed::WireType)
            }
        }
    }

    pub(crate) const fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(value) => Ok(value),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32(_) | Self::Group => {
                Err(Malformed::WireType)
            }
        }
    }
}

/// The tag of a varint field; as [`fixed64`], [`bytes`] and [`fixed32`] it makes the patterns that
/// the scan matches on, so that number and wire type are one comparison.
pub(crate) const fn varint(number: u32) -> u32 {
    number << 3
}

pub(crate) const fn fixed64(number: u32) -> u32 {
    number << 3 | 1
}

pub(crate) const fn bytes(number: u32) -> u32 {
    number << 3 | 2
}

pub(crate) const fn fixed32(number: u32) -> u32 {
    number << 3 | 5
}

/// Makes what was appended to `buffer` from `start` on the content of a length-delimited field, by
/// putting its length before it.
pub(crate) fn insert_length(buffer: &mut Buffer, start: usize) -> Result<(), Refusal> {
    let end = buffer.len();
    let (digits, width) = varint_bytes((end - start) as u64);
    buffer.extend(&digits[..width])?;
    let bytes = buffer.as_mut_slice();
    bytes.copy_within(start..end, start + width);
    bytes[start..start + width].copy_from_slice(&digits[..width]);
    Ok(())
}

/// `value` as a varint: its bytes, and how many there are.
#[inline]
pub(crate) fn varint_bytes(mut value: u64) -> ([u8; 10], usize) {
    let (mut bytes, mut n) = ([0; 10], 0);
    while value >= 0x80 {
        bytes[n] = (value as u8 & 0x7f) | 0x80;
        value >>= 7;
        n += 1;
    }
    bytes[n] = value as u8;
    (bytes, n + 1)
}

/// Walks the fields of one message.
///
/// The fast way is [`Self::tag`] and then the read that the tag calls for; [`Self::value`] reads
/// what no pattern knew.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// What has not been read.
    #[inline]
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        match self.tag()? {
            None => Ok(None),
            Some(tag) => Ok(Some((tag >> 3, self.value(tag)?))),
        }
    }

    /// The tag of the next field, number and wire type as they stand on the wire, or `None` at the
    /// end of the message.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<Option<u32>, Malformed> {
        match *self.rest {
            [] => Ok(None),
            [byte @ 8..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(Some(u32::from(byte)))
            }
            _ => self.long_tag().map(Some),
        }
    }

    fn long_tag(&mut self) -> Result<u32, Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        if tag >> 3 == 0 { Err(Malformed::Tag) } else { Ok(tag) }
    }

    /// The value after `tag`.
    pub(crate) fn value(&mut self, tag: u32) -> Result<Value<'a>, Malformed> {
        Ok(match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.bytes()?),
            3 => {
                self.skip_group(tag >> 3, GROUP_DEPTH_MAX)?;
                Value::Group
            }
            5 => Value::Fixed32(self.fixed32()?),
            // 4 ends a group that never began; 6 and 7 do not exist.
            _ => return Err(Malformed::Tag),
        })
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match *self.rest {
            [byte, ref rest @ ..] if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high, ref rest @ ..] if high < 0x80 => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | (u64::from(high) << 7))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and nothing else.
            if i == 9 && *byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { Malformed::Truncated } else { Malformed::Varint })
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<4>().ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// The content of a length-delimited field.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Truncated)?;
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The content of a length-delimited field that has `N` bytes as a rule. What follows such a
    /// field is found without waiting for the length to be read.
    #[inline]
    pub(crate) fn bytes_of<const N: usize>(&mut self) -> Result<&'a [u8], Malformed> {
        if let Some((length, rest)) = self.rest.split_first()
            && usize::from(*length) == N
            && let Some((taken, rest)) = rest.split_first_chunk::<N>()
        {
            self.rest = rest;
            return Ok(taken);
        }
        self.bytes()
    }

    fn skip_group(&mut self, opened: u32, depth: u32) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        loop {
            let tag = self.long_tag()?;
            match tag & 7 {
                3 => self.skip_group(tag >> 3, depth)?,
                4 if tag >> 3 == opened => return Ok(()),
                _ => self.value(tag).map(drop)?,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(message: &[u8]) -> Result<Vec<(u32, Value<'_>)>, Malformed> {
        let mut reader = Reader::new(message);
        std::iter::from_fn(|| reader.next().transpose()).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let message = b"\x08\x96\x01\x11\x01\0\0\0\0\0\0\0\x1a\x02hi\x25\x02\0\0\0\x2b\x08\x01\x2c";
        assert_eq!(
            all(message),
            Ok(vec![
                (1, Value::Varint(150)),
                (2, Value::Fixed64(1)),
                (3, Value::Bytes(b"hi")),
                (4, Value::Fixed32(2)),
                (5, Value::Group),
            ])
        );
    }

    #[test]
    fn a_varint_holds_64_bits_and_not_one_more() {
        let most = [[0xff; 9].as_slice(), &[0x01]].concat();
        assert_eq!(Reader::new(&most).varint(), Ok(u64::MAX));
        let more = [[0xff; 9].as_slice(), &[0x02]].concat();
        assert_eq!(Reader::new(&more).varint(), Err(Malformed::Varint));
        assert_eq!(Reader::new(&[0x80; 10]).varint(), Err(Malformed::Varint));
        assert_eq!(Reader::new(&[0x80; 9]).varint(), Err(Malformed::Truncated));
    }

    #[test]
    fn impossible_messages_are_refused() {
        for (message, why) in [
            (b"\x00\x01".as_slice(), Malformed::Tag),
            (b"\x0e", Malformed::Tag),
            (b"\x0c", Malformed::Tag),
            (b"\x0b\x14", Malformed::Tag),
            (b"\x0a\x05abcd", Malformed::Truncated),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Malformed::Truncated),
            (b"\x09\0\0\0\0\0\0\0", Malformed::Truncated),
            (b"\x0d\0\0\0", Malformed::Truncated),
            (b"\x0b", Malformed::Truncated),
            (&[0x0b; 100], Malformed::Depth),
            (b"\x88\x80\x80\x80\x10\x00", Malformed::Tag),
        ] {
            assert_eq!(all(message), Err(why), "{message:x?}");
        }
    }
}
