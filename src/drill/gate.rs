//! The gate's public API, as an agent and as an operator call it.
//!
//! Invariant: each [`Caller`] holds one token and can do what that role can, and no more.

use std::net::SocketAddr;

use reqwest::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::failure::DrillError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    Allow,
    Hold,
    Deny,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Rollout {
    pub id: String,
    pub state: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Reason {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Permit {
    pub epoch: u64,
}

/// What the gate answers to every step of a rollout.
#[derive(Debug, Clone, Deserialize)]
pub struct Answer {
    pub rollout: Rollout,
    pub decision: Decision,
    pub reasons: Vec<Reason>,
    pub permit: Option<Permit>,
}

impl Answer {
    /// The message of the reason `code`, if it is among the reasons.
    pub fn reason(&self, code: &str) -> Option<&str> {
        self.reasons.iter().find(|reason| reason.code == code).map(|reason| &*reason.message)
    }

    /// The first reason, for the timeline.
    pub fn because(&self) -> String {
        self.reasons.first().map_or_else(
            || "no reason given".into(),
            |first| format!("{} ({})", first.message, first.code),
        )
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Freeze {
    pub id: String,
    pub scope: String,
    pub reason: String,
    pub stage: String,
}

/// What an agent wants to change.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// The agent's own name for it. A request that was denied is over; another try needs another.
    pub id: String,
    pub service: &'a str,
    pub from: &'a str,
    pub to: &'a str,
    pub digest: &'a str,
    pub summary: &'a str,
}

/// One client with one token.
#[derive(Debug, Clone)]
pub struct Caller {
    http: reqwest::Client,
    gate: SocketAddr,
    token: String,
}

impl Caller {
    pub fn new(http: &reqwest::Client, gate: SocketAddr, token: &str) -> Self {
        Self { http: http.clone(), gate, token: token.to_owned() }
    }

    /// Asks for a rollout; asked again, it is judged again.
    pub async fn request(&self, change: &Change<'_>) -> Result<Answer, DrillError> {
        let body = json!({
            "change_id": change.id,
            "service": change.service,
            "from": change.from,
            "to": change.to,
            "digest": change.digest,
            "agent": "drill-agent",
            "summary": change.summary,
        });
        self.post("/v1/rollouts", &body).await
    }

    /// One step of a rollout: `renew`, `applied`, `abort` and so on.
    pub async fn step(&self, id: &str, step: &str, body: &Value) -> Result<Answer, DrillError> {
        self.post(&format!("/v1/rollouts/{id}/{step}"), body).await
    }

    /// Where a rollout stands.
    pub async fn rollout(&self, id: &str) -> Result<Rollout, DrillError> {
        // The page holds more than the answer to a step; where the rollout stands is in both.
        let page: Value = self.get(&format!("/v1/rollouts/{id}")).await?;
        let rollout = page.get("rollout").unwrap_or(&page).clone();
        serde_json::from_value(rollout).map_err(|error| DrillError::Refused {
            what: format!("read rollout {id}"),
            status: StatusCode::OK,
            body: error.to_string(),
        })
    }

    /// How many rollouts of the change `digest` were ever allowed, by the gate's own record.
    pub async fn permits(&self, digest: &str) -> Result<u64, DrillError> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Item>,
        }
        #[derive(Deserialize)]
        struct Item {
            digest: String,
            timeline: Vec<Moment>,
        }
        #[derive(Deserialize)]
        struct Moment {
            state: String,
        }
        let page: Page = self.get("/v1/rollouts?limit=200").await?;
        let allowed = page.items.iter().filter(|item| {
            item.digest == digest && item.timeline.iter().any(|moment| moment.state == "allowed")
        });
        Ok(allowed.map(|_| 1).sum())
    }

    /// The freezes in force.
    pub async fn freezes(&self) -> Result<Vec<Freeze>, DrillError> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Freeze>,
        }
        self.get::<Page>("/v1/freezes").await.map(|page| page.items)
    }

    /// Tries to lift a freeze; the status tells whether it was.
    pub async fn thaw(&self, id: &str, reason: &str) -> Result<StatusCode, DrillError> {
        let path = format!("/v1/freezes/{id}/thaw");
        let request = self.http.post(self.url(&path)).json(&json!({ "reason": reason }));
        let response = request.bearer_auth(&self.token).send().await;
        response.map(|response| response.status()).map_err(DrillError::unreachable("thaw"))
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Answer, DrillError> {
        self.exchange(self.http.post(self.url(path)).json(body), path).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, DrillError> {
        self.exchange(self.http.get(self.url(path)), path).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
        path: &str,
    ) -> Result<T, DrillError> {
        let unreachable = || DrillError::unreachable(format!("call {path} of the gate"));
        let response = request.bearer_auth(&self.token).send().await.map_err(unreachable())?;
        let status = response.status();
        let body = response.text().await.map_err(unreachable())?;
        let refused =
            |body| DrillError::Refused { what: format!("call {path} of the gate"), status, body };
        if !status.is_success() {
            return Err(refused(body));
        }
        serde_json::from_str(&body).map_err(|error| refused(format!("{error} in {body}")))
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gate)
    }
}
