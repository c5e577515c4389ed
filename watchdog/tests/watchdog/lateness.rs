//! How late this machine wakes a sleeper: what a figure in real time owes to its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const NAP: Duration = Duration::from_millis(5);

/// Measures from its start to its end.
pub struct Lateness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<f64>>,
}

impl Lateness {
    pub fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut naps = Vec::new();
            while !stopped.load(Relaxed) {
                let start = Instant::now();
                std::thread::sleep(NAP);
                naps.push(start.elapsed().saturating_sub(NAP).as_secs_f64() * 1e3);
            }
            naps
        });
        Self { stop, thread }
    }

    /// By how much naps were late, in milliseconds: of a hundred the second worst, and the worst.
    pub fn end(self) -> [f64; 2] {
        self.stop.store(true, Relaxed);
        let mut naps = self.thread.join().expect("it only sleeps");
        naps.sort_by(f64::total_cmp);
        [naps.len() * 99 / 100, naps.len() - 1].map(|place| naps[place])
    }
}
