//! A foreign collector in a Docker container, spoken to over the daemon's Unix socket.
//!
//! The paths are those of the Engine API without a version, which the daemon reads as its own:
//! `GET /containers/NAME/json`, `POST /containers/NAME/kill?signal=…`, `POST …/restart?t=0`.
//!
//! Invariant: the container's name is one segment of a path, whatever characters it has.

use std::error::Error as _;

use reqwest::{Client, RequestBuilder};
use rustix::process::Signal;
use serde_json::Value;

use super::adapter::{ANSWER, Container, Generation, RESTART, name};

/// A container and the way to its daemon.
#[derive(Debug)]
pub struct Docker {
    base: reqwest::Url,
    client: Client,
}

impl Docker {
    pub fn new(container: &Container) -> Self {
        let client = Client::builder()
            .no_proxy()
            .unix_socket(container.socket.as_path())
            .timeout(ANSWER)
            .build();
        let mut base = reqwest::Url::parse("http://docker/").expect("a constant URL");
        base.path_segments_mut()
            .expect("http has a path")
            .extend(["containers", &container.container]);
        Self { base, client: client.expect("a client without TLS always builds") }
    }

    fn url(&self, last: &str) -> reqwest::Url {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http has a path").push(last);
        url
    }

    pub async fn generation(&self) -> Result<Option<Generation>, String> {
        let body = ask(self.client.get(self.url("json"))).await?;
        let body: Value = serde_json::from_str(&body).map_err(|e| format!("docker: {e}"))?;
        Ok(parse(&body))
    }

    pub async fn signal(&self, signal: Signal) -> Result<(), String> {
        let mut url = self.url("kill");
        url.query_pairs_mut().append_pair("signal", name(signal));
        ask(self.client.post(url)).await.map(drop)
    }

    pub async fn restart(&self) -> Result<(), String> {
        let mut url = self.url("restart");
        url.query_pairs_mut().append_pair("t", "0");
        ask(self.client.post(url).timeout(RESTART)).await.map(drop)
    }
}

async fn ask(request: RequestBuilder) -> Result<String, String> {
    let answer = request.send().await.map_err(|error| match error.source() {
        Some(cause) => format!("docker: {error}: {cause}"),
        None => format!("docker: {error}"),
    })?;
    let status = answer.status();
    let body = answer.text().await.map_err(|error| format!("docker: {error}"))?;
    // The daemon says what is wrong as {"message": "…"}.
    if status.is_success() { Ok(body) } else { Err(format!("docker: {status}: {}", body.trim())) }
}

/// What the daemon says of the container; `None` if it does not run.
fn parse(body: &Value) -> Option<Generation> {
    let state = &body["State"];
    if state["Running"] != true {
        return None;
    }
    let pid = state["Pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    Generation::new(state["StartedAt"].as_str()?, pid)
}
