//! The words for freezes.

use clap::Args;

#[derive(Debug, Args)]
pub struct FreezeArgs {
    /// fleet, environment=E, service=S or agent=A
    #[arg(long)]
    pub scope: String,
    /// Why, for the people who find the line stopped
    #[arg(long)]
    pub reason: String,
}

#[derive(Debug, Args)]
pub struct ThawArgs {
    /// The freeze
    pub id: String,
    /// Why it is safe to go on
    #[arg(long)]
    pub reason: String,
    /// Thaw although the cause still holds
    #[arg(long = "override")]
    pub override_cause: bool,
}

#[derive(Debug, Args)]
pub struct FreezesArgs {
    /// Also those that were thawed
    #[arg(long)]
    pub all: bool,
}
