//! The words for rollouts.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::IdArgs;
use super::duration::duration;

#[derive(Debug, Subcommand)]
pub enum RolloutCommand {
    /// Ask whether a change may go out; 0 allow, 1 deny, 75 hold
    Request(RequestArgs),
    /// Keep a permit alive; the first renewal says that applying begins
    Renew {
        #[command(flatten)]
        step: StepArgs,
        /// What is done next, for people to read
        #[arg(long = "step", value_name = "TEXT")]
        doing: Option<String>,
    },
    /// Say that the change is applied
    Applied {
        #[command(flatten)]
        step: StepArgs,
        /// The revision that now runs, if it is not the one asked for
        #[arg(long)]
        revision: Option<String>,
    },
    /// Tell the gate what the agent itself reads; kept beside the gate's own evidence
    Report {
        #[command(flatten)]
        step: StepArgs,
        /// A JSON object
        #[arg(long, value_name = "JSON")]
        claim: String,
    },
    /// End the agent's part; the gate goes on judging
    Conclude {
        id: String,
        #[arg(long, value_enum)]
        outcome: Wanted,
    },
    /// Give up: before applying it ends the rollout, after it reverts
    Abort {
        id: String,
        #[arg(long)]
        reason: String,
    },
    /// Show one rollout
    Status(IdArgs),
    /// List the rollouts
    List {
        /// Only this service's
        #[arg(long)]
        service: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct StepArgs {
    /// The rollout
    pub id: String,
    /// The epoch of the permit; asked of the gate if not given
    #[arg(long)]
    pub epoch: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Wanted {
    Succeeded,
    Abandoned,
}

#[derive(Debug, Args)]
pub struct RequestArgs {
    /// The service to change
    #[arg(long)]
    pub service: String,
    /// The revision that runs now
    #[arg(long)]
    pub from: Option<String>,
    /// The revision to go to
    #[arg(long)]
    pub to: String,
    /// The digest of what is rolled out; the permit is bound to it
    #[arg(long)]
    pub digest: String,
    /// The agent's own id of the change; asking twice with it is asking once
    #[arg(long)]
    pub change_id: String,
    /// Who asks
    #[arg(long, env = "HOLDPOINT_AGENT", default_value = "cli")]
    pub agent: String,
    /// One line for people; made from the revisions if not given
    #[arg(long)]
    pub summary: Option<String>,
    /// What the change should do
    #[arg(long)]
    pub expected_effect: Option<String>,
    /// The change touches instrumentation or the telemetry path
    #[arg(long)]
    pub touches_telemetry: bool,
    /// The rollout this change builds on
    #[arg(long, value_name = "ROLLOUT")]
    pub based_on: Option<String>,
    /// Wait while it is held, at most this long; then 75 becomes 1
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct ApproveArgs {
    /// The rollout
    pub id: String,
    /// The digest that was looked at; the one the gate shows now if not given
    #[arg(long)]
    pub digest: Option<String>,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// How long the approval stands
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub expires_in: Option<Duration>,
}

#[derive(Debug, Args)]
pub struct RejectArgs {
    /// The rollout
    pub id: String,
    /// The digest that was looked at; the one the gate shows now if not given
    #[arg(long)]
    pub digest: Option<String>,
    /// Why
    #[arg(long)]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct SettleArgs {
    /// The rollout
    pub id: String,
    /// How it ends
    #[arg(long, value_enum)]
    pub to: SettleTo,
    /// Why
    #[arg(long)]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct TakeBackArgs {
    /// The rollout
    pub id: String,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// Wait until the signal is back on the old revision, at most this long
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub wait: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SettleTo {
    Confirmed,
    Reverting,
}
