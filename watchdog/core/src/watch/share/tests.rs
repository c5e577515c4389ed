//! The bound on the share: losses are caught, chance and lag are not, and little work proves
//! nothing.

use super::*;

const BOUNDS: ShareBounds = ShareBounds {
    work_min: 50,
    tolerance: 0.15,
    doubt: 0.05,
    window_ms: 20_000,
    learn_ms: 3_000,
    due_ms: 1_100,
    lag_ms: 150,
    lead_ms: 50,
};

/// An instance that is beaten and exported for once a second.
#[derive(Default)]
struct Run {
    share: Share,
    second: u64,
    work: u64,
    /// Hundredths of a record that are not sent yet.
    rest: u64,
}

impl Run {
    fn healthy() -> Self {
        let mut run = Self::default();
        run.go(40, 20, 100);
        assert_eq!(run.counts(), Some(Counts::Agree));
        run
    }

    /// So many seconds with `rate` requests a second, of which so many hundredths are recorded.
    fn go(&mut self, seconds: u64, rate: u64, hundredths: u64) {
        self.sampled(seconds, rate, hundredths, 1);
    }

    /// Each span stands for `weight` requests.
    fn sampled(&mut self, seconds: u64, rate: u64, hundredths: u64, weight: u64) {
        for _ in 0..seconds {
            let at = self.second * 1_000;
            self.second += 1;
            self.work += rate / 2;
            self.rest += rate * hundredths;
            let requests = self.rest / 100 / weight;
            self.rest -= requests * 100 * weight;
            let adjusted_milli = 1_000 * requests * weight;
            self.share.arrive(Tick(at), Totals { requests, spans: requests, adjusted_milli });
            self.work += rate - rate / 2;
            self.share.beat(Tick(at + 500), self.work, true, None, &BOUNDS);
        }
    }

    fn counts(&self) -> Option<Counts> {
        self.share.compared().map(|compared| compared.counts)
    }

    /// Seconds until the counts are `wanted`, within `seconds`.
    fn until(&mut self, wanted: Counts, seconds: u64, rate: u64, hundredths: u64) -> u64 {
        let start = self.second;
        for _ in 0..seconds {
            self.go(1, rate, hundredths);
            if self.counts() == Some(wanted) {
                return self.second - start;
            }
        }
        panic!("not {wanted:?} within {seconds} s but {:?}", self.share.compared());
    }
}

#[test]
fn the_more_is_lost_the_sooner_it_is_found() {
    assert!(Run::healthy().until(Counts::Short, 60, 20, 10) <= 12);
    assert!(Run::healthy().until(Counts::Short, 60, 20, 50) <= 14);
    assert!(Run::healthy().until(Counts::Doubtful, 60, 20, 75) <= 16);
    assert!(Run::healthy().until(Counts::Short, 300, 20, 75) <= 150);
}

#[test]
fn a_loss_is_found_from_eight_requests_a_second_on() {
    for (hundredths, seconds) in [(50, 22), (75, 35)] {
        let mut run = Run::default();
        run.go(40, 8, 100);
        assert!(run.until(Counts::Doubtful, 60, 8, hundredths) <= seconds);
    }
}

#[test]
fn a_few_hundredths_less_are_no_loss_and_a_tenth_is_doubtful_in_the_end() {
    let mut run = Run::healthy();
    run.go(600, 20, 96);
    assert_eq!(run.counts(), Some(Counts::Agree));
    Run::healthy().until(Counts::Doubtful, 600, 40, 88);
}

#[test]
fn what_has_recovered_agrees_again() {
    let mut run = Run::healthy();
    run.go(30, 20, 50);
    assert_eq!(run.counts(), Some(Counts::Short));
    assert!(run.until(Counts::Agree, 60, 20, 100) <= 20);
}

#[test]
fn a_loss_outlasts_a_silence_until_the_records_agree_or_have_had_their_time() {
    let mut run = Run::healthy();
    run.go(30, 20, 50);
    run.share.resume(Tick(run.second * 1_000));
    for _ in 0..60 {
        assert_eq!(run.counts(), Some(Counts::Short), "after {} s", run.second);
        run.go(1, 20, 50);
    }
    run.share.resume(Tick(run.second * 1_000));
    assert!(run.until(Counts::Agree, 60, 20, 100) <= 20);
    run.share.resume(Tick(run.second * 1_000));
    assert_eq!(run.counts(), Some(Counts::Unproven), "nothing was lost");

    let mut run = Run::healthy();
    run.go(30, 20, 50);
    run.share.resume(Tick(run.second * 1_000));
    run.until(Counts::Unproven, 125, 0, 100);
    let mut run = Run::healthy();
    run.go(30, 20, 50);
    run.share.reopen();
    assert_eq!(run.counts(), Some(Counts::Unproven), "another process");
}

#[test]
fn a_loss_that_grows_slowly_is_not_followed_down() {
    let mut run = Run::healthy();
    for hundredths in (60..=100).rev().step_by(5) {
        run.go(60, 20, hundredths);
    }
    assert_eq!(run.counts(), Some(Counts::Short));
}

#[test]
fn many_more_records_than_work_are_an_excess_and_a_batch_sent_twice_is_not() {
    let mut run = Run::healthy();
    run.go(1, 20, 200);
    run.go(20, 20, 100);
    assert_eq!(run.counts(), Some(Counts::Agree));
    run.until(Counts::Excess, 30, 20, 200);
}

#[test]
fn nothing_is_compared_before_a_share_is_learnt() {
    let mut run = Run::default();
    run.go(4, 20, 100);
    assert_eq!(run.counts(), None);
}

#[test]
fn little_work_proves_nothing() {
    let mut run = Run::healthy();
    run.share.reopen();
    run.go(60, 1, 100);
    assert_eq!(run.counts(), Some(Counts::Unproven));
    // Two minutes of little work can exclude that half of it is lost, and no more.
    run.go(120, 1, 100);
    assert_eq!(run.counts(), Some(Counts::Agree));
    run.share.reopen();
    run.go(180, 1, 50);
    assert_ne!(run.counts(), Some(Counts::Agree));
}

#[test]
fn an_idle_service_is_never_short() {
    let mut run = Run::healthy();
    for _ in 0..1_000 {
        run.go(7, 0, 100);
        run.go(1, 1, 100);
        assert!(!run.counts().is_some_and(is_bad), "{:?}", run.share.compared());
    }
}

#[test]
fn one_export_that_comes_with_the_next_is_no_loss() {
    let mut run = Run::healthy();
    for _ in 0..50 {
        run.go(1, 20, 0);
        run.go(1, 20, 200);
        run.go(5, 20, 100);
        assert!(!run.counts().is_some_and(is_bad), "{:?}", run.share.compared());
    }
}

#[test]
fn a_sampler_that_is_turned_down_and_says_so_is_no_loss() {
    let mut run = Run::healthy();
    for _ in 0..300 {
        run.sampled(1, 20, 100, 10);
        assert!(!run.counts().is_some_and(is_bad), "{:?}", run.share.compared());
    }
}

#[test]
fn a_loss_behind_a_sampler_that_says_its_share_is_found() {
    let mut run = Run::default();
    run.sampled(120, 400, 100, 10);
    assert!(!run.counts().is_some_and(is_bad), "{:?}", run.share.compared());
    run.sampled(60, 400, 30, 10);
    assert_eq!(run.counts(), Some(Counts::Short));
}

#[test]
fn several_agreeing_instances_prove_together_what_none_can_alone() {
    let one = Comparison {
        counts: Counts::Unproven,
        since: Some(Tick(1)),
        requests: 60,
        records: 60,
        ratio: 1.0,
        interval: None,
        ready: false,
    };
    let counts = |each: &[Comparison]| pool(each.iter().copied(), None).expect("some").counts;
    assert_eq!(counts(&[one, one]), Counts::Unproven);
    assert_eq!(counts(&[one, one, one]), Counts::Agree);
    assert_eq!(counts(&[one, one, Comparison { records: 0, ..one }]), Counts::Unproven);
    assert_eq!(pool(std::iter::empty(), None), None);
}
