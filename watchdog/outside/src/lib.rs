//! The client towards what is not on this machine: webhooks, notifications, forges, the dead-man
//! ping, the backend that is read back. It speaks `http` and `https`.
//!
//! | a server that | is met by |
//! |---|---|
//! | nobody vouches for | `ca_file`, or else the authorities of the system |
//! | answers without end, or never | a bound on the answer, a deadline over the whole exchange |
//! | sends us elsewhere | no redirect is followed, no proxy of the environment is asked |
//! | has a name that leads to a metadata service | [`reach`]: refused where it connects |
//!
//! Invariant: it goes straight (a proxy from the environment would put a stranger into the path
//! that proves things), follows nobody elsewhere, and reads no answer beyond its bound.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

mod reach;
mod trust;

pub use reach::{Reach, is_link_local};
pub use trust::Identity;

/// The largest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// No connection takes longer to come about; the deadline of the exchange may be shorter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection rests before it is closed; shorter than servers wait, so that a request
/// seldom meets a connection that closes.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Whom the client believes and where it goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Settings<'a> {
    /// Where it will be sent; the system's authorities are read only if one is `https`.
    pub urls: &'a [&'a str],
    /// The authorities of those servers, in PEM form, in place of those of the system.
    pub ca_file: Option<&'a Path>,
    /// What the client shows to servers that ask who it is.
    pub identity: Option<&'a Identity>,
    /// Which addresses it connects to.
    pub reach: Reach,
}

/// A client that keeps its connections; clones share them.
#[derive(Debug, Clone)]
pub struct Outside {
    client: Client<HttpsConnector<HttpConnector<reach::Resolver>>, Full<Bytes>>,
    reach: Reach,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// At most [`ANSWER_BYTES_MAX`].
    pub body: Bytes,
    /// Why the body is only the beginning of what was to come, if it is.
    pub cut: Option<String>,
}

impl Answer {
    /// The whole body of an answer of success.
    ///
    /// # Errors
    /// The status if it is another one, or why the body ended early.
    pub fn success(self) -> Result<Bytes, String> {
        if !self.status.is_success() {
            return Err(format!("it said {}", self.status));
        }
        self.cut.map_or(Ok(self.body), Err)
    }
}

impl Outside {
    /// A client that follows `settings`.
    ///
    /// # Errors
    /// What cannot be read or is no certificate, and what to do about it.
    pub fn new(settings: Settings<'_>) -> Result<Self, String> {
        let tls = trust::client(&settings)?;
        let mut tcp = HttpConnector::new_with_resolver(reach::Resolver::new(settings.reach));
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let mut builder = Client::builder(TokioExecutor::new());
        builder.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE_MAX);
        Ok(Self { client: builder.build(connector), reach: settings.reach })
    }

    /// Sends `request` and reads the whole answer, both within `timeout`.
    ///
    /// # Errors
    /// Why there is none, as one sentence; or the status, if it is not one of success.
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Bytes, String> {
        self.send(request, timeout).await?.success()
    }

    /// Sends `request` and gives the answer, whatever its status: its head came within `timeout`,
    /// and its body as far as it came.
    ///
    /// # Errors
    /// Why there is none, as one sentence without the request's secrets.
    pub async fn send(
        &self,
        request: Request<Full<Bytes>>,
        timeout: Duration,
    ) -> Result<Answer, String> {
        self.reach.check_host(request.uri().host())?;
        let late = || format!("no answer within {} ms", timeout.as_millis());
        let mut deadline = std::pin::pin!(tokio::time::sleep(timeout));
        let answer = tokio::select! {
            answer = self.client.request(request) => answer.map_err(|error| chain(&error))?,
            () = &mut deadline => return Err(late()),
        };
        let (head, mut coming) = answer.into_parts();
        let mut body = BytesMut::new();
        let cut = loop {
            let frame = tokio::select! {
                frame = coming.frame() => frame,
                () = &mut deadline => break Some(late()),
            };
            match frame {
                None => break None,
                Some(Err(error)) => break Some(chain(&error)),
                Some(Ok(frame)) => {
                    let Ok(part) = frame.into_data() else { continue };
                    let room = ANSWER_BYTES_MAX - body.len();
                    body.extend_from_slice(&part[..part.len().min(room)]);
                    if part.len() > room {
                        let text = "the answer is larger than";
                        break Some(format!("{text} {ANSWER_BYTES_MAX} bytes"));
                    }
                }
            }
        };
        Ok(Answer { status: head.status, headers: head.headers, body: body.freeze(), cut })
    }
}

/// An error with everything below it, as one sentence.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(cause) = below {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        below = cause.source();
    }
    text
}
