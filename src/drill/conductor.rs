//! Takes reverts for the fleet on a Unix socket and carries them out.
//!
//! The gate may run a revert action more than once. To put back a revision that runs already is
//! done at once, so a second order changes nothing.
//!
//! Invariant: `done` is answered after the old revision serves, never before.

use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::failure::DrillError;
use super::fleet::Fleet;
use super::revert::{Order, Outcome};
use super::timeline::{Mark, Timeline, Who};

/// The listening conductor; it ends when this is dropped.
#[derive(Debug)]
pub struct Conductor {
    listening: JoinHandle<()>,
}

impl Conductor {
    pub fn start(
        socket: &Path,
        fleet: Arc<Fleet>,
        timeline: Arc<Timeline>,
    ) -> Result<Self, DrillError> {
        let listener = UnixListener::bind(socket)
            .map_err(DrillError::system(format!("listen on {}", socket.display())))?;
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, Arc::clone(&fleet), Arc::clone(&timeline)));
            }
        });
        Ok(Self { listening })
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn answer(stream: UnixStream, fleet: Arc<Fleet>, timeline: Arc<Timeline>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    if stream.read_line(&mut line).await.is_err() {
        return;
    }
    let outcome = match serde_json::from_str(&line) {
        Ok(order) => carry_out(&order, &fleet, &timeline).await,
        Err(error) => Outcome::Refused(format!("not an order: {error}")),
    };
    let mut answer = serde_json::to_string(&outcome).expect("an outcome is plain data");
    answer.push('\n');
    // An action that hung up is run again by the gate.
    let _ = stream.write_all(answer.as_bytes()).await;
}

async fn carry_out(order: &Order, fleet: &Fleet, timeline: &Timeline) -> Outcome {
    if !fleet.has(&order.service) {
        return Outcome::Refused(format!("no service {} in this fleet", order.service));
    }
    if order.dry_run {
        return Outcome::Done;
    }
    match fleet.replace(&order.service, &order.to).await {
        Ok(true) => {
            let what = format!("{} runs revision {} again", order.service, order.to);
            timeline.note(Who::Fleet, Mark::Change, what);
            Outcome::Done
        }
        Ok(false) => Outcome::Done,
        Err(error) => Outcome::Refused(error.to_string()),
    }
}
