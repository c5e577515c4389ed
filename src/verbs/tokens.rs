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
        TokenCommand::Create { role, name } => {
            let body = json!({ "role": role.as_str(), "name": name });
            let made = gate.post("/v1/tokens", &body).await?;
            let secret = made.get("secret").or_else(|| made.get("token"));
            let secret = secret.and_then(|secret| secret.as_str()).map(str::to_owned);
            let secret = secret.ok_or(VerbError::Answer("secret"))?;
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
                let mut table = Table::new(&["NAME", "ROLE", "STATE"]);
                for token in list["items"].as_array().into_iter().flatten() {
                    let state = if token["revoked"].as_bool() == Some(true) {
                        render::mark("revoked", Tone::Odd)
                    } else {
                        render::mark("good", Tone::Good)
                    };
                    table.row(vec![
                        render::or_dash(&token["name"]),
                        render::or_dash(&token["role"]),
                        state,
                    ]);
                }
                table.text()
            });
        }
    }
    Ok(Ending::Done)
}
