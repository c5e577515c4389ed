//! What the configuration takes out of requests, and adds to them.
//!
//! `[[collector.drop]]` cuts records by attributes of their resource or their own;
//! `[collector.resource_attributes]` adds attributes to every resource. Both change bytes, which
//! nothing else in the collector does, so requests take this path only if there is such a rule.
//!
//! Invariant: what a rule drops is counted as dropped by a rule; nothing leaves silently. The
//! watchdog's probes are no exception, so rules that would hide everything are found.

mod glob;
mod splice;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use watchdog_core::probe::PROBE_SERVICE;
use watchdog_core::tally::Signal;

use crate::memory::{Budget, Buffer, Held};
use crate::refusal::Refusal;
use glob::Glob;
use splice::Splice;

/// One `[[collector.drop]]`: records that match all of it are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DropRule {
    /// Only this signal; all if it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// Attributes of the resource, as `"service.name" = "noisy-*"`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, String>,
    /// Attributes of the span, log record or data point.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attribute: BTreeMap<String, String>,
}

impl DropRule {
    /// What is wrong with it.
    pub(crate) fn mistake(&self) -> Option<&'static str> {
        (self.resource.is_empty() && self.attribute.is_empty())
            .then_some("names neither a resource nor an attribute: it would drop everything")
    }

    /// Whether it would drop the watchdog's probes.
    #[must_use]
    pub fn hides_probes(&self) -> bool {
        let of_name = |(key, value): (&String, &String)| {
            key == "service.name" && Glob::new(value).matches(PROBE_SERVICE.as_bytes())
        };
        self.signal.is_none_or(|signal| signal == Signal::Traces)
            && self.attribute.is_empty()
            && self.resource.iter().all(of_name)
    }
}

/// The rules, ready to be applied.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    drops: Vec<Drop>,
    /// Attributes to add, each as an encoded field of a resource, by key.
    adds: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug)]
struct Drop {
    signal: Option<Signal>,
    resource: Pattern,
    record: Pattern,
}

/// Attributes that must all be there.
type Pattern = Vec<(Vec<u8>, Glob)>;

/// A request after the rules.
#[derive(Debug)]
pub(crate) struct Edited {
    pub(crate) bytes: Bytes,
    pub(crate) held: Held,
    /// Records that were cut out.
    pub(crate) dropped: u64,
}

impl Rules {
    pub(crate) fn new(drops: &[DropRule], adds: &BTreeMap<String, String>) -> Self {
        let pattern = |wanted: &BTreeMap<String, String>| {
            wanted.iter().map(|(key, value)| (key.as_bytes().to_vec(), Glob::new(value))).collect()
        };
        let drop = |rule: &DropRule| Drop {
            signal: rule.signal,
            resource: pattern(&rule.resource),
            record: pattern(&rule.attribute),
        };
        let add = |(key, value): (&String, &String)| {
            (key.as_bytes().to_vec(), splice::attribute(key, value))
        };
        Self { drops: drops.iter().map(drop).collect(), adds: adds.iter().map(add).collect() }
    }

    /// What the rules make of `request`, which was scanned; `None` if they leave it as it is.
    pub(crate) fn edit(
        &self,
        signal: Signal,
        request: &[u8],
        budget: &Budget,
        max: usize,
    ) -> Result<Option<Edited>, Refusal> {
        let drops = self.drops.iter().filter(|drop| drop.signal.is_none_or(|of| of == signal));
        let drops: Vec<&Drop> = drops.collect();
        if drops.is_empty() && self.adds.is_empty() {
            return Ok(None);
        }
        let mut splice = Splice::new(signal, drops, &self.adds, Buffer::new(budget, max)?);
        splice.request(request)?;
        Ok(splice.finish())
    }
}
