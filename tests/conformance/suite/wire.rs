//! Protobuf bytes by hand, so that a probe can say what no encoder would: a length that lies, a
//! group, a field twice.
//!
//! The writers nest: `message(1, &[string(5, "name"), varint_field(6, 2)])` is a field 1 that holds
//! a message of two fields. Nothing here checks what it writes; that is the point.

pub const VARINT: u8 = 0;
pub const I64: u8 = 1;
pub const LEN: u8 = 2;
pub const GROUP_START: u8 = 3;
pub const GROUP_END: u8 = 4;
pub const I32: u8 = 5;

pub fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

pub fn tag(field: u32, wire_type: u8) -> Vec<u8> {
    varint(u64::from(field) << 3 | u64::from(wire_type))
}

pub fn varint_field(field: u32, value: u64) -> Vec<u8> {
    [tag(field, VARINT), varint(value)].concat()
}

pub fn fixed64(field: u32, value: u64) -> Vec<u8> {
    [tag(field, I64), value.to_le_bytes().to_vec()].concat()
}

pub fn double(field: u32, value: f64) -> Vec<u8> {
    fixed64(field, value.to_bits())
}

pub fn fixed32(field: u32, value: u32) -> Vec<u8> {
    [tag(field, I32), value.to_le_bytes().to_vec()].concat()
}

pub fn bytes(field: u32, value: &[u8]) -> Vec<u8> {
    [tag(field, LEN), varint(value.len() as u64), value.to_vec()].concat()
}

pub fn string(field: u32, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

pub fn message(field: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &parts.concat())
}

/// A field whose length says `claimed` whatever follows.
pub fn lying(field: u32, claimed: u64, content: &[u8]) -> Vec<u8> {
    [tag(field, LEN), varint(claimed), content.to_vec()].concat()
}

pub fn group(field: u32, content: &[u8]) -> Vec<u8> {
    [tag(field, GROUP_START), content.to_vec(), tag(field, GROUP_END)].concat()
}

/// One field as it stands in the bytes of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// Reads all fields of one message; anything a strict reader would refuse is an error.
pub fn fields(mut rest: &[u8]) -> Result<Vec<(u32, Value)>, String> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let field = u32::try_from(key >> 3).map_err(|_| "a field number over 32 bits")?;
        if field == 0 {
            return Err("field number 0".to_owned());
        }
        let value = match (key & 7) as u8 {
            VARINT => Value::Number(take_varint(&mut rest)?),
            I64 => Value::Bytes(take(&mut rest, 8)?.to_vec()),
            LEN => {
                let length = take_varint(&mut rest)?;
                let length = usize::try_from(length).map_err(|_| "a length over memory")?;
                Value::Bytes(take(&mut rest, length)?.to_vec())
            }
            I32 => Value::Bytes(take(&mut rest, 4)?.to_vec()),
            other => return Err(format!("wire type {other}")),
        };
        found.push((field, value));
    }
    Ok(found)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8], String> {
    let (head, tail) = rest.split_at_checked(length).ok_or("the bytes end inside a field")?;
    *rest = tail;
    Ok(head)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64, String> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = take(rest, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err("a varint over 10 bytes".to_owned())
}
