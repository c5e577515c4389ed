//! `healthcheck`: whether the roles that run here are ready; for containers and scripts.
//!
//! Invariant: it is 0 only if at least one role runs and every one that is asked is ready.

use std::net::SocketAddr;

use super::{Session, VerbError};
use crate::cli::HealthcheckArgs;
use crate::exit::Ending;
use crate::place::{CollectorRun, Listen, Place, RoleRun};

pub async fn run(session: &Session, args: HealthcheckArgs) -> Result<Ending, VerbError> {
    let wanted = |role: &str| args.role.as_deref().is_none_or(|only| only == role);
    let running = running(&session.place);
    let asked: Vec<_> = running.into_iter().filter(|(role, _)| wanted(role)).collect();
    if asked.is_empty() {
        eprintln!("holdpoint: no role runs in {}", session.place.root().display());
        return Ok(Ending::Undecided);
    }
    let http = reqwest::Client::builder().timeout(args.timeout).no_proxy().build();
    let http = http.map_err(|error| VerbError::Usage(error.to_string()))?;
    let mut ending = Ending::Done;
    for (role, at) in asked {
        let answer = http.get(format!("http://{at}/readyz")).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => eprintln!("{role} is ready"),
            Ok(answer) => {
                ending = Ending::Denied;
                eprintln!("{role} is not ready ({})", answer.status());
            }
            Err(_) => {
                ending = Ending::Denied;
                eprintln!("{role} does not answer at {at}");
            }
        }
    }
    Ok(ending)
}

/// The roles whose processes exist, and their admin addresses.
pub(super) fn running(place: &Place) -> Vec<(&'static str, SocketAddr)> {
    let listen = |role| place.run::<Listen>(role).filter(RoleRun::exists).map(|run| run.listen);
    let collector = place.run::<CollectorRun>("collector").filter(RoleRun::exists);
    [
        ("collector", collector.map(|run| run.admin)),
        ("watchdog", listen("watchdog")),
        ("gate", listen("gate")),
    ]
    .into_iter()
    .filter_map(|(role, at)| at.map(|at| (role, at)))
    .collect()
}
