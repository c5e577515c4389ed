//! A revert by command: argv without a shell, in a process group of its own.
//!
//! What the agent sent reaches the command only as environment variables, so no text of an agent
//! is ever part of a command line. A command that overruns its time is killed with everything it
//! started.
//!
//! Invariant: when [`run`] ends or is dropped before the command did, the command's process group
//! is dead.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{OUTPUT_BYTES_MAX, Order, Outcome, shown};

/// How long the pipes of an ended command are read on: a process it left behind may hold them.
const PIPES_LINGER: Duration = Duration::from_millis(250);

/// Runs `argv` for `order`, at most for `timeout`.
pub async fn run(argv: &[String], order: &Order, timeout: Duration) -> Outcome {
    let Some((program, arguments)) = argv.split_first() else {
        return Outcome::failed("the revert command is empty");
    };
    let mut child = match command(program, arguments, order).spawn() {
        Ok(child) => child,
        Err(error) => return Outcome::failed(format!("start {program}: {error}")),
    };
    let mut group = Group::of(&child);
    let stdout = tokio::spawn(tail(child.stdout.take()));
    let stderr = tokio::spawn(tail(child.stderr.take()));
    let status = tokio::time::timeout(timeout, child.wait()).await;
    match &status {
        // What the command left behind is its own business once it has ended by itself.
        Ok(Ok(_)) => group.0 = None,
        Ok(Err(_)) | Err(_) => {
            drop(group);
            // Reaped here, so that no zombie is left.
            let _killed = child.wait().await;
        }
    }
    let (stdout, stderr) = (finish(stdout).await, finish(stderr).await);
    outcome(program, status.ok(), timeout, &stdout, &stderr)
}

fn command(program: &str, arguments: &[String], order: &Order) -> Command {
    let mut command = Command::new(program);
    // The gate's own HOLDPOINT_ variables (a token, a URL) are not for the command.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOLDPOINT_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .env("HOLDPOINT_ROLLOUT", &order.rollout)
        .env("HOLDPOINT_SERVICE", &order.service)
        .env("HOLDPOINT_FROM", &order.from)
        .env("HOLDPOINT_TO", &order.to)
        .env("HOLDPOINT_GENERATION", order.generation.to_string())
        .env("HOLDPOINT_EFFECT_ID", &order.effect)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    if order.dry_run {
        command.env("HOLDPOINT_DRY_RUN", "1");
    }
    command
}

/// A process group that dies with this value.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        // The command leads its group, so the group's id is its pid.
        Self(child.id().and_then(|id| Pid::from_raw(id.cast_signed())))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // It may have ended by itself in between; then there is nothing to kill.
            let _gone = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// The end of what `pipe` carries. It is read to its end, so that the command never blocks.
async fn tail(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut kept = Vec::new();
    let Some(mut pipe) = pipe else { return kept };
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        let excess = kept.len().saturating_sub(OUTPUT_BYTES_MAX);
        kept.drain(..excess);
    }
    kept
}

async fn finish(mut reader: tokio::task::JoinHandle<Vec<u8>>) -> Vec<u8> {
    match tokio::time::timeout(PIPES_LINGER, &mut reader).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(_)) | Err(_) => {
            reader.abort();
            Vec::new()
        }
    }
}

fn outcome(
    program: &str,
    status: Option<std::io::Result<ExitStatus>>,
    timeout: Duration,
    stdout: &[u8],
    stderr: &[u8],
) -> Outcome {
    let said = [shown(stderr), shown(stdout)].into_iter().find(|text| !text.is_empty());
    let with = |what: String| match &said {
        Some(said) => format!("{what}: {said}"),
        None => what,
    };
    match status {
        Some(Ok(status)) if status.success() => Outcome::done(with(format!("{program}: done"))),
        Some(Ok(status)) => Outcome::failed(with(format!("{program}: {status}"))),
        Some(Err(error)) => Outcome::failed(format!("wait for {program}: {error}")),
        None => Outcome::failed(with(format!(
            "{program}: killed with its process group after {} ms",
            timeout.as_millis()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            effect: "eff-1".into(),
            rollout: "rol-1".into(),
            service: "checkout".into(),
            from: "r2".into(),
            to: "r1".into(),
            generation: 3,
            dry_run: false,
        }
    }

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(String::from).to_vec()
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_command_gets_the_order_in_its_environment() {
        let script = "echo $HOLDPOINT_ROLLOUT $HOLDPOINT_SERVICE $HOLDPOINT_FROM $HOLDPOINT_TO \
                      $HOLDPOINT_GENERATION $HOLDPOINT_EFFECT_ID ${HOLDPOINT_DRY_RUN:-real}";
        let outcome = run(&sh(script), &order(), LONG).await;
        assert_eq!(outcome, Outcome::done("/bin/sh: done: rol-1 checkout r2 r1 3 eff-1 real"));
        let outcome = run(&sh(script), &Order { dry_run: true, ..order() }, LONG).await;
        assert!(outcome.detail.ends_with("eff-1 1"), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_command_that_fails_says_why() {
        let outcome = run(&sh("echo no such revision >&2; exit 3"), &order(), LONG).await;
        assert_eq!(outcome, Outcome::failed("/bin/sh: exit status: 3: no such revision"));
        let outcome = run(&["/no/such".to_owned()], &order(), LONG).await;
        assert!(!outcome.is_done && outcome.detail.starts_with("start /no/such: "), "{outcome:?}");
    }

    #[tokio::test]
    async fn a_command_that_overruns_is_killed_with_its_children() {
        let directory = tempfile::tempdir().expect("a directory");
        let pid_file = directory.path().join("pid");
        let script = format!("sleep 600 & echo $! > {}; wait", pid_file.display());
        let (script, order) = (sh(&script), order());
        let ran = run(&script, &order, Duration::from_millis(500));
        let outcome = tokio::time::timeout(LONG, ran).await.expect("it does not wait for the end");
        assert!(!outcome.is_done && outcome.detail.contains("killed"), "{outcome:?}");
        let pid = std::fs::read_to_string(&pid_file).expect("the child's pid");
        // Killed and not yet reaped by init is dead too.
        let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        let deadline = std::time::Duration::from_secs(10);
        tokio::time::timeout(deadline, async {
            while state().is_ok_and(|stat| !stat.contains(") Z ")) {
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the child of the command is dead");
    }

    #[tokio::test]
    async fn output_is_bounded_and_a_talkative_command_is_not_blocked() {
        let script = "i=0; while [ $i -lt 4000 ]; do echo 0123456789012345678901234567890; \
                      i=$((i+1)); done; echo end";
        let outcome = run(&sh(script), &order(), LONG).await;
        assert!(outcome.is_done && outcome.detail.len() < OUTPUT_BYTES_MAX + 100);
        assert!(outcome.detail.ends_with("end"));
    }
}
