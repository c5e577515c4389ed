//! Compares failure detectors on simulated ways: the table in `docs/watchdog.md`.
//!
//! ```sh
//! cargo run --release -p watchdog-core --example detectors
//! ```
//!
//! Every detector gets the same ten hours of beats, ten a second, and is tuned so that its mean
//! detection time is the same. What is left to compare is how often it is wrong about a sender
//! that lives, and for how long. The two-window column is the detector of the watch itself.
//!
//! Invariant: seeds are fixed, so that one table comes out on every machine.

mod contest;
mod entrants;
mod ways;

use contest::{Score, contest};
use entrants::Entrant;
use ways::Way;

/// Mean detection times that are compared, in milliseconds.
const DETECTION_MS: [u32; 3] = [250, 550, 1_050];

fn main() {
    println!("Mistakes an hour (mean duration in ms), ten beats a second, ten hours each:\n");
    print!("| way | T_D ms |");
    Entrant::ALL.iter().for_each(|entrant| print!(" {} |", entrant.name()));
    println!(" live gaps > T_D |");
    println!("|---|---|{}---|", "---|".repeat(Entrant::ALL.len()));
    for way in Way::ALL {
        let arrivals = way.arrivals();
        for detection_ms in DETECTION_MS {
            print!("| {} | {detection_ms} |", way.name());
            for entrant in Entrant::ALL {
                print!(" {} |", cell(&contest(entrant, &arrivals, f64::from(detection_ms))));
            }
            println!(" {} |", arrivals.gaps_longer_than(f64::from(detection_ms)));
        }
    }
    limits();
}

fn cell(score: &Score) -> String {
    if score.mistakes == 0 {
        return "0".to_owned();
    }
    let hours = score.hours;
    format!("{:.1} ({:.0})", f64::from(score.mistakes) / hours, score.mean_ms())
}

/// The least detection time, in beats, for mistakes a month apart at independent loss `p`: the
/// smallest k with η / ((1 − p) pᵏ) ≥ 30 days, and one beat more.
fn limits() {
    println!("\nThe limit: least detection time in seconds for 30 days between mistakes:\n");
    println!("| loss | beats every 0.1 s | 0.25 s | 1 s |\n|---|---|---|---|");
    for loss in [0.001, 0.01, 0.05, 0.1, 0.2] {
        let row = [0.1, 0.25, 1.0].map(|interval_s: f64| {
            let apart = |beats: i32| interval_s / ((1.0 - loss) * f64::powi(loss, beats));
            let beats = (1..100).find(|beats| apart(*beats) >= 30.0 * 86_400.0);
            let beats = beats.expect("a hundred beats are enough for every loss here");
            format!("{:.2}", f64::from(beats + 1) * interval_s)
        });
        println!("| {} % | {} |", loss * 100.0, row.join(" | "));
    }
}
