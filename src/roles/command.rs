//! The command lines of children.
//!
//! Invariant: a child runs this same executable with our data directory and configuration, and its
//! command line begins `holdpoint ROLE`, so that a process list reads like the documentation.

use std::path::{Path, PathBuf};

use super::{RoleError, Start};

/// This executable.
///
/// # Errors
/// If `/proc` cannot say which file runs.
pub fn own_executable() -> Result<PathBuf, RoleError> {
    std::env::current_exe().map_err(RoleError::Runtime)
}

/// The command line of a child: `holdpoint ROLE …`, with our data directory and configuration.
#[must_use]
pub fn child_argv(role: &str, start: &Start, more: &[&str]) -> Vec<String> {
    child_argv_with(role, start, start.config_file.as_deref(), more)
}

/// The same with another configuration.
#[must_use]
pub fn child_argv_with(
    role: &str,
    start: &Start,
    config: Option<&Path>,
    more: &[&str],
) -> Vec<String> {
    let mut argv = vec!["holdpoint".to_owned(), role.to_owned()];
    argv.extend(["--data-dir".to_owned(), start.place.root().display().to_string()]);
    if let Some(file) = config {
        argv.extend(["--config".to_owned(), file.display().to_string()]);
    }
    argv.extend(["--log-format".to_owned(), start.globals.log_format.as_str().to_owned()]);
    argv.extend(more.iter().map(|&word| word.to_owned()));
    argv
}
