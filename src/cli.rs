//! The command line: what can be said to `holdpoint`.
//!
//! Invariant: only words are defined here. What a command does stands in `roles`, `up`, `verbs`
//! and `drill`.

mod apply;
mod duration;
mod freezes;
mod rollouts;
mod waivers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use watchdog_core::names::Service;

use crate::drill::{DrillArgs, RevertArgs, ServiceArgs};
use crate::place::DATA_DIR_ENV;

pub use apply::{ApplyArgs, FenceArgs, WardArgs, WatchArgs};
pub use duration::duration;
pub use freezes::{FreezeArgs, FreezesArgs, ThawArgs};
pub use rollouts::{
    ApproveArgs, RejectArgs, RequestArgs, RolloutCommand, SettleArgs, SettleTo, StepArgs,
    TakeBackArgs, Wanted,
};
pub use waivers::WaiveCommand;

/// A gate for autonomous agents: no proof of sight, no rollout.
#[derive(Debug, Parser)]
#[command(name = "holdpoint", version, propagate_version = true, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 allow or done, 1 deny, 2 no decision possible, 75 hold.")]
pub struct Cli {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// Configuration file; `holdpoint.toml` here if there is one
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory; `data_dir` of the configuration if not given
    #[arg(long, global = true, value_name = "DIR", env = DATA_DIR_ENV)]
    pub data_dir: Option<PathBuf>,
    /// How data is written to standard output
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// How the roles log to standard error
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Human)]
    pub log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Table,
    Json,
    Yaml,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Human,
    Json,
}

impl LogFormat {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Human => "human",
            Self::Json => "json",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run collector, watchdog and gate, each as a process of its own
    Up(UpArgs),
    /// Run collector and watchdog beside a service; the gate is elsewhere
    Sidecar(SidecarArgs),
    /// Run the collector: take OTLP, count, carry on
    Collector(CollectorArgs),
    /// Run the watchdog: hear beats, probe, judge, attest
    Watchdog(WatchdogArgs),
    /// Run the gate: decide, freeze, revert
    Gate(GateArgs),
    /// Ask for a rollout and take it through its states
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Approve a held rollout (operator)
    Approve(ApproveArgs),
    /// Reject a rollout (operator)
    Reject(RejectArgs),
    /// Settle a rollout that is inconclusive or stuck (operator)
    Settle(SettleArgs),
    /// Take a rollout back that was begun, whatever is frozen (operator)
    Revert(TakeBackArgs),
    /// Run a deploy command under a permit: the fence at a target
    Apply(ApplyArgs),
    /// Keep the gate's freezes at a target, and confirm them
    Fence(WatchArgs),
    /// What stands between `apply` and its command
    #[command(hide = true)]
    ApplyWard(WardArgs),
    /// Stop the line for a scope
    Freeze(FreezeArgs),
    /// Lift a freeze (operator)
    Thaw(ThawArgs),
    /// List the freezes in force
    Freezes(FreezesArgs),
    /// Plan silence, end a plan, list them
    #[command(subcommand)]
    Waive(WaiveCommand),
    /// Show the roles, the freezes and the rollouts in flight
    Status,
    /// List the services as the gate sees them
    Services,
    /// List the watchdog's verdicts, or show one with its evidence
    Verdicts(VerdictsArgs),
    /// Say why a rollout or a decision is what it is
    Explain(IdArgs),
    /// Decide a recorded decision again from its record, and compare
    Replay(IdArgs),
    /// Read the audit journal
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Copy the gate's store to a new file, also while it runs; `keys/` and `tokens/` are files
    Backup(BackupArgs),
    /// Make, list and revoke bearer tokens (operator)
    #[command(subcommand)]
    Token(TokenCommand),
    /// Check or print the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check this installation and say what to mend
    Doctor,
    /// Exit 0 if the roles that run in the data directory are ready (for containers)
    Healthcheck(HealthcheckArgs),
    /// Run the recursive crash for real, without the gate and with it
    Drill(DrillArgs),
    /// One of the drill's services
    #[command(hide = true)]
    DrillService(ServiceArgs),
    /// The drill's revert action
    #[command(hide = true)]
    DrillRevert(RevertArgs),
}

/// What a role that `up` starts is told.
#[derive(Debug, Clone, Args)]
pub struct LifelineArgs {
    /// End when standard input ends
    #[arg(long)]
    pub lifeline: bool,
}

#[derive(Debug, Args)]
pub struct UpArgs {
    #[command(flatten)]
    pub lifeline: LifelineArgs,
}

#[derive(Debug, Args)]
pub struct SidecarArgs {
    #[command(flatten)]
    pub lifeline: LifelineArgs,
    #[command(flatten)]
    pub name: NameArgs,
}

#[derive(Debug, Clone, Args)]
pub struct NameArgs {
    /// The name by which the gate knows this watchdog's key
    #[arg(long, value_name = "NAME", env = "HOLDPOINT_WATCHDOG_NAME", default_value = "local")]
    pub name: String,
}

#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct CollectorArgs {
    #[command(subcommand)]
    pub verb: Option<CollectorVerb>,
    #[command(flatten)]
    pub lifeline: LifelineArgs,
    /// Where OTLP over gRPC is taken
    #[arg(long, value_name = "ADDR")]
    pub grpc_listen: Option<SocketAddr>,
    /// Where OTLP over HTTP is taken
    #[arg(long, value_name = "ADDR")]
    pub http_listen: Option<SocketAddr>,
    /// Where the tally and the metrics are read
    #[arg(long, value_name = "ADDR")]
    pub admin_listen: Option<SocketAddr>,
}

#[derive(Debug, Clone, Subcommand)]
pub enum CollectorVerb {
    /// Show what passes through the running collector, a record a line
    Tap(TapArgs),
}

#[derive(Debug, Clone, Args)]
pub struct TapArgs {
    /// Only this service, as `name` or `namespace/name`
    #[arg(long)]
    pub service: Option<String>,
    /// Only this signal
    #[arg(long, value_parser = ["traces", "metrics", "logs"])]
    pub signal: Option<String>,
    /// Records after which it ends
    #[arg(short = 'n', long, value_name = "N")]
    pub count: Option<u64>,
}

#[derive(Debug, Args)]
pub struct WatchdogArgs {
    #[command(flatten)]
    pub lifeline: LifelineArgs,
    #[command(flatten)]
    pub name: NameArgs,
    /// Where beats (HTTP and UDP) and readers are heard
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Start the collector and restart it when it hangs
    #[arg(long)]
    pub supervise: bool,
}

#[derive(Debug, Args)]
pub struct GateArgs {
    #[command(flatten)]
    pub lifeline: LifelineArgs,
    /// Where the API is served
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub struct VerdictsArgs {
    /// A service, as `name` or `namespace/name`
    pub service: Option<String>,
}

#[derive(Debug, Args)]
pub struct IdArgs {
    /// The id
    pub id: String,
}

#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List the entries, newest last
    List(AuditArgs),
    /// Recompute the hash chain from the store, without a gate; exit 1 if an entry is broken
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A store's file, or a backup of it; the store of the configuration if not given
    #[arg(long, value_name = "FILE")]
    pub store: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The file to write; it must not be there
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

#[derive(Debug, Args)]
pub struct AuditArgs {
    /// Only entries after this one
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// How many at most
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it once
    Create {
        /// What it may do
        #[arg(long, value_enum)]
        role: TokenRole,
        /// Who holds it
        #[arg(long)]
        name: String,
        /// How long it is good; for ever if not given
        #[arg(long, value_name = "TIME", value_parser = duration)]
        expires_in: Option<Duration>,
    },
    /// Revoke a token
    Revoke {
        /// The token's name
        name: String,
    },
    /// List the tokens, without their secrets
    List,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    Agent,
    Operator,
    Watchdog,
    Viewer,
}

impl TokenRole {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
            Self::Watchdog => "watchdog",
            Self::Viewer => "viewer",
        }
    }
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Report every mistake with its line; exit 0 if there is none
    Check {
        /// Say which policy binds this service, and where each key of it stands
        #[arg(long)]
        service: Option<Service>,
    },
    /// Print the configuration in force, with the origin of every value
    Print,
}

#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Only this role
    #[arg(long, value_parser = ["collector", "watchdog", "gate"])]
    pub role: Option<String>,
    /// How long to wait for an answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "2s")]
    pub timeout: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        super::Cli::command().debug_assert();
    }
}
