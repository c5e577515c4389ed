//! A disk that fails under the gate: what was answered before is kept, and nothing is answered
//! after.
//!
//! The data directory is on a filesystem that is shut down in the middle of the work, as a power
//! cut would; what was not synced never reaches its image. Every second time the gate is stopped
//! first, so that all of it goes at once; else it has to notice by its own failed commit.

use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::agents::Agents;
use super::filesystem::Filesystem;
use super::kills::{SERVICES, config, leads};
use super::process::{Gate, PATIENCE};
use super::{Chance, from_env, skip, turn, wait};

#[test]
fn a_failing_disk_ends_the_gate_and_what_was_answered_before_is_kept() {
    let _turn = turn();
    let cuts = from_env("HOLDPOINT_GATE_CUTS", 4);
    let mut chance = Chance::seeded();
    let home = tempfile::tempdir().expect("a directory");
    let mounted = Filesystem::mount(home.path().join("image"), home.path().join("data"));
    let Some(disk) = mounted else {
        return skip("permission to mount an image", "see the gate end when a sync fails");
    };
    let services: Vec<String> = (0..SERVICES).map(|n| format!("s{n}")).collect();
    let mut gate = Gate::new(home.path(), &config(home.path(), "sqlite", &services));
    std::fs::create_dir(home.path().join("effects")).expect("it can be made");
    gate.start();
    // The keys are there to stay: what is shown here is what the gate itself syncs.
    assert!(Command::new("sync").status().expect("it runs").success());
    let agents = Agents::start(&services, &gate.door(), &mut chance);
    for cut in 0..cuts {
        let before = agents.told();
        wait("somebody is told something", PATIENCE, || (agents.told() > before).then_some(()));
        std::thread::sleep(Duration::from_millis(chance.below(500)));
        if cut % 2 == 0 {
            gate.signal(Signal::STOP);
            disk.cut();
            gate.kill();
        } else {
            // The kernel may call a sync good that the cut overtook, so what was answered
            // meanwhile shows nothing.
            agents.doubt(true);
            disk.cut();
            let status = wait("the gate ends by itself", PATIENCE, || gate.ended());
            assert!(!status.success(), "{status}");
            let log = gate.log();
            assert!(log.contains("gate stopped, no permit is given"), "{log}");
            gate.kill();
        }
        disk.off();
        assert!(disk.on(), "the image can be mounted again");
        gate.start();
        leads(&gate);
        agents.doubt(false);
    }
    let books = agents.stop();
    books.assert_kept(&gate.door());
    gate.kill();
    let (code, said) = gate.verb(&["audit", "verify"]);
    assert_eq!(code, Some(0), "{said}");
    eprintln!(
        "{cuts} cuts: {} decisions, {} permits, {} freezes answered; {}",
        books.decisions.len(),
        books.permits.len(),
        books.freezes.len(),
        said.trim()
    );
    assert!(!books.decisions.is_empty() && !books.freezes.is_empty(), "there was load");
}
