//! The four weathers that a detector must live through, ten beats a second: 1 % loss, 20 ms jitter,
//! loss in bursts, and an observer that stalls. The sender lives all the time, so every suspicion
//! is false, and none may be more than a live gap explains.
//!
//! `HOLDPOINT_SIM_MINUTES=600` runs each for ten hours.

use crate::healthy::{CALM, Sim, Weather, minutes};

/// Beats ten times a second under a load of 20 requests a second.
const TEN_A_SECOND: Weather = Weather { beat_ms: 100, delay_ms: 1.0, ..CALM };

struct Outcome {
    suspicions: u32,
    gaps: u32,
    convictions: u32,
}

fn live_through(weather: Weather) -> Outcome {
    let sim = Sim::new(weather).run(minutes());
    // Lost beats alone convict nobody: `heartbeat_lost` and `unknown` hold.
    let convictions = sim.found.iter().filter(|(kind, _)| **kind != "heartbeat_lost");
    let outcome = Outcome {
        suspicions: sim.suspicions(),
        gaps: sim.gaps,
        convictions: convictions.map(|(_, times)| times).sum(),
    };
    println!(
        "{} min: {} suspicions, {} live gaps, {} convictions {:?}",
        minutes(),
        outcome.suspicions,
        outcome.gaps,
        outcome.convictions,
        sim.found
    );
    assert_eq!(outcome.convictions, 0, "{:?}", sim.found);
    assert!(outcome.suspicions <= outcome.gaps, "no more than the live gaps explain");
    outcome
}

#[test]
fn one_percent_loss_convicts_nobody() {
    live_through(Weather { beat_loss: 0.01, ..TEN_A_SECOND });
}

#[test]
fn twenty_milliseconds_of_jitter_convict_nobody() {
    live_through(Weather { beat_loss: 0.01, delay_ms: 20.0, ..TEN_A_SECOND });
}

#[test]
fn loss_in_bursts_convicts_nobody_and_suspects_only_what_is_silent() {
    let outcome = live_through(Weather { bursts: true, beat_loss: 0.001, ..TEN_A_SECOND });
    assert!(outcome.suspicions > 0, "a way like this is silent now and then");
}

#[test]
fn stalls_of_the_observer_raise_no_suspicion_at_all() {
    let outcome = live_through(Weather { observer_stalls: 6.0, ..TEN_A_SECOND });
    assert_eq!(outcome.suspicions, 0);
}
