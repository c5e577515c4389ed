//! Who decides: this gate or, where several share a database, another one.
//!
//! ```text
//! stand by ─► our turn ─► load ─► drive ─┬─► told to stop: give the turn back
//!    ▲                                   ├─► the term is lost: latch shut, stand by
//!    └───────────────────────────────────┘   any other error of the store: end the process
//! ```
//!
//! A gate that stands by answers from the database and decides nothing. A turn begins as a restart
//! does: the epoch is raised, so every permit of the turn before is dead.
//!
//! Invariant: commands reach a driver only while it owns the store; before it is told that the turn
//! is over, the driver has shut the latch.

use std::sync::{Arc, RwLock};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use watchdog_core::tick::Tick;

use crate::driver::act::Actions;
use crate::driver::command::Command;
use crate::driver::{self, Driver, Shared};
use crate::start::{BootstrapToken, RunError, missing};
use crate::store::postgres::{Turns, Whose};
use crate::store::{Store, StoreError};
use crate::tokens::TokenBook;

/// Who decides now.
#[derive(Debug, Clone)]
pub enum Lead {
    /// This gate; its driver takes commands.
    Own(mpsc::Sender<Command>),
    /// The one at `url`; empty while nobody does.
    Others { url: Arc<str> },
}

/// Where the API learns who decides.
#[derive(Debug, Clone)]
pub struct Desk(Arc<RwLock<Lead>>);

impl Desk {
    #[must_use]
    pub fn new(lead: Lead) -> Self {
        Self(Arc::new(RwLock::new(lead)))
    }

    /// Nobody decides.
    #[must_use]
    pub fn empty() -> Self {
        Self::new(Lead::Others { url: "".into() })
    }

    #[must_use]
    pub fn lead(&self) -> Lead {
        self.0.read().expect("no holder of the lock panics").clone()
    }

    fn put(&self, lead: Lead) {
        *self.0.write().expect("no holder of the lock panics") = lead;
    }

    fn stand_by(&self, url: &str) {
        self.put(Lead::Others { url: url.into() });
    }
}

/// Where the writing side of the store comes from.
pub enum Source {
    /// It is ours for as long as the process lives.
    Owned(Option<Box<dyn Store>>),
    Turns(Box<Turns>),
}

/// Waits for its turn and drives.
pub struct Office {
    pub source: Source,
    pub shared: Shared,
    pub desk: Desk,
    pub actions: Actions,
    pub tokens: Vec<BootstrapToken>,
}

impl Office {
    /// Runs until `stop`; says on `opened` when the API may be served.
    ///
    /// # Errors
    /// [`RunError`] if the store cannot be read or a commit fails.
    pub async fn run(
        mut self,
        opened: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> Result<(), RunError> {
        let mut opened = Some(opened);
        while let Some(store) = self.turn(&mut opened, &stop).await.map_err(RunError::Start)? {
            let (commands, queue) = mpsc::channel(driver::QUEUE_MAX);
            let tokens = self.tokens.clone();
            let first = move |book: &TokenBook, now: Tick| missing(book, &tokens, now);
            let (shared, actions) = (self.shared.clone(), Arc::clone(&self.actions));
            let ended = match Driver::start(store, shared, queue, actions, first).await {
                Ok(driver) => {
                    self.desk.put(Lead::Own(commands));
                    open(&mut opened);
                    self.shared.metrics.leading.set(1);
                    driver.run(stop.clone()).await.map_err(RunError::Store)
                }
                Err(error) => Err(RunError::Start(error)),
            };
            self.shared.metrics.leading.set(0);
            match ended {
                Ok(()) => return Ok(()),
                Err(RunError::Start(error) | RunError::Store(error)) if error.is_lost_term() => {
                    tracing::warn!(%error, "this gate stands by; no permit leaves it");
                    self.desk.stand_by("");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The store, once it is our turn; `None` if we were told to stop before.
    async fn turn(
        &mut self,
        opened: &mut Option<oneshot::Sender<()>>,
        stop: &CancellationToken,
    ) -> Result<Option<Box<dyn Store>>, StoreError> {
        let turns = match &mut self.source {
            Source::Owned(store) => return Ok(store.take()),
            Source::Turns(turns) => turns,
        };
        let mut said = None;
        loop {
            match turns.look().await {
                Ok(Whose::Ours(store)) => {
                    tracing::info!(term = store.term(), "it is this gate's turn to decide");
                    return Ok(Some(store));
                }
                Ok(Whose::Others { url, tokens }) => {
                    self.shared.tokens.put(tokens);
                    self.desk.stand_by(&url);
                    if said.as_ref() != Some(&url) {
                        tracing::info!(decides = %url, "this gate stands by");
                        said = Some(url);
                    }
                    open(opened);
                }
                Err(error) if error.is_passing() => {
                    tracing::warn!(%error, "nobody is known to decide");
                    self.desk.stand_by("");
                    said = None;
                }
                Err(error) => return Err(error),
            }
            tokio::select! {
                () = stop.cancelled() => {
                    turns.close().await;
                    return Ok(None);
                }
                () = tokio::time::sleep(turns.pace()) => {}
            }
        }
    }
}

fn open(opened: &mut Option<oneshot::Sender<()>>) {
    if let Some(opened) = opened.take() {
        // Whoever waited has gone only when the gate is dropped.
        let _gone = opened.send(());
    }
}
