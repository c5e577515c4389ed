//! Power cuts: what the kernel had not brought to the disk is gone, and nothing acknowledged is.
//!
//! `kill -9` leaves the kernel its cache, so it cannot show that a sync was forgotten. Here the
//! spool is on a filesystem of its own that is shut down in the middle of the work, as a power cut
//! would: what was not synced never reaches its image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::Collector;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::{Chance, from_env, skip, turn, wait};

/// EXT4_IOC_SHUTDOWN without flushing the journal.
const CUT: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

/// A filesystem whose power can be cut.
struct Filesystem {
    image: PathBuf,
    path: PathBuf,
}

impl Filesystem {
    fn mount(collector: &Collector) -> Option<Self> {
        let (image, path) = (collector.dir.path().join("image"), collector.data().join("spool"));
        fs::create_dir(&path).expect("it can be made");
        let file = fs::File::create(&image).expect("it can be made");
        file.set_len(128 << 20).expect("it is sparse");
        let filesystem = Self { image, path };
        let made = works(Command::new("mkfs.ext4").arg("-q").arg(&filesystem.image));
        if made && filesystem.on() {
            return Some(filesystem);
        }
        skip("permission to mount an image", "see that what is acknowledged survives a power cut");
        None
    }

    fn on(&self) -> bool {
        works(Command::new("mount").args(["-o", "loop"]).arg(&self.image).arg(&self.path))
    }

    /// From here on nothing reaches the image, and every write fails.
    fn cut(&self) {
        assert!(
            works(Command::new("python3").args(["-c", CUT]).arg(&self.path)),
            "the power is cut"
        );
    }

    fn off(&self) {
        assert!(unmount(&self.path), "{} is unmounted", self.path.display());
    }
}

impl Drop for Filesystem {
    fn drop(&mut self) {
        if !unmount(&self.path) {
            works(Command::new("umount").arg("-l").arg(&self.path));
        }
    }
}

fn unmount(path: &Path) -> bool {
    // Not lazily: what is mounted again must not be the old one.
    (0..100).any(|_| {
        let done = works(Command::new("umount").arg(path));
        if !done {
            std::thread::sleep(Duration::from_millis(20));
        }
        done
    })
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|ended| ended.status.success())
}

#[test]
fn what_was_acknowledged_survives_power_cuts() {
    let _turn = turn();
    let cuts = from_env("HOLDPOINT_POWER_CUTS", 6);
    let (sink, mut chance) = (Sink::start(), Chance::seeded());
    let mut collector = Collector::new("", &[format!("endpoint = \"http://{}\"", sink.address)]);
    let Some(filesystem) = Filesystem::mount(&collector) else { return };
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
