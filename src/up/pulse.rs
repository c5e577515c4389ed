//! Whether a role makes progress: it answers `/healthz` with 2xx in time.
//!
//! A process can exist and do nothing: stopped, deadlocked, spinning. Three checks in a row without
//! an answer, about two seconds, are taken for that. A check that came back late because *we* were
//! late says nothing and is not counted.
//!
//! Invariant: our own lateness never counts against a role.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::driver::Stopwatch;

/// How long one check waits for an answer.
pub const CHECK_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a role is checked.
pub const CHECK_EVERY: Duration = Duration::from_millis(250);
/// So many checks without an answer mean that the role hangs.
pub const MISSES_MAX: u32 = 3;
/// A check that took longer than this was held up by our own lateness.
const LATE: Duration = Duration::from_millis(1_000);

/// What one check saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    Answered,
    Silent,
    /// We were late ourselves.
    Unclear,
}

/// Asks `at` for `/healthz`. Any other answer than a 2xx is the role's own word that it does not
/// turn.
pub async fn check(at: SocketAddr) -> Check {
    let watch = Stopwatch::start();
    let answered = timeout(CHECK_TIMEOUT, healthz(at)).await;
    if matches!(answered, Ok(Ok(true))) {
        return Check::Answered;
    }
    if watch.elapsed() > LATE { Check::Unclear } else { Check::Silent }
}

async fn healthz(at: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(at).await?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = *b"HTTP/1.1 ???";
    stream.read_exact(&mut head).await?;
    Ok(head.starts_with(b"HTTP/1.1 2"))
}

/// Counts checks without an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Misses(u32);

impl Misses {
    /// Takes one check; true if the role hangs.
    pub fn take(&mut self, check: Check) -> bool {
        match check {
            Check::Answered => self.0 = 0,
            Check::Silent => self.0 += 1,
            Check::Unclear => {}
        }
        self.0 >= MISSES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_silent_checks_in_a_row_are_a_hang_and_an_answer_forgives() {
        let mut misses = Misses::default();
        let silent = |misses: &mut Misses| misses.take(Check::Silent);
        assert!(!silent(&mut misses) && !silent(&mut misses));
        assert!(!misses.take(Check::Unclear), "our own lateness does not count");
        assert!(!misses.take(Check::Answered));
        assert!(!silent(&mut misses) && !silent(&mut misses));
        assert!(silent(&mut misses));
    }

    #[tokio::test]
    async fn a_role_that_accepts_and_says_nothing_is_silent() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        assert_eq!(check(at).await, Check::Silent);
        drop(listener);
        assert_eq!(check(at).await, Check::Silent, "refused is silent too");
    }
}
