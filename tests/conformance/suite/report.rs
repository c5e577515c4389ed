//! Runs the probes one after another and says what came out, as a table or as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::json;

use super::probe::{Level, Outcome, Probe};
use super::target::Target;

#[derive(Debug, Clone)]
pub struct Finding {
    pub probe: Probe,
    pub outcome: Outcome,
}

impl Finding {
    /// A MAY is told, never counted against the server.
    pub fn is_fault(&self) -> bool {
        self.outcome.is_err() && self.probe.level != Level::May
    }

    fn verdict(&self) -> &'static str {
        match (&self.outcome, self.probe.level) {
            (Ok(()), _) => "ok",
            (Err(_), Level::May) => "no",
            (Err(_), Level::Must | Level::Should) => "FAIL",
        }
    }
}

/// Probes run alone: some of them measure whether a hostile neighbour did harm.
pub fn run(target: &Target, probes: &[Probe]) -> Vec<Finding> {
    probes.iter().map(|probe| Finding { probe: *probe, outcome: (probe.check)(target) }).collect()
}

pub fn faults(findings: &[Finding]) -> Vec<&Finding> {
    findings.iter().filter(|finding| finding.is_fault()).collect()
}

pub fn table(findings: &[Finding]) -> String {
    let mut out = String::new();
    for finding in findings {
        let Probe { id, level, requirement, .. } = finding.probe;
        let line = format!("{:<4} {:<6} {id:<34} {requirement}", finding.verdict(), level.name());
        let seen = finding.outcome.as_ref().err().map(|seen| format!("\n            saw: {seen}"));
        let _ = writeln!(out, "{line}{}", seen.unwrap_or_default());
    }
    out.push('\n');
    out + &summary(findings)
}

/// One line a family: passed of all, and how many of each level failed.
pub fn summary(findings: &[Finding]) -> String {
    let mut families: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in findings {
        families.entry(finding.probe.family()).or_default().push(finding);
    }
    let mut out =
        String::from("family        probes  passed  MUST failed  SHOULD failed  MAY no\n");
    let total: Vec<_> = findings.iter().collect();
    for (family, all) in families.into_iter().chain([("all", total)]) {
        let passed = all.iter().filter(|finding| finding.outcome.is_ok()).count();
        let failed =
            |level| all.iter().filter(|it| it.outcome.is_err() && it.probe.level == level).count();
        let _ = writeln!(
            out,
            "{family:<12}  {:>6}  {passed:>6}  {:>11}  {:>13}  {:>6}",
            all.len(),
            failed(Level::Must),
            failed(Level::Should),
            failed(Level::May),
        );
    }
    out
}

pub fn json(findings: &[Finding]) -> String {
    let items: Vec<_> = findings
        .iter()
        .map(|finding| {
            json!({
                "id": finding.probe.id,
                "family": finding.probe.family(),
                "level": finding.probe.level.name(),
                "requirement": finding.probe.requirement,
                "passed": finding.outcome.is_ok(),
                "seen": finding.outcome.as_ref().err(),
            })
        })
        .collect();
    let faults = faults(findings).len();
    let whole = json!({"probes": findings.len(), "faults": faults, "items": items});
    serde_json::to_string_pretty(&whole).expect("a report has only texts as keys")
}
