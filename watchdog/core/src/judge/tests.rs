//! One test per row of the table, and what holds for every evidence there is.

use super::*;

const FINE: Evidence = Evidence {
    observer: Observer::Steady,
    beats: Beats::Fresh,
    telemetry: Telemetry::Fresh,
    counts: Counts::Agree,
    values: Values::Moving,
    probes: Probes::Returning,
    path: Path::Proven,
};

fn kind(evidence: Evidence) -> VerdictKind {
    judge(&evidence).kind
}

/// Every evidence there is: 3·7·12·5·2·5·11 of them.
fn all() -> Vec<Evidence> {
    const OBSERVERS: [Observer; 3] = [Observer::Steady, Observer::Started, Observer::Blind];
    const BEATS: [Beats; 7] = [
        Beats::Never,
        Beats::TooFew,
        Beats::Fresh,
        Beats::Short,
        Beats::Leaving,
        Beats::Hung,
        Beats::Lost,
    ];
    const TELEMETRY: [Telemetry; 12] = [
        Telemetry::Never,
        Telemetry::Missing,
        Telemetry::Fresh,
        Telemetry::Stale,
        Telemetry::Skewed,
        Telemetry::Quiet,
        Telemetry::Due,
        Telemetry::PartlySilent,
        Telemetry::BlindInstance,
        Telemetry::Silent,
        Telemetry::PartlyMute,
        Telemetry::Mute,
    ];
    const PROBES: [Probes; 5] =
        [Probes::Unknown, Probes::Returning, Probes::Late, Probes::Lost, Probes::Wrong];
    const COUNTS: [Counts; 5] =
        [Counts::Unproven, Counts::Agree, Counts::Excess, Counts::Doubtful, Counts::Short];
    const PATHS: [Path; 11] = [
        Path::Unproven,
        Path::Proven,
        Path::CollectorSick,
        Path::Refusing,
        Path::Filtered,
        Path::Swallowed,
        Path::ExporterStalled,
        Path::BackendStalled,
        Path::ExporterLies,
        Path::BackendLies,
        Path::MassSilence,
    ];
    let mut all = Vec::new();
    for observer in OBSERVERS {
        for beats in BEATS {
            for telemetry in TELEMETRY {
                for counts in COUNTS {
                    for values in [Values::Moving, Values::Standing] {
                        for probes in PROBES {
                            for path in PATHS {
                                all.push(Evidence {
                                    observer,
                                    beats,
                                    telemetry,
                                    counts,
                                    values,
                                    probes,
                                    path,
                                });
                            }
                        }
                    }
                }
            }
        }
    }
    all
}

#[test]
fn fresh_beats_fresh_telemetry_agreeing_counts_and_returning_probes_are_live() {
    assert_eq!(kind(FINE), VerdictKind::Live);
    assert_eq!(judge(&FINE).stage, None);
    assert_eq!(kind(Evidence { counts: Counts::Unproven, ..FINE }), VerdictKind::Live);
}

#[test]
fn fresh_beats_that_prove_no_work_are_idle_if_probes_return() {
    let quiet = Evidence { telemetry: Telemetry::Quiet, ..FINE };
    assert_eq!(kind(quiet), VerdictKind::Idle);
    for probes in [Probes::Unknown, Probes::Late, Probes::Lost] {
        assert_eq!(kind(Evidence { probes, ..quiet }), VerdictKind::Unknown);
    }
}

#[test]
fn silent_telemetry_while_work_moves_is_the_recursive_crash() {
    let silent = Evidence { telemetry: Telemetry::Silent, ..FINE };
    assert_eq!(kind(silent), VerdictKind::TelemetryLost);
    for probes in [Probes::Unknown, Probes::Late, Probes::Lost] {
        assert_eq!(kind(Evidence { probes, ..silent }), VerdictKind::TelemetryLost);
    }
}

#[test]
fn some_signals_silent_while_work_moves_is_lossy() {
    for telemetry in [Telemetry::PartlySilent, Telemetry::BlindInstance] {
        assert_eq!(kind(Evidence { telemetry, ..FINE }), VerdictKind::Lossy);
    }
}

#[test]
fn counts_short_of_the_witness_are_lossy() {
    assert_eq!(kind(Evidence { counts: Counts::Short, ..FINE }), VerdictKind::Lossy);
    for counts in [Counts::Doubtful, Counts::Excess] {
        assert_eq!(kind(Evidence { counts, ..FINE }), VerdictKind::Unknown);
    }
}

#[test]
fn values_that_stand_still_while_work_moves_are_frozen_in_the_sdk() {
    let frozen = judge(&Evidence { values: Values::Standing, ..FINE });
    assert_eq!((frozen.kind, frozen.stage), (VerdictKind::Frozen, Some(Stage::Sdk)));
}

#[test]
fn a_wrong_answer_of_a_probe_is_forged_whatever_else_looks_fine() {
    for beats in [Beats::TooFew, Beats::Fresh, Beats::Short] {
        let forged = Evidence { probes: Probes::Wrong, beats, ..FINE };
        assert_eq!(kind(forged), VerdictKind::Forged);
    }
}

#[test]
fn a_wrong_answer_is_laid_to_who_can_have_made_it_up() {
    let stage = |path| judge(&Evidence { probes: Probes::Wrong, path, ..FINE }).stage;
    assert_eq!(stage(Path::Proven), Some(Stage::Collector));
    assert_eq!(stage(Path::ExporterLies), Some(Stage::Exporter));
    assert_eq!(stage(Path::BackendLies), Some(Stage::Backend));
}

#[test]
fn lost_beats_beside_fresh_telemetry_are_a_lost_heartbeat() {
    for beats in [Beats::Lost, Beats::Hung] {
        let lost = judge(&Evidence { beats, ..FINE });
        assert_eq!((lost.kind, lost.stage), (VerdictKind::HeartbeatLost, Some(Stage::Service)));
    }
}

#[test]
fn lost_beats_beside_silent_telemetry_are_down() {
    for beats in [Beats::Lost, Beats::Hung] {
        for telemetry in [Telemetry::Silent, Telemetry::Mute, Telemetry::Never, Telemetry::Quiet] {
            assert_eq!(kind(Evidence { beats, telemetry, ..FINE }), VerdictKind::Down);
        }
    }
}

#[test]
fn never_heard_too_little_heard_and_a_blind_observer_are_unknown() {
    assert_eq!(kind(Evidence { beats: Beats::Never, ..FINE }), VerdictKind::Unknown);
    assert_eq!(kind(Evidence { beats: Beats::TooFew, ..FINE }), VerdictKind::Unknown);
    assert_eq!(kind(Evidence { telemetry: Telemetry::Never, ..FINE }), VerdictKind::Unknown);
    assert_eq!(kind(Evidence { telemetry: Telemetry::Missing, ..FINE }), VerdictKind::Unknown);
    for observer in [Observer::Started, Observer::Blind] {
        let blind = judge(&Evidence { observer, ..FINE });
        assert_eq!((blind.kind, blind.stage), (VerdictKind::Unknown, Some(Stage::Observer)));
    }
}

#[test]
fn silence_that_no_witness_explains_is_unknown_and_says_so() {
    for telemetry in [Telemetry::Mute, Telemetry::PartlyMute] {
        let mute = judge(&Evidence { telemetry, ..FINE });
        assert_eq!((mute.kind, mute.why), (VerdictKind::Unknown, Why::NoWitness));
    }
}

#[test]
fn a_planned_stop_is_unknown_while_its_grace_runs() {
    for telemetry in [Telemetry::Fresh, Telemetry::Silent, Telemetry::Mute] {
        let leaving = Evidence { beats: Beats::Leaving, telemetry, ..FINE };
        assert_eq!(kind(leaving), VerdictKind::Unknown);
    }
}

#[test]
fn too_few_instances_are_a_lost_heartbeat_unless_something_worse_is_known() {
    let short = Evidence { beats: Beats::Short, ..FINE };
    assert_eq!(kind(short), VerdictKind::HeartbeatLost);
    let lost = Evidence { telemetry: Telemetry::Silent, ..short };
    assert_eq!(kind(lost), VerdictKind::TelemetryLost);
}

#[test]
fn the_stage_follows_from_where_the_path_is_proven() {
    let stage = |path| judge(&Evidence { telemetry: Telemetry::Silent, path, ..FINE }).stage;
    assert_eq!(stage(Path::Unproven), None);
    assert_eq!(stage(Path::Proven), Some(Stage::Sdk));
    assert_eq!(stage(Path::CollectorSick), Some(Stage::Collector));
    assert_eq!(stage(Path::Filtered), Some(Stage::Collector));
    assert_eq!(stage(Path::Swallowed), Some(Stage::Collector));
    assert_eq!(stage(Path::ExporterStalled), Some(Stage::Exporter));
    assert_eq!(stage(Path::BackendStalled), Some(Stage::Backend));
    assert_eq!(stage(Path::MassSilence), Some(Stage::Observer));
}

#[test]
fn live_needs_every_witness_to_speak_and_to_agree() {
    for evidence in all() {
        if kind(evidence) == VerdictKind::Live {
            assert_eq!(evidence.observer, Observer::Steady);
            assert_eq!(evidence.beats, Beats::Fresh);
            assert_eq!(evidence.telemetry, Telemetry::Fresh);
            assert_eq!(evidence.probes, Probes::Returning);
            assert_eq!(evidence.values, Values::Moving);
            assert_ne!(evidence.counts, Counts::Short);
        }
    }
}

#[test]
fn nothing_but_unknown_is_said_by_a_watch_that_could_not_see() {
    for evidence in all() {
        if evidence.observer != Observer::Steady {
            assert_eq!(kind(evidence), VerdictKind::Unknown);
        }
    }
}

#[test]
fn telemetry_is_lost_only_where_work_is_proven_to_go_unanswered() {
    for evidence in all() {
        if kind(evidence) == VerdictKind::TelemetryLost {
            assert_eq!(evidence.telemetry, Telemetry::Silent);
            assert!(matches!(evidence.beats, Beats::Fresh | Beats::Short));
        }
    }
}

#[test]
fn what_is_live_or_idle_has_no_stage_and_a_fault_at_the_observer_blames_no_service() {
    for evidence in all() {
        let opinion = judge(&evidence);
        if matches!(opinion.kind, VerdictKind::Live | VerdictKind::Idle) {
            assert_eq!(opinion.stage, None);
        }
        if evidence.path == Path::MassSilence {
            let located = matches!(opinion.stage, Some(Stage::Collector))
                && opinion.kind != VerdictKind::Forged;
            assert!(!located, "{evidence:?} {opinion:?}");
        }
    }
}

#[test]
fn what_the_collector_refuses_is_never_laid_to_the_service() {
    for evidence in all().into_iter().filter(|evidence| evidence.path == Path::Refusing) {
        let opinion = judge(&evidence);
        assert!(
            !matches!(
                opinion.kind,
                VerdictKind::TelemetryLost | VerdictKind::Lossy | VerdictKind::Down
            ),
            "{evidence:?} {opinion:?}"
        );
        if opinion.why == Why::CollectorRefuses {
            assert_eq!(
                (opinion.kind, opinion.stage),
                (VerdictKind::Unknown, Some(Stage::Collector))
            );
        }
    }
    let silent = Evidence { telemetry: Telemetry::Silent, path: Path::Refusing, ..FINE };
    assert_eq!(judge(&silent).why, Why::CollectorRefuses);
    let short = Evidence { counts: Counts::Short, path: Path::Refusing, ..FINE };
    assert_eq!(judge(&short).why, Why::CollectorRefuses);
}

#[test]
fn a_rule_that_drops_the_probes_is_told_as_such_and_located_at_the_collector() {
    for probes in [Probes::Late, Probes::Lost] {
        let filtered = judge(&Evidence { probes, path: Path::Filtered, ..FINE });
        assert_eq!((filtered.kind, filtered.why), (VerdictKind::Unknown, Why::RuleDrops));
        assert_eq!(filtered.stage, Some(Stage::Collector));
    }
}

#[test]
fn telemetry_that_arrives_in_time_and_tells_of_another_time_is_unknown_by_its_own_name() {
    let stale = judge(&Evidence { telemetry: Telemetry::Stale, ..FINE });
    assert_eq!((stale.kind, stale.why), (VerdictKind::Unknown, Why::RecordsOld));
    let skewed = judge(&Evidence { telemetry: Telemetry::Skewed, ..FINE });
    assert_eq!((skewed.kind, skewed.why), (VerdictKind::Unknown, Why::RecordsAhead));
    let short = Evidence { telemetry: Telemetry::Stale, counts: Counts::Short, ..FINE };
    assert_eq!(kind(short), VerdictKind::Lossy, "old and too few is no better than too few");
}
