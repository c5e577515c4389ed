//! The protobuf wire format, read in place.
//!
//! A [`Reader`] walks the fields of one message and borrows what it finds; nothing is copied or
//! allocated. Lengths are checked before they are used, so no bytes at all can make it panic or
//! read out of range. Reference: the "Encoding" page of the protobuf documentation.
//!
//! Invariant: `next` either moves forward or ends, so every walk takes linear time.

/// How deeply groups (a construct that OTLP never uses) and unknown messages may nest.
const GROUP_DEPTH_MAX: u32 = 32;

/// Wire types as they stand in the low bits of a tag.
pub(crate) const FIXED64: u8 = 1;
pub(crate) const LENGTH: u8 = 2;

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

    pub(crate) const fn fixed64(self) -> Result<u64, Malformed> {
        match self {
            Self::Fixed64(value) => Ok(value),
            Self::Varint(_) | Self::Bytes(_) | Self::Fixed32(_) | Self::Group => {
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

/// Walks the fields of one message.
///
/// A reader of a nested message sees past its end into the request, but never reads there as part
/// of the message: the scan of short values loads a window of a fixed size at once.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    /// From here to the end of the request; at least `left` bytes.
    rest: &'a [u8],
    /// Bytes of this message that are still to be read.
    left: usize,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message, left: message.len() }
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// What is still to be read of this message.
    #[inline]
    pub(crate) fn remaining(&self) -> &'a [u8] {
        &self.rest[..self.left]
    }

    /// The next field, or `None` at the end of the message.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Malformed> {
        if self.left == 0 {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed64()?),
            2 => Value::Bytes(self.bytes()?),
            3 => {
                self.skip_group(number, GROUP_DEPTH_MAX)?;
                Value::Group
            }
            5 => Value::Fixed32(self.fixed32()?),
            // 4 ends a group that never began; 6 and 7 do not exist.
            _ => return Err(Malformed::Tag),
        };
        Ok(Some((number, value)))
    }

    /// The tag of the next field if it is one byte, which all fields up to number 15 are.
    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        if self.left == 0 { None } else { self.rest.first().copied() }
    }

    /// Steps over a tag that was peeked at.
    #[inline]
    pub(crate) fn step(&mut self) {
        if self.left > 0 {
            self.advance(1);
        }
    }

    /// The next `N` bytes of the request, of which [`Self::len`] belong to this message.
    #[inline]
    pub(crate) fn window<const N: usize>(&self) -> Option<&'a [u8; N]> {
        self.rest.first_chunk()
    }

    /// Bytes still to be read.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.left
    }

    /// Steps over a peeked tag, a length of one byte and so many bytes; a reader of these. `None`
    /// leaves everything to [`Self::step`] and [`Self::enter`].
    #[inline(always)]
    pub(crate) fn short(&mut self) -> Option<Self> {
        let [_, length, inner @ ..] = self.rest else { return None };
        let length = usize::from(*length);
        if length >= 0x80 || length + 2 > self.left {
            return None;
        }
        self.rest = inner.get(length..)?;
        self.left -= length + 2;
        Some(Self { rest: inner, left: length })
    }

    /// Steps over a peeked tag and gives the eight bytes after it as a number.
    #[inline(always)]
    pub(crate) fn tagged_fixed64(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first_chunk::<9>() {
            Some(([_, value @ ..], rest)) if self.left >= 9 => {
                self.rest = rest;
                self.left -= 9;
                Ok(u64::from_le_bytes(*value))
            }
            _ => Err(Malformed::Truncated),
        }
    }

    /// Steps over a peeked tag, a length of `N` and so many bytes; these. `None` leaves everything
    /// to [`Self::step`] and [`Self::bytes`].
    #[inline(always)]
    pub(crate) fn tagged<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let [_, length, inner @ ..] = self.rest else { return None };
        if usize::from(*length) != N || N + 2 > self.left {
            return None;
        }
        let (value, rest) = inner.split_first_chunk::<N>()?;
        self.rest = rest;
        self.left -= N + 2;
        Some(value)
    }

    /// A length, and a reader of so many bytes.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<Self, Malformed> {
        let length = self.length()?;
        let inner = Self { rest: self.rest, left: length };
        self.advance(length);
        Ok(inner)
    }

    /// A length, and so many bytes.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.length()?;
        let taken = &self.rest[..length];
        self.advance(length);
        Ok(taken)
    }

    /// A length that the message holds.
    #[inline]
    fn length(&mut self) -> Result<usize, Malformed> {
        let length = self.varint()?;
        if length > self.left as u64 {
            return Err(Malformed::Truncated);
        }
        Ok(length as usize)
    }

    /// Moves forward by `bytes`, which are at most `left`.
    #[inline]
    fn advance(&mut self, bytes: usize) {
        self.rest = &self.rest[bytes..];
        self.left -= bytes;
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u32), Malformed> {
        let tag = u32::try_from(self.varint()?).map_err(|_| Malformed::Tag)?;
        let (number, wire_type) = (tag >> 3, tag & 7);
        if number == 0 { Err(Malformed::Tag) } else { Ok((number, wire_type)) }
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        match *self.rest {
            [byte, ..] if byte < 0x80 && self.left >= 1 => {
                self.advance(1);
                Ok(u64::from(byte))
            }
            [low, high, ..] if high < 0x80 && self.left >= 2 => {
                self.advance(2);
                Ok(u64::from(low & 0x7f) | (u64::from(high) << 7))
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (i, byte) in self.remaining().iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit and nothing else.
            if i == 9 && *byte > 1 {
                return Err(Malformed::Varint);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.advance(i + 1);
                return Ok(value);
            }
        }
        Err(if self.left < 10 { Malformed::Truncated } else { Malformed::Varint })
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, Malformed> {
        match self.rest.first_chunk::<8>() {
            Some(bytes) if self.left >= 8 => {
                self.advance(8);
                Ok(u64::from_le_bytes(*bytes))
            }
            _ => Err(Malformed::Truncated),
        }
    }

    #[inline]
    pub(crate) fn fixed32(&mut self) -> Result<u32, Malformed> {
        match self.rest.first_chunk::<4>() {
            Some(bytes) if self.left >= 4 => {
                self.advance(4);
                Ok(u32::from_le_bytes(*bytes))
            }
            _ => Err(Malformed::Truncated),
        }
    }

    fn skip_group(&mut self, opened: u32, depth: u32) -> Result<(), Malformed> {
        let depth = depth.checked_sub(1).ok_or(Malformed::Depth)?;
        loop {
            let (number, wire_type) = self.tag()?;
            match wire_type {
                0 => self.varint().map(drop)?,
                1 => self.fixed64().map(drop)?,
                2 => self.bytes().map(drop)?,
                3 => self.skip_group(number, depth)?,
                4 if number == opened => return Ok(()),
                5 => self.fixed32().map(drop)?,
                _ => return Err(Malformed::Tag),
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
