//! How late this machine runs what is due: bounds in real time are extended by it.
//!
//! On a quiet machine a sleep of 5 ms is late by well under one, and the bounds stand as they are
//! written. On a machine where everything waits for a core, the roles wait too, and a bound that
//! ignored it would test the neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);

/// Measures from its start to its end.
#[derive(Debug)]
pub struct Lateness {
    worst_us: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Lateness {
    pub fn watch() -> Self {
        let (worst_us, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (worst, stopped) = (worst_us.clone(), stop.clone());
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let start = Instant::now();
                thread::sleep(NAP);
                let late = start.elapsed().saturating_sub(NAP);
                let late_us = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                worst.fetch_max(late_us, Ordering::Relaxed);
            }
        });
        Self { worst_us, stop, thread: Some(thread) }
    }

    /// What a chain of four processes may be late by: each as late as the worst that was seen.
    pub fn allowance(&self) -> Duration {
        4 * Duration::from_micros(self.worst_us.load(Ordering::Relaxed))
    }
}

impl Drop for Lateness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}
