//! The front door's answers as beats of a collector that sends none.
//!
//! Invariant: an answer counts for the start that is known to run, and for none if none is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;
use watchdog_core::beat::{BeatBody, Token};
use watchdog_core::names::{Instance, Service};
use watchdog_core::watch::{COLLECTOR_SERVICE, Event};

use crate::inbox::Inbox;
use crate::supervise::Custody;

/// Turns answers into beats.
#[derive(Debug, Clone)]
pub struct Pulse {
    inbox: Arc<Inbox>,
    custody: watch::Receiver<Custody>,
    answers: Arc<AtomicU64>,
}

impl Pulse {
    pub fn new(inbox: Arc<Inbox>, custody: watch::Receiver<Custody>) -> Self {
        Self { inbox, custody, answers: Arc::default() }
    }

    /// The front door has answered, whatever it said.
    pub fn answered(&self) {
        let Custody::Elsewhere { boot, .. } = self.custody.borrow().clone() else { return };
        let seq = self.answers.fetch_add(1, Relaxed) + 1;
        let body = BeatBody {
            instance: Instance::new("front-door").expect("a plain word is a name"),
            boot,
            seq,
            token: Token::Number(seq),
            requests: None,
            errors: None,
            revision: None,
            leaving: false,
        };
        let service = Service::new(COLLECTOR_SERVICE).expect("a constant that is a name");
        self.inbox.put(Event::BeatHeard { service, body, authenticated: true, told: 1 });
    }
}
