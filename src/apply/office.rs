//! What the fence says to the gate, and what it believes of the answers.
//!
//! Invariant: a permit or a freeze that comes over the wire counts only with the gate's signature;
//! who answers, and over what connection, proves nothing.

use agent_gate::permit::{self, Payload, PermitError, Statement};
use agent_gate::revert::webhook::signature;
use reqwest::StatusCode;
use serde_json::{Value, json};
use watchdog_core::attestation::SIGNATURE_HEADER;

use super::runs::{End, Run};
use crate::client::{Client, ClientError, segment};

/// Why the gate's answer is of no use.
#[derive(Debug, thiserror::Error)]
pub enum OfficeError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("what the gate answered is not signed with its key: {0}")]
    Signature(#[from] PermitError),
    #[error("the gate's answer has no {0}; are both of one version?")]
    Answer(&'static str),
    #[error("the gate renewed another permit than the one that was shown")]
    OtherPermit,
}

/// What the gate said to a renewal.
#[derive(Debug)]
pub enum Renewed {
    Granted {
        expires_in_ms: u64,
    },
    /// Not now; what is there runs on to its end.
    Held(String),
    /// Never with this permit.
    Denied(String),
}

/// All freezes, as of a version.
#[derive(Debug)]
pub struct Heard {
    pub statement: Statement,
    pub version: String,
}

/// The gate, as one target's fence talks to it.
#[derive(Debug)]
pub struct Office {
    pub client: Client,
    pub key: [u8; 32],
    pub target: String,
    pub service: String,
    pub secret: Option<String>,
}

impl Office {
    /// Asks for all freezes, says what is held, and waits for news if `version` is the newest.
    ///
    /// # Errors
    /// [`OfficeError`] if there is no answer, or none of this gate.
    pub async fn hear(
        &self,
        held: Option<u64>,
        version: Option<&str>,
        wait_ms: u64,
    ) -> Result<Heard, OfficeError> {
        let mut body = json!({ "service": self.service, "wait_ms": wait_ms });
        if let Some(version) = version {
            body["version"] = version.into();
        }
        // What is held is said only where it can be signed: else it counts for nothing.
        if let Some(held) = held.filter(|_| self.secret.is_some()) {
            body["held"] = held.into();
        }
        let bytes = body.to_string().into_bytes();
        let signed = self.secret.as_ref().map(|secret| format!("v1={}", signature(secret, &bytes)));
        let header = signed.map(|signed| (SIGNATURE_HEADER, signed));
        let path = format!("/v1/fences/{}", segment(&self.target));
        let answer = self.client.post_bytes(&path, bytes, header).await?;
        let token = answer["statement"].as_str().ok_or(OfficeError::Answer("statement"))?;
        let version = answer["version"].as_str().ok_or(OfficeError::Answer("version"))?;
        let statement = permit::verify_statement(token, &self.key)?;
        Ok(Heard { statement, version: version.to_owned() })
    }

    /// Asks for more time under `held`.
    ///
    /// # Errors
    /// [`OfficeError`] if there is no answer, or none of this gate.
    pub async fn renew(&self, held: &Payload, step: &str) -> Result<Renewed, OfficeError> {
        let path = format!("/v1/rollouts/{}/renew", segment(&held.rollout));
        let body = json!({ "epoch": held.epoch, "step": format!("{}: {step}", self.target) });
        let answer = match self.client.post(&path, &body).await {
            Err(error @ ClientError::Refused { status, .. }) if is_final(status) => {
                return Ok(Renewed::Denied(error.to_string()));
            }
            answer => answer?,
        };
        match answer["decision"].as_str() {
            Some("hold") => Ok(Renewed::Held(reasons(&answer))),
            Some("deny") => Ok(Renewed::Denied(reasons(&answer))),
            Some("allow") => {
                let token = answer["permit"]["token"].as_str();
                let fresh = permit::verify(token.ok_or(OfficeError::Answer("permit"))?, &self.key)?;
                let is_same = fresh.rollout == held.rollout
                    && fresh.digest == held.digest
                    && fresh.service == held.service
                    && fresh.epoch == held.epoch;
                let expires = answer["permit"]["expires_in_ms"].as_u64();
                // The unsigned number may only shorten what was signed.
                let signed = fresh.expires_at_ms.saturating_sub(fresh.issued_at_ms);
                let expires_in_ms = expires.ok_or(OfficeError::Answer("expiry"))?.min(signed);
                is_same
                    .then_some(Renewed::Granted { expires_in_ms })
                    .ok_or(OfficeError::OtherPermit)
            }
            Some(_) | None => Err(OfficeError::Answer("decision")),
        }
    }

    /// Tells how a run ended. Telling twice is telling once: the gate takes the second one for
    /// the first.
    ///
    /// # Errors
    /// [`OfficeError`] if the gate has not heard it.
    pub async fn tell(&self, run: &Run) -> Result<(), OfficeError> {
        let rollout = segment(&run.rollout);
        let (verb, body) = match &run.end {
            None => return Ok(()),
            Some(End::Done) => ("applied", json!({ "epoch": run.epoch })),
            Some(End::Failed { code }) => {
                let reason = format!("{}: {} failed with code {code}", self.target, run.step);
                ("abort", json!({ "reason": reason }))
            }
            Some(End::Stopped { why }) => {
                let reason = format!("{}: {} was stopped: {why}", self.target, run.step);
                ("abort", json!({ "reason": reason }))
            }
        };
        match self.client.post(&format!("/v1/rollouts/{rollout}/{verb}"), &body).await {
            // It knows better where the rollout stands; saying it again changes nothing.
            Err(ClientError::Refused { status, .. }) if is_final(status) => Ok(()),
            answer => answer.map(drop).map_err(OfficeError::from),
        }
    }
}

/// Whether the same question has the same answer for ever.
fn is_final(status: StatusCode) -> bool {
    matches!(status, StatusCode::CONFLICT | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND)
}

fn reasons(answer: &Value) -> String {
    let reasons = answer["reasons"].as_array().map(Vec::as_slice).unwrap_or_default();
    let words: Vec<String> = reasons
        .iter()
        .map(|each| {
            let part = |name: &str| each[name].as_str().unwrap_or("?");
            format!("{}: {}", part("code"), part("message"))
        })
        .collect();
    if words.is_empty() { "the gate gave no reason".to_owned() } else { words.join("; ") }
}
