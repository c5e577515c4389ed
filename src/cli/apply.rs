//! The words for the fence at a target.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::duration::duration;

/// How `holdpoint apply` ends.
pub const APPLY_CODES: &str = "\
Exit codes:
  0   the command ran and ended well, now or in an earlier call with the same permit and step
  1   refused for good: the permit is of an old epoch, frozen, for something else, or forged
  2   no decision possible: usage, the gate does not answer, the clock or the fence's file is wrong
  3   the command ran and failed; the gate was told, and takes the rollout back
  4   the command was stopped: a freeze, a lost permit or a signal; the rollout is taken back
  75  not now: the gate holds, or another apply is at work here; ask again";

#[derive(Debug, Args)]
#[command(after_help = APPLY_CODES)]
pub struct ApplyArgs {
    /// The permit: its text, or @FILE
    #[arg(
        long,
        env = "HOLDPOINT_PERMIT",
        hide_env_values = true,
        required_unless_present = "revert"
    )]
    pub permit: Option<String>,
    #[command(flatten)]
    pub fence: FenceArgs,
    /// The digest that is about to be applied; another one than the permit's is refused
    #[arg(long, conflicts_with = "artifact")]
    pub digest: Option<String>,
    /// The file that is about to be applied; its SHA-256 must be the permit's digest
    #[arg(long, value_name = "FILE")]
    pub artifact: Option<PathBuf>,
    /// Which step of the rollout this is; each runs once under a permit
    #[arg(long, default_value = "apply")]
    pub step: String,
    /// More follows, here or at other targets: do not tell the gate that it is applied
    #[arg(long)]
    pub more: bool,
    /// Go on the permit alone when the gate does not answer, until the permit ends
    #[arg(long)]
    pub offline: bool,
    /// How long a command that must stop has between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5s")]
    pub grace: Duration,
    /// The way back: run under the order in HOLDPOINT_EFFECT_ID, once, whatever is frozen
    #[arg(long, conflicts_with_all = ["permit", "digest", "artifact", "offline"])]
    pub revert: bool,
    /// The command and its arguments; no shell is between
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<String>,
}

/// Which fence, and whom it believes.
#[derive(Debug, Clone, Args)]
pub struct FenceArgs {
    /// The service this target runs; a permit for another one is refused
    #[arg(long)]
    pub service: Option<String>,
    /// The target's name in the gate's configuration; the service's name if not given
    #[arg(long)]
    pub target: Option<String>,
    /// Where the fence keeps its epoch; `fence` in the data directory if not given
    #[arg(long, value_name = "DIR", env = "HOLDPOINT_FENCE_DIR")]
    pub fence_dir: Option<PathBuf>,
    /// The gate's public key for permits: 64 hex digits or a file; `keys/permit.pub` if not given
    #[arg(long, value_name = "KEY", env = "HOLDPOINT_PERMIT_KEY")]
    pub key: Option<String>,
    /// The target's secret, as the gate's configuration has it, in a file
    #[arg(long, value_name = "FILE", env = "HOLDPOINT_FENCE_SECRET_FILE")]
    pub secret_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    pub fence: FenceArgs,
}

#[derive(Debug, Args)]
pub struct WardArgs {
    /// The command
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}
