//! What several watchdogs that see one service say together.
//!
//! ```text
//! quorum 1 (default)   the worst of all words
//! quorum k of n        live needs k that say live; then one word against them is overruled, and
//!                      whoever said it is suspect; two against them are believed
//! ```
//!
//! A watchdog that is silent or has just started says `unknown`, and so does one that knows
//! nothing: it never counts towards a quorum, and as a second word against it it holds.
//!
//! Invariant: a word that is `unknown` or worse never improves what all say together, and `live`
//! needs the quorum.

use watchdog_core::verdict::VerdictKind;

use crate::gate::rollout::reverts;

/// What comes of all words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub verdict: VerdictKind,
    /// The one whose word stands alone against at least two that agree, by its place.
    pub suspect: Option<usize>,
    /// Whether the suspect's word was left out.
    pub is_overruled: bool,
    /// Whether fewer than the quorum are heard, or say live.
    pub is_short: bool,
}

/// Judges the words of all watchdogs that know a service. Without any, nothing is known.
#[must_use]
pub fn judge(words: &[VerdictKind], quorum: u32) -> Judged {
    let quorum = quorum.max(1) as usize;
    let live = words.iter().filter(|word| **word == VerdictKind::Live).count();
    let worst = words.iter().copied().reduce(VerdictKind::worst).unwrap_or(VerdictKind::Unknown);
    let suspect = lone(words);
    let against = words.len() - live;
    if quorum > 1 && live >= quorum && against == 1 {
        let verdict = VerdictKind::Live;
        return Judged { verdict, suspect, is_overruled: true, is_short: false };
    }
    let is_short = words.len() < quorum || (against == 0 && live < quorum);
    let verdict = if is_short { worst.worst(VerdictKind::Unknown) } else { worst };
    Judged { verdict, suspect, is_overruled: false, is_short }
}

/// The one that says lost where at least two say seen, or seen where at least two say lost.
/// Whoever knows nothing is on neither side.
fn lone(words: &[VerdictKind]) -> Option<usize> {
    let side = |is_lost: bool| {
        let mut places = words.iter().enumerate().filter(move |(_, word)| match word {
            VerdictKind::Unknown | VerdictKind::HeartbeatLost => false,
            VerdictKind::Live
            | VerdictKind::Idle
            | VerdictKind::Lossy
            | VerdictKind::Frozen
            | VerdictKind::Forged
            | VerdictKind::TelemetryLost
            | VerdictKind::Down => reverts(**word) == is_lost,
        });
        (places.next().map(|(place, _)| place), places.count())
    };
    match (side(true), side(false)) {
        ((Some(lost), 0), (Some(_), 1..)) => Some(lost),
        ((Some(_), 1..), (Some(seen), 0)) => Some(seen),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls `each` with every combination of up to four words.
    fn all(mut each: impl FnMut(&[VerdictKind])) {
        let kinds = VerdictKind::ALL;
        for count in 0..=4_u32 {
            for mut number in 0..kinds.len().pow(count) {
                let mut words = Vec::new();
                for _ in 0..count {
                    words.push(kinds[number % kinds.len()]);
                    number /= kinds.len();
                }
                each(&words);
            }
        }
    }

    fn verdict(words: &[VerdictKind], quorum: u32) -> VerdictKind {
        judge(words, quorum).verdict
    }

    #[test]
    fn without_a_quorum_the_worst_word_counts() {
        all(|words| {
            let worst = words.iter().copied().max().unwrap_or(VerdictKind::Unknown);
            assert_eq!(verdict(words, 1), worst, "{words:?}");
            assert_eq!(verdict(words, 0), worst, "{words:?}");
        });
    }

    #[test]
    fn live_is_never_made_of_fewer_than_the_quorum() {
        all(|words| {
            for quorum in 1..=5 {
                let live = words.iter().filter(|word| **word == VerdictKind::Live).count();
                let judged = judge(words, quorum);
                if judged.verdict == VerdictKind::Live {
                    assert!(live >= quorum as usize, "{words:?} with {quorum}");
                    assert!(words.len() - live <= usize::from(quorum > 1), "{words:?}");
                }
                assert!(!judged.is_overruled || words.len() - live == 1, "{words:?}");
            }
        });
    }

    #[test]
    fn a_word_that_is_unknown_or_worse_never_improves_what_all_say() {
        all(|words| {
            for quorum in 1..=5 {
                let before = verdict(words, quorum);
                for bad in VerdictKind::ALL.into_iter().filter(|w| *w >= VerdictKind::Unknown) {
                    let more = [words, &[bad]].concat();
                    let after = verdict(&more, quorum);
                    assert!(after >= before, "{bad:?} made {words:?} better with {quorum}");
                }
                for place in 0..words.len() {
                    for worse in VerdictKind::ALL.into_iter().filter(|w| *w > words[place]) {
                        let mut other = words.to_vec();
                        other[place] = worse;
                        let after = verdict(&other, quorum);
                        assert!(after >= before, "{words:?} became {other:?} with {quorum}");
                    }
                }
            }
        });
    }

    #[test]
    fn the_order_of_the_words_does_not_matter() {
        all(|words| {
            let mut turned = words.to_vec();
            turned.reverse();
            for quorum in 1..=4 {
                assert_eq!(verdict(words, quorum), verdict(&turned, quorum), "{words:?}");
            }
        });
    }

    #[test]
    fn one_against_two_that_agree_is_suspect_and_with_a_quorum_overruled() {
        use VerdictKind::{Down, Idle, Live, TelemetryLost, Unknown};
        for (words, quorum, verdict, suspect, is_overruled) in [
            (&[Live, Live, TelemetryLost][..], 1, TelemetryLost, Some(2), false),
            (&[Live, Live, TelemetryLost], 2, Live, Some(2), true),
            (&[Live, Live, TelemetryLost], 3, TelemetryLost, Some(2), false),
            (&[Live, TelemetryLost], 2, TelemetryLost, None, false),
            (&[Live, Live, TelemetryLost, Down], 2, Down, None, false),
            (&[Live, Live, TelemetryLost, Unknown], 2, TelemetryLost, Some(2), false),
            (&[Live, Live, Unknown], 2, Live, None, true),
            (&[Live, Unknown, Unknown], 2, Unknown, None, false),
            (&[Live, Down, Down], 2, Down, Some(0), false),
            (&[Live, Live, Idle], 2, Live, None, true),
            (&[Live], 2, Unknown, None, false),
        ] {
            let judged = judge(words, quorum);
            let found = (judged.verdict, judged.suspect, judged.is_overruled);
            assert_eq!(found, (verdict, suspect, is_overruled), "{words:?} with {quorum}");
        }
    }
}
