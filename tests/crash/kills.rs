//! `kill -9` at random points under load: nothing that was acknowledged is lost.

use std::time::{Duration, Instant};

use super::child::Collector;
use super::load::{Habit, Load};
use super::sink::{Mood, Sink};
use super::{Chance, from_env, turn, wait};

/// What the backend took longer than this before a kill is not sent again: an attempt and its
/// settlement are through by then, on a machine that does other things too.
const WINDOW: Duration = Duration::from_millis(200);

#[test]
fn what_was_acknowledged_survives_kills_at_random_points() {
    let _turn = turn();
    let kills = from_env("HOLDPOINT_KILLS", 15);
    let (sink, mut chance) = (Sink::start(), Chance::seeded());
    let exporter = format!("endpoint = \"http://{}\"", sink.address);
    let mut collector = Collector::new("", &[exporter]);
    let habit = Habit { clients: 4, pause: Duration::from_millis(1), padding: 50 };
    let load = Load::start(habit, collector.start());
    let mut killed = Vec::new();
    for _ in 0..kills {
        // A backend that refuses lets the spool grow over several lives.
        let moods = [Mood::Takes, Mood::Takes, Mood::Refuses];
        sink.feel(moods[usize::try_from(chance.below(3)).unwrap()]);
        std::thread::sleep(Duration::from_millis(chance.below(300)));
        load.aim(None);
        collector.kill();
        killed.push(Instant::now());
        if chance.below(4) == 0 {
            // Killed while it reads what the life before left.
            collector.spawn();
            std::thread::sleep(Duration::from_millis(chance.below(60)));
            collector.kill();
            killed.push(Instant::now());
        }
        load.aim(Some(collector.start()));
        collector.assert_balances();
    }
    sink.feel(Mood::Takes);
    let answers = load.stop();
    eprintln!(
        "{kills} kills: {} requests acknowledged, {} refused, {} unknown",
        answers.acknowledged.len(),
        answers.refused.len(),
        answers.unknown.len()
    );
    assert!(answers.acknowledged.len() as u64 > 10 * kills, "there was load");
    wait("all that was acknowledged is delivered", Duration::from_secs(60), || {
        sink.books().missing(&answers.acknowledged).is_empty().then_some(())
    });
    collector.assert_settles();
    let books = sink.books();
    books.assert_sound();
    // Only what was in flight at a kill may come again.
    let (repeated, count) = (books.repeated(), killed.len());
    let in_flight = |at: &Instant| killed.iter().any(|kill| (*at..*at + WINDOW).contains(kill));
    let late: Vec<_> = repeated.iter().filter(|(_, first)| !in_flight(first)).collect();
    eprintln!("{} requests came again after {count} kills, {} asked", repeated.len(), books.asked);
    assert!(late.is_empty(), "taken long before a kill and sent again: {late:?}");
}
