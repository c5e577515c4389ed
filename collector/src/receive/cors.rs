//! Browsers: which origins may send OTLP from their pages.
//!
//! A browser asks first, with a preflight, and shows an answer to its page only if the answer
//! names the page's origin. No origin is allowed unless the configuration names it, since any page
//! that a developer opens could otherwise send into the collector on their machine. Credentials
//! are never allowed. Source: "CORS protocol" of the Fetch standard.
//!
//! Invariant: an answer names an origin only if the configuration does.

use ::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN, VARY,
};
use ::http::{HeaderMap, Method, Request, Response, StatusCode};

use super::{Reply, paths};

/// How long a browser may remember a preflight; browsers cap it at two hours or less.
const REMEMBERED_S: u64 = 7_200;

/// The origins whose pages may send.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
}

impl Cors {
    /// `*` among `origins` allows all.
    pub(crate) const fn new(origins: Vec<String>) -> Self {
        Self { origins }
    }

    /// What the answer to a request with these headers names, if its origin is allowed.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(ORIGIN)?;
        if self.origins.iter().any(|allowed| allowed == "*") {
            return Some(HeaderValue::from_static("*"));
        }
        let is_allowed = self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
        is_allowed.then(|| origin.clone())
    }

    /// The answer to `request`, if it is a preflight that is allowed.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response<Reply>> {
        let headers = request.headers();
        let asks = request.method() == Method::OPTIONS
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
            && paths::find(request.uri().path(), paths::http).is_some();
        let origin = self.allowed(headers).filter(|_| asks)?;
        let mut response = Response::new(Reply::of(""));
        *response.status_mut() = StatusCode::NO_CONTENT;
        let answer = response.headers_mut();
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
        // SDKs send headers of their users' choice; none of them means anything to the collector.
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        answer.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(REMEMBERED_S));
        mark(&mut response, origin);
        Some(response)
    }
}

/// Lets pages of `origin` read the answer.
pub(super) fn mark(response: &mut Response<Reply>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    headers.insert(VARY, HeaderValue::from_static("origin"));
}

/// What is wrong with `origin` as a key of the configuration.
pub(crate) fn mistake(origin: &str) -> Option<String> {
    let is_good = origin == "*"
        || origin.split_once("://").is_some_and(|(scheme, authority)| {
            !scheme.is_empty()
                && !authority.is_empty()
                && !authority.contains(['/', '?', '#', '@', '*'])
                && origin.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_uppercase())
        });
    (!is_good)
        .then(|| format!("`{origin}` is not `*` or of the form https://HOST[:PORT], in lower case"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_no_path_and_no_upper_case() {
        for good in ["*", "http://localhost:3000", "https://shop.example", "http://[::1]:80"] {
            assert_eq!(mistake(good), None, "{good}");
        }
        for bad in ["", "null", "shop.example", "https://", "https://a/", "https://A", "http://a b"]
        {
            assert!(mistake(bad).is_some(), "{bad}");
        }
    }
}
