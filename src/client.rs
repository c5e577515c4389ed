//! How the command line talks to the gate and the watchdog.
//!
//! Address and token come from `HOLDPOINT_GATE_URL` and `HOLDPOINT_TOKEN`, else from the data
//! directory.
//!
//! Invariant: only a complete answer with a 2xx status and a JSON body is an answer. Whatever else
//! happens is an error that says so, and no error can be read as "allow".

use std::error::Error;
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::place::{Listen, Place, RoleRun};
use crate::roles::sentence;

/// Names the gate, as in `http://127.0.0.1:7080`.
pub const GATE_URL_ENV: &str = "HOLDPOINT_GATE_URL";
/// The bearer token for it.
pub const TOKEN_ENV: &str = "HOLDPOINT_TOKEN";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no {role} runs in {data_dir}; start one with `holdpoint up`{hint}")]
    NotRunning { role: &'static str, data_dir: String, hint: &'static str },
    #[error("no token: {why}; set {TOKEN_ENV}")]
    NoToken { why: String },
    #[error("reach {url}: {why}")]
    Unreachable { url: String, why: String },
    #[error("{url} answered {status} with something that is not JSON")]
    Unreadable { url: String, status: StatusCode },
    #[error("{message} ({status}, {code})")]
    Refused { status: StatusCode, code: String, message: String, hint: Option<String> },
}

impl ClientError {
    /// Whether the same question may be answered later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Unreachable { .. } => true,
            Self::Unreadable { status, .. } | Self::Refused { status, .. } => {
                status.is_server_error() || *status == StatusCode::TOO_MANY_REQUESTS
            }
            Self::NoToken { .. } => false,
        }
    }
}

/// One server that is spoken to.
#[derive(Debug)]
pub struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// The gate, with the token of `role`.
///
/// # Errors
/// [`ClientError`] if no gate is known or there is no token.
pub fn gate(place: &Place, role: &str) -> Result<Client, ClientError> {
    let (base, local) = match variable(GATE_URL_ENV) {
        Some(url) => (url.trim_end_matches('/').to_owned(), false),
        None => (running(place, "gate", ", or set HOLDPOINT_GATE_URL")?, true),
    };
    let token = match variable(TOKEN_ENV) {
        Some(token) => token,
        None => {
            place.token(role).map_err(|error| ClientError::NoToken { why: error.to_string() })?
        }
    };
    client(base, Some(token), local)
}

/// The watchdog of this data directory. Its verdicts are for whoever can reach it.
///
/// # Errors
/// [`ClientError`] if none runs.
pub fn watchdog(place: &Place) -> Result<Client, ClientError> {
    client(running(place, "watchdog", "")?, None, true)
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn running(place: &Place, role: &'static str, hint: &'static str) -> Result<String, ClientError> {
    let run = place.run::<Listen>(role).filter(RoleRun::exists);
    let data_dir = place.root().display().to_string();
    let run = run.ok_or(ClientError::NotRunning { role, data_dir, hint })?;
    Ok(format!("http://{}", run.listen))
}

fn client(base: String, token: Option<String>, local: bool) -> Result<Client, ClientError> {
    let builder = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    // A proxy of the environment has no business between two processes of one machine.
    let builder = if local { builder.no_proxy() } else { builder };
    match builder.build() {
        Ok(http) => Ok(Client { base, token, http }),
        Err(error) => Err(ClientError::Unreachable { url: base, why: sentence(&error) }),
    }
}

impl Client {
    /// # Errors
    /// [`ClientError`] for everything but a 2xx with JSON.
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::GET, path, None).await
    }

    /// # Errors
    /// [`ClientError`] for everything but a 2xx with JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Posts exactly these bytes, which `header` may sign.
    ///
    /// # Errors
    /// [`ClientError`] for everything but a 2xx with JSON.
    pub async fn post_bytes(
        &self,
        path: &str,
        bytes: Vec<u8>,
        header: Option<(&'static str, String)>,
    ) -> Result<Value, ClientError> {
        let mut request = self.http.post(format!("{}{path}", self.base)).body(bytes);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        self.send(request, path).await
    }

    /// # Errors
    /// [`ClientError`] for everything but a 2xx with JSON.
    pub async fn delete(&self, path: &str) -> Result<Value, ClientError> {
        self.ask(Method::DELETE, path, None).await
    }

    /// Where it is, for a person.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request, path).await
    }

    async fn send(
        &self,
        mut request: reqwest::RequestBuilder,
        path: &str,
    ) -> Result<Value, ClientError> {
        let url = format!("{}{path}", self.base);
        let unreachable = |error: reqwest::Error| {
            let error = error.without_url();
            ClientError::Unreachable { url: url.clone(), why: plain(&error) }
        };
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let answer = request.send().await.map_err(unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(unreachable)?;
        if status.is_success() && bytes.is_empty() {
            return Ok(Value::Null);
        }
        let value: Value = serde_json::from_slice(&bytes)
            .map_err(|_| ClientError::Unreadable { url: url.clone(), status })?;
        if status.is_success() { Ok(value) } else { Err(refused(status, &value)) }
    }
}

/// A segment of a path, so that an id with a slash stays one.
#[must_use]
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn refused(status: StatusCode, value: &Value) -> ClientError {
    let part = |name: &str| value["error"][name].as_str().map(str::to_owned);
    ClientError::Refused {
        status,
        code: part("code").unwrap_or_else(|| "no code".to_owned()),
        message: part("message").unwrap_or_else(|| "refused".to_owned()),
        hint: part("hint"),
    }
}

/// What went wrong below, in few words.
fn plain(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_cannot_leave_its_place() {
        assert_eq!(segment("shop/a b%"), "shop%2Fa%20b%25");
    }

    #[test]
    fn what_cannot_pass_is_not_asked_again() {
        let refused = |status| refused(status, &Value::Null).may_pass();
        assert!(refused(StatusCode::SERVICE_UNAVAILABLE));
        assert!(!refused(StatusCode::UNAUTHORIZED) && !refused(StatusCode::CONFLICT));
    }
}
