//! The verbs: one question to the gate or the watchdog, its answer, and an exit code.
//!
//! Invariant: an error is never 0. Only what a verb returns as [`Ending::Done`] is.

mod audit;
mod configuration;
mod doctor;
mod freezes;
mod healthcheck;
mod replay;
mod rollouts;
mod tap;
mod tokens;
mod views;
mod waivers;

use std::future::Future;

use agent_gate::store::StoreError;
use serde_json::Value;

use crate::cli::{
    AuditCommand, CollectorArgs, CollectorVerb, Command, Globals, Output, VerifyArgs,
};
use crate::client::{self, Client, ClientError};
use crate::config;
use crate::exit::Ending;
use crate::place::Place;
use crate::render;
use crate::roles::data_dir;

pub use configuration::run as configuration;

/// Why a verb has no answer.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("{0}")]
    Config(#[from] config::Mistakes),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gate's answer has no {0}; are both of one version?")]
    Answer(&'static str),
}

/// What a verb works with.
#[derive(Debug)]
struct Session {
    place: Place,
    output: Output,
}

impl Session {
    fn open(globals: &Globals, command: &Command) -> Result<Self, VerbError> {
        // A store that is named is read wherever it is, also without an installation around it.
        if let Command::Audit(AuditCommand::Verify(VerifyArgs { store: Some(store) })) = command {
            return Ok(Self { place: Place::at(store), output: globals.output });
        }
        // With the directory given, a configuration with mistakes must not stand in the way of a
        // freeze.
        let place = match &globals.data_dir {
            Some(dir) => Place::at(dir),
            None => Place::at(data_dir(globals, &config::load(globals.config.as_deref())?)),
        };
        Ok(Self { place, output: globals.output })
    }

    /// The gate, spoken to as an agent: it may ask, report and freeze.
    fn as_agent(&self) -> Result<Client, VerbError> {
        Ok(client::gate(&self.place, "agent")?)
    }

    /// The gate, spoken to as the person who runs it.
    fn as_operator(&self) -> Result<Client, VerbError> {
        Ok(client::gate(&self.place, "operator")?)
    }

    /// The gate, to look only.
    fn as_viewer(&self) -> Result<Client, VerbError> {
        Ok(client::gate(&self.place, "viewer")?)
    }

    fn watchdog(&self) -> Result<Client, VerbError> {
        Ok(client::watchdog(&self.place)?)
    }

    /// Writes an answer: as data if that was asked for, else in words.
    fn show(&self, value: &Value, words: impl FnOnce(&Value) -> String) {
        match self.output {
            Output::Table => render::say(&words(value)),
            Output::Json | Output::Yaml => render::print_data(self.output, value),
        }
    }
}

/// Runs a verb to its end.
pub fn run(globals: &Globals, command: Command) -> Ending {
    let ran = Session::open(globals, &command).and_then(|session| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| VerbError::Usage(error.to_string()))?;
        runtime.block_on(Box::pin(dispatch(&session, globals, command)) as Verb<'_>)
    });
    match ran {
        Ok(ending) => ending,
        Err(error) => complain(&error),
    }
}

type Verb<'a> = std::pin::Pin<Box<dyn Future<Output = Result<Ending, VerbError>> + 'a>>;

async fn dispatch(
    session: &Session,
    globals: &Globals,
    command: Command,
) -> Result<Ending, VerbError> {
    match command {
        Command::Rollout(command) => rollouts::run(session, command).await,
        Command::Approve(args) => rollouts::approve(session, args).await,
        Command::Reject(args) => rollouts::reject(session, args).await,
        Command::Settle(args) => rollouts::settle(session, args).await,
        Command::Revert(args) => rollouts::revert(session, args).await,
        Command::Freeze(args) => freezes::freeze(session, args).await,
        Command::Thaw(args) => freezes::thaw(session, args).await,
        Command::Freezes(args) => freezes::list(session, args).await,
        Command::Waive(command) => waivers::run(session, command).await,
        Command::Status => views::status(session).await,
        Command::Services => views::services(session).await,
        Command::Verdicts(args) => views::verdicts(session, args).await,
        Command::Explain(args) => views::explain(session, args).await,
        Command::Replay(args) => replay::run(session, args).await,
        Command::Audit(AuditCommand::List(args)) => views::audit(session, args).await,
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(session, globals, args).await,
        Command::Backup(args) => audit::backup(session, globals, args).await,
        Command::Token(command) => tokens::run(session, command).await,
        Command::Doctor => doctor::run(session, globals).await,
        Command::Healthcheck(args) => healthcheck::run(session, args).await,
        Command::Collector(CollectorArgs { verb: Some(CollectorVerb::Tap(args)), .. }) => {
            tap::run(session, args).await
        }
        Command::Up(_)
        | Command::Sidecar(_)
        | Command::Collector(_)
        | Command::Watchdog(_)
        | Command::Gate(_)
        | Command::Config(_)
        | Command::Apply(_)
        | Command::Fence(_)
        | Command::ApplyWard(_)
        | Command::Drill(_)
        | Command::DrillService(_)
        | Command::DrillRevert(_) => Err(VerbError::Usage("not a verb".to_owned())),
    }
}

/// Says why there is no answer. A refusal over a conflict is a decision against; all else is none.
fn complain(error: &VerbError) -> Ending {
    eprintln!("holdpoint: {}", render::clean_lines(&error.to_string()));
    let VerbError::Client(ClientError::Refused { status, hint, .. }) = error else {
        return Ending::Undecided;
    };
    if let Some(hint) = hint {
        eprintln!("  {}", render::clean(hint));
    }
    if *status == reqwest::StatusCode::CONFLICT { Ending::Denied } else { Ending::Undecided }
}
