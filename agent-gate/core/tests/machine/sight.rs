//! Sight alone: which attestations count, for how long, and which of several watchdogs.

use agent_gate_core::gate::sight::{Basis, Evidence, Sight, Untaken};
use watchdog_core::attestation::Attestation;
use watchdog_core::names::Boot;
use watchdog_core::tick::Tick;
use watchdog_core::verdict::VerdictKind;

use crate::world::{NEW, OLD, policy, policy_set, service, shown, verdict};

const TTL_MAX_MS: u64 = 5_000;

fn said(watchdog: &str, boot: &str, seq: u64, kind: VerdictKind, records: u64) -> Attestation {
    Attestation {
        watchdog: watchdog.to_owned(),
        boot: Boot::new(boot).expect("a valid name"),
        seq,
        ttl_ms: 1_000,
        mass_silence: false,
        base: None,
        items: vec![verdict("a", kind, vec![shown(OLD, 1, records)])],
    }
}

fn look(sight: &Sight, now: u64) -> Evidence {
    sight.look(&service("a"), Tick(now), &policy_set(&policy()), &[])
}

#[test]
fn an_attestation_counts_once_and_only_if_it_is_newer() {
    let mut sight = Sight::default();
    let mut hear = |boot: &str, seq| {
        sight.attest(said("dog", boot, seq, VerdictKind::Live, 1), Tick(10), TTL_MAX_MS)
    };
    assert_eq!(hear("1000-x", 5), Ok(()));
    assert_eq!(hear("1000-x", 5), Err(Untaken::Overtaken { last: 5 }), "a replay");
    assert_eq!(hear("1000-x", 4), Err(Untaken::Overtaken { last: 5 }), "an older one");
    assert_eq!(hear("999-x", 9), Err(Untaken::Overtaken { last: 5 }), "an older boot");
    assert_eq!(hear("1001-y", 1), Ok(()), "a newer boot begins anew");
    assert_eq!(hear("1000-x", 6), Err(Untaken::Overtaken { last: 1 }), "the old one is dead");
}

#[test]
fn an_attestation_is_good_for_its_own_time_and_never_for_longer_than_the_limit() {
    let mut sight = Sight::default();
    let lost = said("dog", "1-x", 1, VerdictKind::TelemetryLost, 1);
    sight.attest(lost.clone(), Tick(0), TTL_MAX_MS).expect("it is the first");
    assert_eq!(look(&sight, 999).verdict, VerdictKind::TelemetryLost, "bad news counts at once");
    let late = look(&sight, 1_000);
    assert_eq!((late.verdict, late.basis), (VerdictKind::Unknown, Basis::WatchdogSilent));
    let boasting = Attestation { ttl_ms: 3_600_000, seq: 2, ..lost };
    sight.attest(boasting, Tick(2_000), TTL_MAX_MS).expect("it is newer");
    assert_eq!(look(&sight, 6_999).basis, Basis::Fresh);
    assert_eq!(look(&sight, 7_000).basis, Basis::WatchdogSilent);
}

#[test]
fn good_news_counts_after_the_dwell_and_anew_after_a_lapse() {
    let mut sight = Sight::default();
    let mut seq = 0;
    let mut hear = |sight: &mut Sight, from: u64, to: u64| {
        for now in (from..=to).step_by(500) {
            seq += 1;
            let live = said("dog", "1-x", seq, VerdictKind::Live, 1);
            sight.attest(live, Tick(now), TTL_MAX_MS).expect("it is newer");
        }
    };
    hear(&mut sight, 0, 1_500);
    let early = look(&sight, 1_999);
    assert_eq!((early.verdict, early.basis), (VerdictKind::Unknown, Basis::Settling));
    assert_eq!(look(&sight, 2_000).verdict, VerdictKind::Live);
    assert_eq!(look(&sight, 2_000).live_ms, Some(2_000));
    // The lease of 1 500 ended at 2 500: sight was gone for a moment, and begins anew.
    hear(&mut sight, 2_500, 2_500);
    assert_eq!(look(&sight, 2_500).live_ms, Some(0));
    assert_eq!(look(&sight, 2_500).verdict, VerdictKind::Unknown);
}

#[test]
fn the_worst_of_several_watchdogs_counts_and_none_is_added_up() {
    let mut sight = Sight::default();
    for (name, kind, records) in [
        ("east", VerdictKind::Lossy, 70),
        ("north", VerdictKind::TelemetryLost, 50),
        ("west", VerdictKind::Idle, 90),
    ] {
        sight.attest(said(name, "1-x", 1, kind, records), Tick(0), TTL_MAX_MS).expect("the first");
    }
    let seen = look(&sight, 10);
    assert_eq!(seen.verdict, VerdictKind::TelemetryLost);
    assert_eq!(seen.attested.len(), 3);
    let old = seen.revision(&OLD.parse().expect("a valid name")).expect("it was seen");
    assert_eq!(old.records, Some(90), "the one that saw most speaks for the revision");
    assert_eq!(seen.revision(&NEW.parse().expect("a valid name")), None);
}

#[test]
fn a_watchdog_that_is_silent_for_long_is_forgotten_and_until_then_holds() {
    let mut sight = Sight::default();
    sight.attest(said("gone", "1-x", 1, VerdictKind::Live, 1), Tick(0), TTL_MAX_MS).expect("first");
    for seq in 1..=12 {
        let live = said("here", "1-x", seq, VerdictKind::Live, 1);
        sight.attest(live, Tick(seq * 500), TTL_MAX_MS).expect("it is newer");
    }
    sight.forget(Tick(6_000), 5_001);
    assert_eq!(look(&sight, 6_000).basis, Basis::WatchdogSilent);
    sight.forget(Tick(6_000), 5_000);
    assert_eq!(look(&sight, 6_000).verdict, VerdictKind::Live);
}

#[test]
fn what_is_told_in_parts_stands_as_it_was_told_last_and_no_longer_than_the_lease() {
    const LIVE: VerdictKind = VerdictKind::Live;
    let mut sight = Sight::default();
    let part = |name: &str, seq, base, kind| Attestation {
        base,
        items: vec![verdict(name, kind, Vec::new())],
        ..said("dog", "1000-x", seq, kind, 1)
    };
    let kind = |sight: &Sight, name: &str| {
        let service = service(name);
        let mut told = sight.verdicts(&service, Tick(300));
        told.next().map(|(_, _, verdict)| verdict.verdict)
    };
    let mut tell = |said, now| sight.attest(said, Tick(now), TTL_MAX_MS);
    assert_eq!(tell(part("a", 1, Some(0), LIVE), 0), Err(Untaken::BaseUnknown), "nothing is held");
    assert_eq!(tell(part("a", 2, None, LIVE), 0), Ok(()));
    assert_eq!(tell(part("b", 3, Some(2), VerdictKind::Down), 100), Ok(()));
    assert_eq!(tell(part("b", 4, Some(2), LIVE), 200), Err(Untaken::BaseUnknown), "not the last");
    assert_eq!(kind(&sight, "a"), Some(LIVE));
    assert_eq!(kind(&sight, "b"), Some(VerdictKind::Down));
    assert_eq!(look(&sight, 300).live_ms, Some(300), "what stands has stood all the time");
    let late = part("a", 5, Some(3), LIVE);
    assert_eq!(sight.attest(late, Tick(1_100), TTL_MAX_MS), Err(Untaken::BaseUnknown), "run out");
    assert_eq!(sight.attest(part("a", 6, None, LIVE), Tick(1_200), TTL_MAX_MS), Ok(()));
    assert_eq!(kind(&sight, "b"), None, "one without a base names all there are");
}
