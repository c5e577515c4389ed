//! One HTTP answer, and the questions a probe asks of it.
//!
//! Every question returns the answer again or says what was seen, so that a check reads as one
//! sentence: `target.post(...)?.is(413)?.has_status_body(Encoding::Protobuf)`.

use serde_json::Value as Json;

use super::probe::Outcome;
use super::wire::{self, Value};

/// The two encodings of OTLP/HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    pub fn media_type(self) -> &'static str {
        match self {
            Encoding::Protobuf => "application/x-protobuf",
            Encoding::Json => "application/json",
        }
    }
}

#[derive(Debug, Clone, Default)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// `google.rpc.Status`, as far as OTLP speaks of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Status {
    pub code: Option<u64>,
    pub message: String,
    /// The type URLs of the details.
    pub details: Vec<String>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The media type without its parameters, in lower case.
    pub fn media_type(&self) -> Option<String> {
        let value = self.header("content-type")?;
        Some(value.split(';').next().unwrap_or(value).trim().to_ascii_lowercase())
    }

    pub fn is(self, status: u16) -> Result<Answer, String> {
        self.among(&[status])
    }

    pub fn among(self, statuses: &[u16]) -> Result<Answer, String> {
        if statuses.contains(&self.status) {
            return Ok(self);
        }
        let wanted: Vec<_> = statuses.iter().map(u16::to_string).collect();
        Err(format!("{} instead of {} ({})", self.status, wanted.join("/"), self.excerpt()))
    }

    pub fn refused(self) -> Result<Answer, String> {
        if (400..500).contains(&self.status) {
            return Ok(self);
        }
        Err(format!("{} instead of 4xx ({})", self.status, self.excerpt()))
    }

    pub fn has_media_type(self, encoding: Encoding) -> Result<Answer, String> {
        match self.media_type() {
            Some(found) if found == encoding.media_type() => Ok(self),
            found => Err(format!("Content-Type {found:?} instead of {}", encoding.media_type())),
        }
    }

    /// Taken, whatever the answer says beside it.
    pub fn accepted(self) -> Outcome {
        self.is(200).map(drop)
    }

    /// Taken in whole: 200, the same encoding back, and no record rejected.
    pub fn taken(self, encoding: Encoding) -> Outcome {
        let answer = self.is(200)?.has_media_type(encoding)?;
        match answer.partial_success(encoding)? {
            Partial::Rejected(why) => Err(format!("not taken in whole: {why}")),
            Partial::Unset | Partial::Empty => Ok(()),
        }
    }

    /// Full success by the letter: taken in whole, and `partial_success` is not set at all.
    pub fn fully_taken(self, encoding: Encoding) -> Outcome {
        let answer = self.is(200)?.has_media_type(encoding)?;
        answer.partial_success(encoding)?.is_unset()
    }

    fn partial_success(&self, encoding: Encoding) -> Result<Partial, String> {
        match encoding {
            Encoding::Protobuf => partial_success(&self.body),
            Encoding::Json => {
                let body: Json = serde_json::from_slice(&self.body)
                    .map_err(|error| format!("body is no JSON: {error} ({})", self.excerpt()))?;
                match body.get("partialSuccess") {
                    _ if !body.is_object() => Err(format!("{body} is no response")),
                    None | Some(Json::Null) => Ok(Partial::Unset),
                    Some(Json::Object(fields)) if fields.is_empty() => Ok(Partial::Empty),
                    Some(other) => Ok(Partial::Rejected(other.to_string())),
                }
            }
        }
    }

    pub fn has_status_body(self, encoding: Encoding) -> Outcome {
        self.has_media_type(encoding)?.status_body().map(drop)
    }

    /// The body as a `google.rpc.Status` in the encoding that the answer names itself.
    pub fn status_body(&self) -> Result<Status, String> {
        match self.media_type().as_deref() {
            Some("application/x-protobuf") => read_status(&self.body)
                .map_err(|error| format!("body is no Status: {error} ({})", self.excerpt())),
            Some("application/json") => self.status_json(),
            found => Err(format!("{} with Content-Type {found:?}, no Status", self.status)),
        }
    }

    fn status_json(&self) -> Result<Status, String> {
        let body: Json = serde_json::from_slice(&self.body)
            .map_err(|error| format!("body is no JSON: {error} ({})", self.excerpt()))?;
        let fields = body.as_object().ok_or_else(|| format!("{body} is no Status"))?;
        if let Some(stranger) =
            fields.keys().find(|key| !["code", "message", "details"].contains(&key.as_str()))
        {
            return Err(format!("{body} is no Status: it has no field {stranger:?}"));
        }
        let code = match fields.get("code") {
            None => None,
            Some(code) => Some(code.as_u64().ok_or_else(|| format!("code is {code}"))?),
        };
        let message = match fields.get("message") {
            None => String::new(),
            Some(Json::String(message)) => message.clone(),
            Some(other) => return Err(format!("message is {other}")),
        };
        let details = fields.get("details").and_then(Json::as_array).into_iter().flatten();
        let details = details.filter_map(|one| one["@type"].as_str()).map(str::to_owned).collect();
        Ok(Status { code, message, details })
    }

    pub fn excerpt(&self) -> String {
        let text: String = String::from_utf8_lossy(&self.body).chars().take(60).collect();
        format!("body {text:?}")
    }
}

/// Reads a `google.rpc.Status` strictly: a text that happens to parse has strange fields.
pub fn read_status(body: &[u8]) -> Result<Status, String> {
    let mut status = Status::default();
    for (field, value) in wire::fields(body)? {
        match (field, value) {
            (1, Value::Number(code)) => status.code = Some(code),
            (2, Value::Bytes(text)) => {
                status.message =
                    String::from_utf8(text).map_err(|_| "message is not UTF-8".to_owned())?;
            }
            (3, Value::Bytes(any)) => {
                for (field, value) in wire::fields(&any)? {
                    if let (1, Value::Bytes(url)) = (field, value) {
                        status.details.push(String::from_utf8_lossy(&url).into_owned());
                    }
                }
            }
            (field, _) => return Err(format!("field {field} is none of Status")),
        }
    }
    Ok(status)
}

/// How `partial_success` stands in a response. Set but empty is what several servers send for full
/// success; the specification asks for unset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partial {
    Unset,
    Empty,
    Rejected(String),
}

impl Partial {
    pub fn is_unset(&self) -> Outcome {
        match self {
            Partial::Unset => Ok(()),
            Partial::Empty => Err("partial_success is set, if empty".to_owned()),
            Partial::Rejected(why) => Err(format!("partial_success is set: {why}")),
        }
    }
}

/// `partial_success` is field 1 of the responses of all signals.
pub fn partial_success(body: &[u8]) -> Result<Partial, String> {
    let all = wire::fields(body)?;
    match all.into_iter().find(|(field, _)| *field == 1) {
        None => Ok(Partial::Unset),
        Some((_, Value::Bytes(bytes))) if bytes.is_empty() => Ok(Partial::Empty),
        Some((_, value)) => Ok(Partial::Rejected(format!("{value:?}"))),
    }
}
