//! A disk that is full, small, or cannot be written: refusals, and no loss of what was promised.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::Collector;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::{skip, turn, wait};

const LIMIT: Duration = Duration::from_secs(30);
/// Big requests, so that a small disk is full soon.
const HABIT: Habit = Habit { clients: 3, pause: Duration::from_millis(2), padding: 2_000 };

/// A small disk of its own, where the spool is.
struct Disk {
    path: PathBuf,
}

impl Disk {
    /// `None`, with a line that says so, where it cannot be mounted.
    fn mount(collector: &Collector, options: &str) -> Option<Self> {
        let path = collector.data().join("spool");
        fs::create_dir(&path).expect("it can be made");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "spool"]).arg(&path);
        if mount.output().is_ok_and(|ended| ended.status.success()) {
            return Some(Self { path });
        }
        skip("permission to mount a tmpfs", "see how a full disk is survived");
        None
    }

    /// Writes a file until there is no room for one more byte.
    fn fill(&self) {
        let mut file = fs::File::create(self.path.join("filler")).expect("room for a name");
        while file.write_all(&[0; 4_096]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    fn empty(&self) {
        fs::remove_file(self.path.join("filler")).expect("it was written");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, because the collector may still have a file open.
        let ended = Command::new("umount").arg("-l").arg(&self.path).status();
        assert!(ended.is_ok_and(|ended| ended.success()), "{} is unmounted", self.path.display());
    }
}

fn collector(sink: &Sink) -> Collector {
    Collector::new("", &[format!("endpoint = \"http://{}\"", sink.address)])
}

/// Waits until `n` more requests were acknowledged.
fn wait_acknowledged(load: &Load, n: usize) {
    let goal = load.answers().acknowledged.len() + n;
    wait("requests are acknowledged", LIMIT, || {
        (load.answers().acknowledged.len() >= goal).then_some(())
    });
}

/// Waits until `n` more requests were refused and none acknowledged between.
fn wait_refused(load: &Load, n: usize) {
    let refused = || {
        let answers = load.answers();
        (answers.acknowledged.len(), answers.refused.len())
    };
    let mut start = refused();
    wait("every request is refused", LIMIT, || {
        let now = refused();
        if now.0 != start.0 {
            start = now;
        }
        (now.1 >= start.1 + n).then_some(())
    });
}

/// Nothing that was acknowledged is missing, and refusals told when to come back.
fn assert_kept(sink: &Sink, collector: &Collector, load: Load) {
    let answers = load.stop();
    wait("all that was acknowledged is delivered", LIMIT, || {
        sink.books().missing(&answers.acknowledged).is_empty().then_some(())
    });
    sink.books().assert_sound();
    collector.assert_settles();
    assert_eq!(answers.curt, Vec::<String>::new());
    let (acknowledged, refused) = (answers.acknowledged.len(), answers.refused.len());
    eprintln!("{acknowledged} acknowledged and delivered, {refused} refused");
}

#[test]
fn a_backlog_that_fills_the_disk_is_refused_and_delivered_later() {
    let _turn = turn();
    let sink = Sink::start();
    let mut collector = collector(&sink);
    let Some(_disk) = Disk::mount(&collector, "size=8m") else { return };
    sink.feel(Mood::Refuses);
    let load = Load::start(HABIT, collector.start());
    wait_refused(&load, 100);
    collector.assert_runs();
    let readiness = collector.get("/readyz").expect("the admin port answers");
    assert_eq!(readiness.status, 503, "{}", readiness.body);
    // What filled the disk is sent by a new life, which makes room again.
    load.aim(None);
    collector.kill();
    sink.feel(Mood::Takes);
    load.aim(Some(collector.start()));
    wait_acknowledged(&load, 200);
    collector.assert_runs();
    assert_kept(&sink, &collector, load);
}

#[test]
fn a_disk_that_others_fill_is_survived_and_used_again() {
    let _turn = turn();
    let sink = Sink::start();
    let mut collector = collector(&sink);
    let Some(disk) = Disk::mount(&collector, "size=8m") else { return };
    let load = Load::start(HABIT, collector.start());
    wait_acknowledged(&load, 50);
    sink.feel(Mood::Refuses);
    wait_acknowledged(&load, 20);
    disk.fill();
    wait_refused(&load, 100);
    // Killed and started again while there is no room for a byte.
    load.aim(None);
    collector.kill();
    load.aim(Some(collector.start()));
    sink.feel(Mood::Takes);
    collector.assert_runs();
    disk.empty();
    wait_acknowledged(&load, 100);
    sink.feel(Mood::Refuses);
    wait_acknowledged(&load, 20);
    // A file whose last write failed is no damage, not even to a start that cannot write.
    disk.fill();
    wait_refused(&load, 20);
    load.aim(None);
    collector.kill();
    load.aim(Some(collector.start()));
    collector.assert_balances();
    assert!(!collector.log().contains("damaged"), "{}", collector.log());
    disk.empty();
    sink.feel(Mood::Takes);
    assert_kept(&sink, &collector, load);
}

#[test]
fn a_spool_that_cannot_be_written_refuses_the_start() {
    let _turn = turn();
    let sink = Sink::start();
    let mut collector = collector(&sink);
    let Some(_disk) = Disk::mount(&collector, "ro") else { return };
    collector.spawn();
    assert_eq!(collector.wait_end(), Some(74), "{}", collector.log());
    let place = Path::new("data/spool").display().to_string();
    assert!(collector.log().contains(&place), "it says where: {}", collector.log());
}
