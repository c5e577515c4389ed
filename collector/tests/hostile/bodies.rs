//! Request bodies, written by hand so that they can be wrong.
//!
//! Invariant: what these build is well formed unless its name says otherwise.

/// A length-delimited field.
pub fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    varint(&mut out, content.len() as u64);
    out.extend_from_slice(content);
    out
}

pub fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text_attribute(key: &str, value: &[u8]) -> Vec<u8> {
    [field(1, key.as_bytes()), field(2, &field(1, value))].concat()
}

/// A request of one service whose scope holds `content`.
pub fn traces_of(content: &[u8]) -> Vec<u8> {
    let resource = field(1, &text_attribute("service.name", b"shop"));
    field(1, &[field(1, &resource), field(2, content)].concat())
}

/// A request of `n` spans.
pub fn spans(n: usize) -> Vec<u8> {
    let span = [field(1, &[1; 16]), field(2, &[2; 8]), field(5, b"GET /carts")].concat();
    traces_of(&field(2, &span).repeat(n))
}

/// A request whose one span has an attribute of lists in lists, `depth` of them.
pub fn nested(depth: usize) -> Vec<u8> {
    // AnyValue { array_value = 5: { values = 1: AnyValue } }; lengths from the inside out.
    let mut lengths = Vec::with_capacity(depth);
    let mut length = 0_u64;
    let size = |value: u64| u64::from(64 - (value | 1).leading_zeros()).div_ceil(7);
    for _ in 0..depth {
        let list = 1 + size(length) + length;
        lengths.push((list, length));
        length = 1 + size(list) + list;
    }
    let mut value = Vec::with_capacity(length as usize);
    for (list, inner) in lengths.into_iter().rev() {
        value.push(5 << 3 | 2);
        varint(&mut value, list);
        value.push(1 << 3 | 2);
        varint(&mut value, inner);
    }
    let attribute = [field(1, b"deep"), field(2, &value)].concat();
    traces_of(&field(2, &field(9, &attribute)))
}

/// The same in JSON, left open.
pub fn nested_json(depth: usize) -> Vec<u8> {
    let head = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"deep","value":"#;
    [head.as_bytes(), &br#"{"arrayValue":{"values":["#.repeat(depth)].concat()
}

/// A request whose service has a name that is not UTF-8.
pub fn not_utf8() -> Vec<u8> {
    let resource = field(1, &text_attribute("service.name", b"sh\xffp"));
    field(1, &field(1, &resource))
}
