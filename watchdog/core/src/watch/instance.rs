//! One instance of a service: its beats, its progress token and its work counter.
//!
//! Invariant: a work counter is compared only within one boot. The first beat of a boot gives a
//! base, not work: what was done before it was not witnessed.

use crate::beat::{BeatBody, Token};
use crate::detector::{BeatBounds, Detector};
use crate::names::{Boot, Revision};
use crate::tick::Tick;
use crate::verdict::BeatState;
use crate::watch::dating::Dating;
use crate::watch::debt::Debt;
use crate::watch::quality::Passage;
use crate::watch::share::Share;
use crate::watch::standing::Standing;

/// Beats that are on their way for longer are rare: this is for one host or one cluster.
pub(super) const TRANSIT_MS: u64 = 50;

/// Work that one beat witnessed: `amount` requests in `(from, to]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Work {
    pub from: Tick,
    pub to: Tick,
    pub amount: u64,
    /// The beats before it showed about as much, so that it may be taken as spread evenly.
    pub steady: bool,
}

/// A beat that was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Beat {
    pub body: BeatBody,
    pub authenticated: bool,
    /// Beats that it stands for, itself included: those that waited together with it.
    pub told: u64,
}

/// What a beat changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// A new boot of the instance: the older one is gone, and its debts with it.
    NewBoot {
        suspected: bool,
    },
    SameBoot {
        work: Option<Work>,
        passage: Passage,
    },
}

/// What is known of one instance.
#[derive(Debug, Clone)]
pub(super) struct InstanceWatch {
    pub boot: Boot,
    pub revision: Option<Revision>,
    pub authenticated: bool,
    /// When a planned stop was announced, if it was.
    pub leaving: Option<Tick>,
    /// Beats of this boot since the watch could last see.
    pub beats: u32,
    pub detector: Detector,
    /// When a suspicion of it last ended.
    pub resumed: Option<Tick>,
    /// Since when it is suspected, if it is.
    pub suspected: Option<Tick>,
    seq: u64,
    token: Token,
    /// Beats in a row that carried `token`.
    same_token: u32,
    requests: Option<u64>,
    /// The last growths of the counter, newest first, to tell steady work from bursts.
    growths: [u64; 3],
    /// Work of this instance that no arrival of its own has answered, by signal.
    pub debts: [Debt; 3],
    /// Last arrivals under this instance's own name, by signal.
    pub arrivals: [Option<Tick>; 3],
    /// Whether the values of its own metrics stand still.
    pub standing: Standing,
    /// Whether its records are as new as their arrivals, by signal.
    pub dating: [Dating; 3],
    /// Whether its own records are as many as its work asks for.
    pub share: Share,
}

impl InstanceWatch {
    pub fn new(beat: Beat, now: Tick) -> Self {
        let Beat { body, authenticated, .. } = beat;
        Self {
            boot: body.boot,
            revision: body.revision,
            authenticated,
            leaving: body.leaving.then_some(now),
            beats: 1,
            detector: Detector::new(now),
            resumed: None,
            suspected: None,
            seq: body.seq,
            token: body.token,
            same_token: 1,
            requests: body.requests,
            growths: [0; 3],
            debts: [Debt::NONE; 3],
            arrivals: [None; 3],
            standing: Standing::NEW,
            dating: [Dating::NEW; 3],
            share: Share::default(),
        }
    }

    /// Takes in a beat that was admitted. Silence before `blind_until` does not count.
    pub fn hear(&mut self, beat: Beat, now: Tick, bounds: &BeatBounds, blind_until: Tick) -> Heard {
        if beat.body.boot != self.boot {
            let arrivals = self.arrivals;
            let suspected = self.suspected.is_some();
            // What it recorded of its work is a habit of the service, whichever process runs.
            let mut share = std::mem::take(&mut self.share);
            share.reopen();
            *self = Self { arrivals, share, ..Self::new(beat, now) };
            return Heard::NewBoot { suspected };
        }
        let Beat { body, authenticated, told } = beat;
        let from = self.detector.last();
        if now.since_ms(from) > self.detector.suspect_after_ms(bounds) {
            // After a silence that was suspected, one beat shows no progress yet.
            self.beats = 0;
            self.resumed = Some(now);
        }
        let steps = body.seq.saturating_sub(self.seq);
        let passage = Passage {
            at: now,
            gap_ms: now.since_ms(from),
            steps,
            told,
            seen: from >= blind_until,
            suspected: self.suspected.take(),
        };
        self.detector.beat(now, steps, bounds);
        self.seq = body.seq;
        self.authenticated = authenticated;
        self.beats = self.beats.saturating_add(1);
        if body.revision.is_some() {
            self.revision = body.revision;
        }
        if body.leaving && self.leaving.is_none() {
            self.leaving = Some(now);
        }
        if body.token == self.token {
            self.same_token = self.same_token.saturating_add(1);
        } else {
            self.token = body.token;
            self.same_token = 1;
        }
        // The beat before was sent a little before it was heard, and counted up to then.
        let work = self.work(body.requests, from.minus_ms(TRANSIT_MS), now);
        if let Some(work) = work {
            for (debt, last) in self.debts.iter_mut().zip(self.arrivals) {
                debt.add(work, last, blind_until);
            }
            self.standing.work(work, blind_until);
        } else {
            self.debts.iter_mut().for_each(Debt::stand);
        }
        Heard::SameBoot { work, passage }
    }

    fn work(&mut self, requests: Option<u64>, from: Tick, to: Tick) -> Option<Work> {
        let after = requests?;
        let before = self.requests.replace(after)?;
        // A counter that fell within one boot is a new base.
        let Some(amount) = after.checked_sub(before) else {
            self.share.reopen();
            return None;
        };
        if amount > 0 {
            return Some(self.worked(from, to, amount));
        }
        self.growths.rotate_right(1);
        self.growths[0] = 0;
        None
    }

    fn worked(&mut self, from: Tick, to: Tick, amount: u64) -> Work {
        let most = self.growths.into_iter().max().unwrap_or(amount).max(amount);
        let least = self.growths.into_iter().min().unwrap_or(amount).min(amount);
        self.growths.rotate_right(1);
        self.growths[0] = amount;
        Work { from, to, amount, steady: least > 0 && least >= most / 4 }
    }

    /// Whether its last beat told no work.
    pub const fn stands(&self) -> bool {
        self.requests.is_some() && self.growths[0] == 0
    }

    /// The counter as last told; `None` if this instance tells none.
    pub const fn requests(&self) -> Option<u64> {
        self.requests
    }

    /// What its beats say at `now`. Silence from before `horizon`, when the watch itself was
    /// blind, does not count.
    pub fn beat_state(
        &self,
        now: Tick,
        horizon: Tick,
        bounds: &BeatBounds,
        stuck: u32,
    ) -> BeatState {
        let silent_ms = now.since_ms(self.detector.last().max(horizon));
        if silent_ms > bounds.convict_ms {
            BeatState::Lost
        } else if silent_ms > self.detector.suspect_after_ms(bounds) {
            BeatState::Suspect
        } else if self.same_token >= stuck {
            BeatState::Stuck
        } else {
            BeatState::Fresh
        }
    }

    /// Whether its next beat is not overdue at `now`, so that it certainly runs.
    pub fn is_punctual(&self, now: Tick, bounds: &BeatBounds, slack_ms: u64) -> bool {
        now.since_ms(self.detector.last()) <= bounds.interval_ms + slack_ms / 2
    }

    /// When its beat state may change by time alone.
    pub fn next_changes(&self, horizon: Tick, bounds: &BeatBounds) -> [Tick; 2] {
        let from = self.detector.last().max(horizon);
        [
            from.plus_ms(self.detector.suspect_after_ms(bounds) + 1),
            from.plus_ms(bounds.convict_ms + 1),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Instance;
    use crate::watch::WatchConfig;

    fn beat(boot: &str, seq: u64, requests: Option<u64>) -> BeatBody {
        BeatBody {
            instance: Instance::new("i").expect("valid"),
            boot: Boot::new(boot).expect("valid"),
            seq,
            token: Token::Number(seq),
            requests,
            errors: None,
            revision: None,
            leaving: false,
        }
    }

    fn alone(body: BeatBody) -> Beat {
        Beat { body, authenticated: false, told: 1 }
    }

    fn hear(instance: &mut InstanceWatch, body: BeatBody, at: u64) -> Option<Option<Work>> {
        let bounds = BeatBounds::new(1_000, &WatchConfig::default());
        match instance.hear(alone(body), Tick(at), &bounds, Tick(0)) {
            Heard::NewBoot { .. } => None,
            Heard::SameBoot { work, .. } => Some(work),
        }
    }

    #[test]
    fn work_reaches_back_to_when_the_beat_before_was_sent() {
        let mut instance = InstanceWatch::new(alone(beat("1", 1, Some(10))), Tick(1_000));
        let Some(Some(work)) = hear(&mut instance, beat("1", 2, Some(14)), 2_000) else {
            panic!("the counter grew");
        };
        let expected =
            Work { from: Tick(1_000 - TRANSIT_MS), to: Tick(2_000), amount: 4, steady: false };
        assert_eq!(work, expected);
    }

    #[test]
    fn a_new_boot_and_a_counter_that_fell_are_bases_and_no_work() {
        let mut instance = InstanceWatch::new(alone(beat("1", 1, Some(10))), Tick(1_000));
        assert_eq!(hear(&mut instance, beat("2", 1, Some(500)), 2_000), None);
        let none = Some(None);
        assert_eq!(hear(&mut instance, beat("2", 2, Some(400)), 3_000), none);
        assert_eq!(hear(&mut instance, beat("2", 3, None), 4_000), none);
        assert_eq!(instance.requests(), Some(400), "a counter that is left out is not 0");
    }

    #[test]
    fn five_beats_with_one_token_are_a_hung_loop() {
        let config = WatchConfig::default();
        let bounds = BeatBounds::new(1_000, &config);
        let mut instance = InstanceWatch::new(alone(beat("1", 1, None)), Tick(0));
        for seq in 2..=5 {
            let state =
                instance.beat_state(instance.detector.last(), Tick(0), &bounds, config.stuck_beats);
            assert_eq!(state, BeatState::Fresh);
            let body = BeatBody { token: Token::Number(1), ..beat("1", seq, None) };
            hear(&mut instance, body, seq * 1_000);
        }
        let state = instance.beat_state(Tick(5_000), Tick(0), &bounds, config.stuck_beats);
        assert_eq!(state, BeatState::Stuck);
    }
}
