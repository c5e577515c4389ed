//! Export requests whose every record carries the number of its request, and the way back.
//!
//! The number is in the trace id: 8 bytes of the request's number and 8 of the record's place in
//! it. Requests are built and read by hand, so that the audit shares no code with what it audits.

/// Records in every request.
pub const RECORDS: usize = 20;

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
}

impl Signal {
    pub const ALL: [Self; 2] = [Self::Traces, Self::Logs];

    /// Which signal request `number` is of.
    pub fn of(number: u64) -> Self {
        Self::ALL[usize::try_from(number % 2).expect("0 or 1")]
    }

    pub const fn path(self) -> &'static str {
        match self {
            Self::Traces => "/v1/traces",
            Self::Logs => "/v1/logs",
        }
    }

    /// The field of a record that holds its trace id.
    const fn trace_id_field(self) -> u64 {
        match self {
            Self::Traces => 1,
            Self::Logs => 9,
        }
    }
}

/// The request with `number`; `padding` bytes more in each record.
pub fn request(number: u64, padding: usize) -> Vec<u8> {
    let signal = Signal::of(number);
    let mut scope = Vec::new();
    for place in 0..RECORDS as u64 {
        field(&mut scope, 2, &record(signal, number, place, padding));
    }
    let mut group = resource();
    field(&mut group, 2, &scope);
    let mut request = Vec::new();
    field(&mut request, 1, &group);
    request
}

/// `Resource { service.name = "load" }` as the first field of a group.
fn resource() -> Vec<u8> {
    let (mut value, mut attribute, mut resource, mut group) = (vec![], vec![], vec![], vec![]);
    field(&mut value, 1, b"load");
    field(&mut attribute, 1, b"service.name");
    field(&mut attribute, 2, &value);
    field(&mut resource, 1, &attribute);
    field(&mut group, 1, &resource);
    group
}

fn record(signal: Signal, number: u64, place: u64, padding: usize) -> Vec<u8> {
    let mut trace_id = number.to_be_bytes().to_vec();
    // No id may be all zeros.
    trace_id.extend_from_slice(&(place + 1).to_be_bytes());
    let text = vec![b'x'; padding];
    let mut record = Vec::new();
    match signal {
        Signal::Traces => {
            field(&mut record, 1, &trace_id);
            field(&mut record, 2, &trace_id[8..]);
            field(&mut record, 5, &text);
        }
        Signal::Logs => {
            let mut body = Vec::new();
            field(&mut body, 1, &text);
            field(&mut record, 5, &body);
            field(&mut record, 9, &trace_id);
        }
    }
    record
}

fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    let mut length = bytes.len();
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(bytes);
}

/// Number and place of every record in a body of `signal`; `None` if it is not well formed.
pub fn records(signal: Signal, body: &[u8]) -> Option<Vec<(u64, usize)>> {
    let mut found = Vec::new();
    for group in fields(body, 1)? {
        for scope in fields(group, 2)? {
            for record in fields(scope, 2)? {
                let [id] = fields(record, signal.trace_id_field())?[..] else { return None };
                let (number, place) = id.split_first_chunk::<8>()?;
                let place = u64::from_be_bytes(place.try_into().ok()?).checked_sub(1)?;
                found.push((u64::from_be_bytes(*number), usize::try_from(place).ok()?));
            }
        }
    }
    Some(found)
}

/// The length-delimited fields with `wanted` number.
fn fields(mut message: &[u8], wanted: u64) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            0 => {
                varint(&mut message)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut message)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, rest) = message.split_at_checked(length)?;
        message = rest;
        if key == wanted << 3 | 2 {
            found.push(value);
        }
    }
    Some(found)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[test]
fn what_is_built_is_read_back() {
    for number in [6, u64::MAX] {
        let all: Vec<_> = (0..RECORDS).map(|place| (number, place)).collect();
        let signal = Signal::of(number);
        assert_eq!(records(signal, &request(number, 300)), Some(all.clone()));
        let twice = [request(number, 0), request(number, 9)].concat();
        assert_eq!(records(signal, &twice), Some([all.clone(), all].concat()));
    }
    assert_eq!(records(Signal::Traces, &request(6, 0)[..90]), None);
}
