//! The fault classes: how each is made, what must be said of it, and how soon it may not be `live`.
//!
//! Invariant: a class breaks one thing, at one place.

use rustix::process::Signal;

use super::scene::{Owner, Scene};
use super::wires::Mood;

/// A verdict and a stage.
pub type Place = (&'static str, &'static str);

/// One way to break.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub name: &'static str,
    pub owner: Owner,
    pub services: usize,
    pub inject: fn(&mut Scene),
    pub lift: fn(&mut Scene),
    /// What is right to say of it.
    pub expect: &'static [Place],
    /// From when on after the fault `live` is wrong, in milliseconds.
    pub bound_ms: u64,
    /// For how long it is watched; 0: it ends by itself, and is watched until all is `live`.
    pub window_ms: u64,
    /// Why it is not located yet. It is shown, and not asked for.
    pub gap: Option<&'static str>,
}

/// A silence of beats is suspected within 550 ms.
const BEATS_MS: u64 = 550;
/// A silent signal: two periods of 200 ms and the slack, from the arrival before the fault; and
/// the tally's long poll.
const SIGNAL_MS: u64 = 1_000;
/// A probe is late after a second, and the next one leaves within a quarter.
const PROBE_MS: u64 = 1_500;

const NOTHING: Fault = Fault {
    name: "",
    owner: Owner::Nobody,
    services: 1,
    inject: |_| {},
    lift: |_| {},
    expect: &[],
    bound_ms: SIGNAL_MS,
    window_ms: 6_000,
    gap: None,
};

/// All classes.
pub const FAULTS: &[Fault] = &[
    Fault {
        name: "service dead (SIGKILL)",
        inject: |scene| scene.services[0].send(Signal::KILL),
        lift: Scene::replace_service,
        expect: &[("down", "service")],
        bound_ms: BEATS_MS,
        ..NOTHING
    },
    Fault {
        name: "service hung (SIGSTOP)",
        inject: |scene| scene.services[0].send(Signal::STOP),
        lift: |scene| scene.services[0].send(Signal::CONT),
        expect: &[("down", "service")],
        bound_ms: BEATS_MS,
        ..NOTHING
    },
    Fault {
        name: "work loop hung, threads go on",
        inject: |scene| scene.services[0].tell("hang-loop"),
        lift: |scene| scene.services[0].tell("heal"),
        expect: &[("heartbeat_lost", "service"), ("down", "service")],
        bound_ms: SIGNAL_MS,
        ..NOTHING
    },
    Fault {
        name: "SDK exporter hung",
        inject: |scene| scene.services[0].tell("hang-exporter"),
        lift: Scene::replace_service,
        expect: &[("telemetry_lost", "sdk")],
        ..NOTHING
    },
    Fault {
        name: "half of the spans lost in the SDK",
        inject: |scene| scene.services[0].tell("half"),
        lift: |scene| scene.services[0].tell("heal"),
        expect: &[("lossy", "sdk")],
        bound_ms: 12_000,
        window_ms: 15_000,
        ..NOTHING
    },
    Fault {
        name: "frozen values",
        inject: |scene| scene.services[0].tell("freeze"),
        lift: |scene| scene.services[0].tell("heal"),
        expect: &[("frozen", "sdk")],
        bound_ms: 2_000,
        ..NOTHING
    },
    Fault {
        name: "lying zero in the service",
        inject: |scene| scene.services[0].tell("zero"),
        lift: |scene| scene.services[0].tell("heal"),
        expect: &[("frozen", "sdk")],
        bound_ms: 2_000,
        ..NOTHING
    },
    Fault {
        name: "beats lost by the network",
        inject: |scene| scene.beats.feel(Mood::Cuts),
        lift: |scene| scene.beats.feel(Mood::Passes),
        expect: &[("heartbeat_lost", "service")],
        bound_ms: BEATS_MS,
        ..NOTHING
    },
    Fault {
        name: "telemetry path cut",
        inject: |scene| scene.otlp.feel(Mood::Cuts),
        lift: |scene| scene.otlp.feel(Mood::Passes),
        expect: &[("telemetry_lost", "sdk")],
        ..NOTHING
    },
    Fault {
        name: "telemetry path a black hole",
        inject: |scene| scene.otlp.feel(Mood::Holds),
        lift: |scene| scene.otlp.feel(Mood::Passes),
        expect: &[("telemetry_lost", "sdk")],
        ..NOTHING
    },
    Fault {
        name: "service cut off, beats and telemetry",
        inject: |scene| {
            scene.beats.feel(Mood::Cuts);
            scene.otlp.feel(Mood::Cuts);
        },
        lift: |scene| {
            scene.beats.feel(Mood::Passes);
            scene.otlp.feel(Mood::Passes);
        },
        expect: &[("down", "service")],
        bound_ms: BEATS_MS,
        ..NOTHING
    },
    Fault {
        name: "five services cut off together",
        services: 5,
        inject: |scene| {
            scene.beats.feel(Mood::Cuts);
            scene.otlp.feel(Mood::Cuts);
        },
        lift: |scene| {
            scene.beats.feel(Mood::Passes);
            scene.otlp.feel(Mood::Passes);
        },
        expect: &[("down", "observer")],
        bound_ms: BEATS_MS,
        ..NOTHING
    },
    Fault {
        name: "collector dead (SIGKILL)",
        inject: |scene| scene.collector.as_ref().expect("it runs").send(Signal::KILL),
        lift: Scene::replace_collector,
        expect: &[("telemetry_lost", "collector")],
        ..NOTHING
    },
    Fault {
        name: "collector hung (SIGSTOP)",
        inject: |scene| scene.collector.as_ref().expect("it runs").send(Signal::STOP),
        lift: |scene| scene.collector.as_ref().expect("it runs").send(Signal::CONT),
        expect: &[("telemetry_lost", "collector")],
        ..NOTHING
    },
    Fault {
        name: "collector drops all spans by filter",
        inject: |scene| scene.reconfigure(&drop_rule("*")),
        lift: |scene| scene.reconfigure(""),
        expect: &[("lossy", "collector")],
        bound_ms: SIGNAL_MS,
        ..NOTHING
    },
    Fault {
        name: "collector drops one service by filter",
        inject: |scene| scene.reconfigure(&drop_rule("shop-0")),
        lift: |scene| scene.reconfigure(""),
        expect: &[("lossy", "collector")],
        bound_ms: SIGNAL_MS,
        ..NOTHING
    },
    Fault {
        name: "exporter stalled (its way a black hole)",
        inject: |scene| scene.export.feel(Mood::Holds),
        lift: |scene| scene.export.feel(Mood::Passes),
        expect: &[("unknown", "exporter")],
        bound_ms: PROBE_MS,
        ..NOTHING
    },
    Fault {
        name: "backend dead (SIGKILL)",
        inject: |scene| scene.backend.as_ref().expect("it runs").send(Signal::KILL),
        lift: Scene::replace_backend,
        expect: &[("unknown", "backend")],
        bound_ms: PROBE_MS,
        ..NOTHING
    },
    Fault {
        name: "backend hung (SIGSTOP)",
        inject: |scene| scene.backend.as_ref().expect("it runs").send(Signal::STOP),
        lift: |scene| scene.backend.as_ref().expect("it runs").send(Signal::CONT),
        expect: &[("unknown", "backend")],
        bound_ms: PROBE_MS,
        ..NOTHING
    },
    Fault {
        name: "probe answers forged on the way",
        inject: |scene| scene.tally.feel(Mood::Forges),
        lift: |scene| scene.tally.feel(Mood::Passes),
        expect: &[("forged", "collector")],
        ..NOTHING
    },
    Fault {
        name: "probe answers zeroed on the way",
        inject: |scene| scene.tally.feel(Mood::Zeroes),
        lift: |scene| scene.tally.feel(Mood::Passes),
        expect: &[("forged", "collector")],
        ..NOTHING
    },
    Fault {
        name: "tally out of reach",
        inject: |scene| scene.tally.feel(Mood::Holds),
        lift: |scene| scene.tally.feel(Mood::Passes),
        expect: &[("telemetry_lost", "collector")],
        ..NOTHING
    },
    Fault {
        name: "observer late (watchdog SIGSTOPped 3 s)",
        inject: |scene| {
            scene.watchdog.send(Signal::STOP);
            std::thread::sleep(std::time::Duration::from_secs(3));
            scene.watchdog.send(Signal::CONT);
        },
        expect: &[("unknown", "observer")],
        bound_ms: 0,
        window_ms: 0,
        ..NOTHING
    },
];

fn drop_rule(service: &str) -> String {
    format!(
        "[[collector.drop]]\nsignal = \"traces\"\nresource = {{ \"service.name\" = \"{service}\" }}"
    )
}
