//! What the kernel knows of a hung process, taken down before it is killed.
//!
//! Reading `/proc` of a stuck process can itself get stuck, so a thread that may be left behind
//! does it, and the ladder waits for it only so long.
//!
//! Invariant: `capture` returns within its limit and holds at most `TEXT_BYTES_MAX`.

use std::fmt::Write as _;
use std::io::Read as _;
use std::time::Duration;

use tokio::sync::oneshot;

/// How long the ladder waits for the capture.
const LIMIT: Duration = Duration::from_millis(250);
/// The longest text, in bytes.
const TEXT_BYTES_MAX: usize = 32 * 1024;
/// The most threads that are described one by one.
const TASKS_MAX: usize = 64;
/// What is read of the process as a whole.
const FILES: [&str; 4] = ["status", "wchan", "stack", "syscall"];

/// The state of a process at one moment.
#[derive(Debug, Clone)]
pub struct Capture {
    /// Field `State` of `status`, as `T (stopped)`; `None` if it could not be read.
    pub state: Option<String>,
    /// Everything that was read, for a person.
    pub text: String,
}

impl Capture {
    /// Whether the process is stopped or traced: it acts on no signal but SIGKILL.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.state.as_deref().is_some_and(|s| s.starts_with('T') || s.starts_with('t'))
    }
}

/// Takes down the state of process `pid`; `None` if `/proc` did not answer in time.
pub async fn capture(pid: u32) -> Option<Capture> {
    let (sender, receiver) = oneshot::channel();
    let reader = std::thread::Builder::new().name("capture".into());
    let started = reader.spawn(move || {
        // The ladder may have gone on without us; then nobody wants the answer.
        let _late = sender.send(read_all(pid));
    });
    started.ok()?;
    tokio::time::timeout(LIMIT, receiver).await.ok()?.ok()
}

fn read_all(pid: u32) -> Capture {
    let mut text = String::new();
    let mut state = None;
    for file in FILES {
        let content = read(&format!("/proc/{pid}/{file}"));
        if file == "status" {
            state = content.lines().find_map(|l| l.strip_prefix("State:")).map(|s| s.trim().into());
        }
        let told = if file == "status" { telling(&content) } else { content };
        push(&mut text, file, &told);
    }
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for task in tasks.take(TASKS_MAX) {
        let path = task.path();
        let name = read(&format!("{}/comm", path.display()));
        let wchan = read(&format!("{}/wchan", path.display()));
        let syscall = read(&format!("{}/syscall", path.display()));
        let line = format!("{} in {} at {}", name.trim(), wchan.trim(), syscall.trim());
        push(&mut text, &format!("task {}", task.file_name().to_string_lossy()), &line);
    }
    Capture { state, text }
}

/// The lines of `status` that help to understand a hang; the rest is long.
fn telling(status: &str) -> String {
    let wanted = ["State", "Threads", "VmRSS", "SigPnd", "ShdPnd", "SigBlk", "Tracer"];
    let lines = status.lines().filter(|line| wanted.iter().any(|name| line.starts_with(name)));
    lines.collect::<Vec<_>>().join("\n")
}

fn push(text: &mut String, title: &str, content: &str) {
    let room = TEXT_BYTES_MAX.saturating_sub(text.len() + title.len() + 16);
    let content = &content[..content.floor_char_boundary(content.len().min(room))];
    if room > 0 {
        let _infallible = writeln!(text, "== {title}\n{}", content.trim_end());
    }
}

/// The content of a small file, or why there is none: a refusal is worth a line too.
fn read(path: &str) -> String {
    let mut content = String::new();
    let file = std::fs::File::open(path);
    match file.and_then(|f| f.take(8 * 1024).read_to_string(&mut content)) {
        Ok(_) => content,
        Err(e) => format!("({e})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn our_own_state_is_captured_and_is_not_stopped() {
        let capture = capture(std::process::id()).await.expect("proc answers in time");
        assert!(!capture.stopped(), "{:?}", capture.state);
        assert!(capture.text.contains("== status"), "{}", capture.text);
        assert!(capture.text.len() <= TEXT_BYTES_MAX);
    }

    #[test]
    fn text_is_cut_at_the_limit() {
        let mut text = String::new();
        for _ in 0..10 {
            push(&mut text, "status", &"ä".repeat(4 * 1024));
        }
        assert!(text.len() <= TEXT_BYTES_MAX, "{}", text.len());
    }
}
