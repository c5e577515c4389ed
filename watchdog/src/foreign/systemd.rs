//! A foreign collector that is a unit of systemd, spoken to through `systemctl`.
//!
//! A unit with `Restart=` is started by systemd when it exits, so the watchdog restarts only what
//! hangs. `InvocationID` is new with every start.
//!
//! Invariant: the unit's name is one argument behind `--`, never a part of a shell line.

use rustix::process::Signal;

use super::adapter::{ANSWER, Generation, RESTART, name};
use super::command::run;

/// A unit.
#[derive(Debug)]
pub struct Systemd {
    systemctl: String,
    unit: String,
}

impl Systemd {
    pub fn new(unit: &str) -> Self {
        Self { systemctl: "systemctl".to_owned(), unit: unit.to_owned() }
    }

    async fn ctl(&self, words: &[&str], limit: std::time::Duration) -> Result<String, String> {
        let mut argv = vec![self.systemctl.clone()];
        argv.extend(words.iter().map(|&word| word.to_owned()));
        argv.extend(["--".to_owned(), self.unit.clone()]);
        run(&argv, &[], limit).await
    }

    pub async fn generation(&self) -> Result<Option<Generation>, String> {
        let words = ["show", "--property=ActiveState,InvocationID,MainPID"];
        Ok(parse(&self.ctl(&words, ANSWER).await?))
    }

    pub async fn signal(&self, signal: Signal) -> Result<(), String> {
        let signal = format!("--signal={}", name(signal));
        self.ctl(&["kill", &signal], ANSWER).await.map(drop)
    }

    pub async fn restart(&self) -> Result<(), String> {
        self.ctl(&["restart"], RESTART).await.map(drop)
    }
}

/// What `systemctl show` says; `None` if the unit does not run.
fn parse(shown: &str) -> Option<Generation> {
    let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key));
    if value("ActiveState=")? != "active" {
        return None;
    }
    let pid = value("MainPID=").and_then(|pid| pid.parse().ok()).filter(|pid| *pid > 0);
    Generation::new(value("InvocationID=")?, pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A `systemctl` that writes down how it was called, and says that the unit runs.
    #[tokio::test]
    async fn systemctl_is_called_as_its_manual_has_it_and_a_failure_is_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("systemctl");
        let said = folder.path().join("said");
        let script = format!(
            "#!/bin/sh\necho \"$@\" >> {}\n\
             [ \"$1\" = restart ] && {{ echo 'Unit x not found.' >&2; exit 5; }}\n\
             printf 'MainPID=41\\nActiveState=active\\nInvocationID=6a3b\\n'\n",
            said.display()
        );
        std::fs::write(&path, script).expect("a file");
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&path, executable).expect("our own file");
        let unit =
            Systemd { systemctl: path.display().to_string(), unit: "otelcol.service".into() };
        let generation = unit.generation().await.expect("it answers").expect("it runs");
        assert_eq!((generation.boot.as_str(), generation.pid), ("6a3b", Some(41)));
        unit.signal(Signal::ABORT).await.expect("it answers");
        let refused = unit.restart().await.expect_err("it fails");
        assert!(refused.ends_with("Unit x not found."), "{refused}");
        let said = std::fs::read_to_string(&said).expect("it was called");
        assert_eq!(
            said.lines().collect::<Vec<_>>(),
            [
                "show --property=ActiveState,InvocationID,MainPID -- otelcol.service",
                "kill --signal=SIGABRT -- otelcol.service",
                "restart -- otelcol.service",
            ]
        );
    }

    #[test]
    fn a_running_unit_is_known_by_its_invocation() {
        let shown = "MainPID=41\nActiveState=active\nInvocationID=6a3b0c5e\n";
        let generation = parse(shown).expect("it runs");
        assert_eq!((generation.boot.as_str(), generation.pid), ("6a3b0c5e", Some(41)));
    }

    #[test]
    fn a_unit_that_failed_is_about_to_start_or_is_not_there_does_not_run() {
        for state in ["failed", "activating", "inactive"] {
            let shown = format!("MainPID=0\nActiveState={state}\nInvocationID=6a3b0c5e\n");
            assert_eq!(parse(&shown), None);
        }
        assert_eq!(parse("MainPID=0\nActiveState=active\nInvocationID=\n"), None);
    }
}
