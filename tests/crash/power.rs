//! Power cuts: what the kernel had not brought to the disk is gone, and nothing acknowledged is.

use std::time::Duration;

use super::child::Collector;
use super::filesystem::Filesystem;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::{Chance, from_env, skip, turn, wait};

/// The collector's spool on a filesystem of its own.
fn mount(collector: &Collector) -> Option<Filesystem> {
    let (image, path) = (collector.dir.path().join("image"), collector.data().join("spool"));
    let mounted = Filesystem::mount(image, path);
    if mounted.is_none() {
        let what = "see that what is acknowledged survives a power cut";
        skip("permission to mount an image", what);
    }
    mounted
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let _turn = turn();
    let cuts = from_env("HOLDPOINT_POWER_CUTS", 6);
    let (sink, mut chance) = (Sink::start(), Chance::seeded());
    let mut collector = Collector::new("", &[format!("endpoint = \"http://{}\"", sink.address)]);
    let Some(filesystem) = mount(&collector) else { return };
    let habit = Habit { clients: 4, pause: Duration::from_millis(1), padding: 50 };
    let load = Load::start(habit, collector.start());
    let mut doubtful = Vec::new();
    for cut in 0..cuts {
        // A sink that took everything would hide what the disk forgot.
        sink.feel(if cut % 3 == 2 { Mood::Takes } else { Mood::Refuses });
        std::thread::sleep(Duration::from_millis(100 + chance.below(300)));
        if cut % 2 == 0 {
            // Everything stops at once.
            collector.freeze();
            filesystem.cut();
        } else {
            // Only the disk goes. The kernel may call a sync good that the cut overtook, so what
            // was answered meanwhile shows nothing.
            let before = load.answers().acknowledged.len();
            filesystem.cut();
            let refused = load.answers().refused.len();
            wait("without a disk every request is refused", Duration::from_secs(20), || {
                (load.answers().refused.len() > refused + 10).then_some(())
            });
            doubtful.extend_from_slice(&load.answers().acknowledged[before..]);
        }
        load.aim(None);
        collector.kill();
        filesystem.off();
        assert!(filesystem.on(), "the image can be mounted again");
        load.aim(Some(collector.start()));
        collector.assert_balances();
    }
    sink.feel(Mood::Takes);
    let mut answers = load.stop();
    answers.acknowledged.retain(|number| !doubtful.contains(number));
    let (acknowledged, refused) = (answers.acknowledged.len(), answers.refused.len());
    eprintln!("{cuts} power cuts: {acknowledged} requests acknowledged, {refused} refused");
    wait("all that was acknowledged is delivered", Duration::from_secs(60), || {
        sink.books().missing(&answers.acknowledged).is_empty().then_some(())
    });
    sink.books().assert_sound();
    collector.assert_settles();
    collector.kill();
}
