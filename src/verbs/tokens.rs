//! Bearer tokens: made, listed and revoked by the operator.
//!
//! Invariant: a secret is printed once, by the command that made it.

use serde_json::json;

use super::{Session, VerbError};
use crate::cli::TokenCommand;
use crate::client::segment;
use crate::exit::Ending;
use crate::render::{self, Table, Tone};

pub async fn run(session: &Session, command: TokenCommand) -> Result<Ending, VerbError> {
    let gate = session.as_operator()?;
    match command {
        TokenCommand::Create { role, name, expires_in } => {
            let mut body = json!({ "role": role.as_str(), "name": name });
            if let Some(time) = expires_in {
                body["expires_in_s"] = time.as_secs().max(1).into();
            }
            let made = gate.post("/v1/tokens", &body).await?;
            let secret = made["token"].as_str().ok_or(VerbError::Answer("token"))?.to_owned();
            session.show(&made, |_| secret);
            eprintln!("this token is shown once");
        }
        TokenCommand::Revoke { name } => {
            let revoked = gate.delete(&format!("/v1/tokens/{}", segment(&name))).await?;
            session.show(&revoked, |_| format!("token {} is revoked", render::clean(&name)));
        }
        TokenCommand::List => {
            let list = gate.get("/v1/tokens").await?;
            session.show(&list, |list| {
                let mut table = Table::new(&["NAME", "ROLE", "STATE", "CREATED", "EXPIRES"]);
                for token in list["items"].as_array().into_iter().flatten() {
                    let state = if token["revoked_at"].is_null() {
                        render::mark("good", Tone::Good)
                    } else {
                        render::mark("revoked", Tone::Odd)
                    };
                    table.row(vec![
                        render::or_dash(&token["name"]),
                        render::or_dash(&token["role"]),
                        state,
                        render::or_dash(&token["created_at"]),
                        render::or_dash(&token["expires_at"]),
                    ]);
                }
                table.text()
            });
        }
    }
    Ok(Ending::Done)
}
