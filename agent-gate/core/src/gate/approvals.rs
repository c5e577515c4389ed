//! Persons who approve: how many, and which of them count.
//!
//! Who asked for a rollout never approves it. Where a person owns the agent that asked, that
//! person's word needs the word of one who does not. An approval is bound to the digest of the
//! rollout it stands in, which never changes, and ends by itself.
//!
//! Invariant: one person counts once, whatever the number of approvals given.

use serde::{Deserialize, Deserializer};
use watchdog_core::names::Environment;
use watchdog_core::tick::Tick;

use crate::gate::decision::Code;
use crate::gate::rollout::Approval;
use crate::policy::Policy;

/// What is missing of an approval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
}

/// What `approvals` lack at `now` for a rollout that the credential `author` asked for; `None` if
/// nothing.
pub(crate) fn missing(
    approvals: &[Approval],
    author: Option<&str>,
    policy: &Policy,
    environment: &Environment,
    now: Tick,
) -> Option<Missing> {
    let is_good = |given: &&Approval| now < given.until && Some(given.by.as_str()) != author;
    let good: Vec<&str> = approvals.iter().filter(is_good).map(|given| &*given.by).collect();
    let needed = policy.approvals.max(1) as usize;
    if good.is_empty() {
        let message = match approvals.last() {
            Some(ended) => format!("the approval by {} has ended; a person approves", ended.by),
            None => format!("a person must approve rollouts in {environment}"),
        };
        return Some(Missing { code: Code::ApprovalNeeded, message });
    }
    let owns = |person: &&str| author.is_some_and(|agent| policy.owners.owns(person, agent));
    let code = Code::SecondPerson;
    if good.iter().all(owns) {
        let owners = good.join(" and ");
        let agent = author.unwrap_or("the agent");
        let message =
            format!("{owners} approved and owns {agent}: another person must approve too");
        return Some(Missing { code, message });
    }
    (good.len() < needed).then(|| {
        let (of, names) = (good.len(), good.join(", "));
        Missing { code, message: format!("{of} of {needed} persons approved ({names})") }
    })
}

/// Adds an approval; the newest of each person stands.
pub(crate) fn add(approvals: &mut Vec<Approval>, given: Approval) {
    approvals.retain(|known| known.by != given.by);
    approvals.push(given);
}

/// Earlier versions kept one approval or none.
pub(crate) fn one_or_many<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Approval>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Kept {
        Many(Vec<Approval>),
        One(Option<Approval>),
    }
    Ok(match Kept::deserialize(from)? {
        Kept::Many(approvals) => approvals,
        Kept::One(approval) => approval.into_iter().collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Owners;

    fn by(name: &str, until: u64) -> Approval {
        let reason = "looked at".to_owned();
        Approval { by: name.to_owned(), at: Tick(0), until: Tick(until), reason }
    }

    fn code(approvals: &[Approval], policy: &Policy) -> Option<&'static str> {
        let environment = "live".parse().expect("a name");
        let found = missing(approvals, Some("bot"), policy, &environment, Tick(5));
        found.map(|missing| missing.code.as_str())
    }

    #[test]
    fn as_many_persons_as_policy_says_and_none_of_them_the_author() {
        let two = Policy { approvals: 2, ..Policy::default() };
        for (approvals, of_one, of_two) in [
            (vec![], Some("approval_needed"), Some("approval_needed")),
            (vec![by("ada", 9)], None, Some("second_person")),
            (vec![by("ada", 9), by("bo", 9)], None, None),
            (vec![by("ada", 9), by("bo", 5)], None, Some("second_person")),
            (vec![by("ada", 5), by("bo", 4)], Some("approval_needed"), Some("approval_needed")),
            (vec![by("bot", 9)], Some("approval_needed"), Some("approval_needed")),
            (vec![by("bot", 9), by("ada", 9)], None, Some("second_person")),
        ] {
            assert_eq!(code(&approvals, &Policy::default()), of_one, "{approvals:?}");
            assert_eq!(code(&approvals, &two), of_two, "{approvals:?}");
        }
        let mut approvals = vec![by("ada", 9)];
        add(&mut approvals, by("ada", 12));
        assert_eq!(approvals, [by("ada", 12)], "one person counts once");
    }

    #[test]
    fn an_owner_of_the_agent_needs_one_who_is_not() {
        let owners = Owners::of("bot", &["ada", "bo"]);
        let owned = Policy { owners, ..Policy::default() };
        assert_eq!(code(&[by("ada", 9)], &owned), Some("second_person"));
        assert_eq!(code(&[by("ada", 9), by("bo", 9)], &owned), Some("second_person"));
        assert_eq!(code(&[by("ada", 9), by("cy", 9)], &owned), None);
        assert_eq!(code(&[by("cy", 9)], &owned), None, "owns nothing");
    }

    #[test]
    fn what_earlier_versions_kept_is_read() {
        let read = |json: &str| one_or_many(&mut serde_json::Deserializer::from_str(json));
        let one = r#"{"by": "ada", "at": 0, "until": 9, "reason": "looked at"}"#;
        assert_eq!(read(one).expect("one"), [by("ada", 9)]);
        assert_eq!(read(&format!("[{one}]")).expect("many"), [by("ada", 9)]);
        assert_eq!(read("null").expect("none"), []);
        assert!(read("3").is_err());
    }
}
