//! What clients were told, held against what the store has at the end.

use std::collections::BTreeMap;
use std::time::Instant;

use agent_gate::store::AuditRow;
use agent_gate::store::chain::{Head, broken_at};
use serde_json::Value;

use super::process::Door;

#[derive(Debug)]
pub struct Permit {
    pub service: String,
    /// For the message of a failure.
    #[allow(dead_code, reason = "it is printed with the rest")]
    pub epoch: u64,
    pub asked: Instant,
    pub read: Instant,
}

#[derive(Debug)]
pub struct Freeze {
    pub id: String,
    pub scope: String,
    pub answered: Instant,
    /// When a thaw was first asked for; from then on it may be over.
    pub thaw_sent: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct Books {
    pub permits: Vec<Permit>,
    pub freezes: Vec<Freeze>,
    /// Ids of all decisions that were answered, with the word if it was answered first there.
    pub decisions: Vec<(String, Option<String>)>,
}

impl Books {
    /// A thaw of `id` is about to be asked for.
    pub fn thaws(&mut self, id: &str) {
        if let Some(freeze) = self.freezes.iter_mut().find(|freeze| freeze.id == id) {
            freeze.thaw_sent.get_or_insert_with(Instant::now);
        }
    }

    /// Permits that were asked for after a freeze of their scope was answered, and read before
    /// anybody asked to thaw it.
    pub fn granted_while_frozen(&self) -> Vec<(&Permit, &Freeze)> {
        let covers = |freeze: &Freeze, permit: &Permit| {
            freeze.scope == "fleet" || freeze.scope == format!("service={}", permit.service)
        };
        let pairs = self.freezes.iter().flat_map(|freeze| {
            let during = move |permit: &&Permit| {
                permit.asked >= freeze.answered
                    && freeze.thaw_sent.is_none_or(|thaw| permit.read <= thaw)
            };
            let permits = self.permits.iter().filter(during);
            permits.map(move |permit| (permit, freeze))
        });
        pairs.filter(|(permit, freeze)| covers(freeze, permit)).collect()
    }

    /// Holds everything against what the gate behind `door` has.
    pub fn assert_kept(&self, door: &Door) {
        let frozen = self.granted_while_frozen();
        assert!(frozen.is_empty(), "granted while frozen: {frozen:?}");
        let freezes = pages(door, "/v1/freezes?all=true");
        let kept: BTreeMap<&str, &Value> =
            freezes.iter().map(|freeze| (freeze["id"].as_str().unwrap(), freeze)).collect();
        for freeze in &self.freezes {
            let found = kept.get(freeze.id.as_str());
            let found = found.unwrap_or_else(|| panic!("answered and lost: {freeze:?}"));
            assert_eq!(found["scope"], freeze.scope, "{freeze:?}");
            let may_be_over = freeze.thaw_sent.is_some() || found["thawed"].is_null();
            assert!(may_be_over, "nobody thawed it: {found}");
        }
        let decisions = pages(door, "/v1/decisions");
        let kept: BTreeMap<&str, &Value> =
            decisions.iter().map(|row| (row["id"].as_str().unwrap(), row)).collect();
        for (id, decision) in &self.decisions {
            let found = kept.get(id.as_str());
            let found = found.unwrap_or_else(|| panic!("answered and unrecorded: {id}"));
            let Some(decision) = decision else { continue };
            let is_same = found["decision"] == **decision;
            // A permit that a freeze overtook on its way is recorded as allowed and told as a hold.
            assert!(is_same || (found["decision"] == "allow" && *decision == "hold"), "{found}");
        }
        assert_none_allowed_while_frozen(&decisions, &freezes);
        assert_chained(door);
    }
}

/// The same by the gate's own clock, for its own freezes too.
fn assert_none_allowed_while_frozen(decisions: &[Value], freezes: &[Value]) {
    let ms = |value: &Value| value.as_u64().expect("a time");
    for freeze in freezes {
        let from = ms(&freeze["at_ms"]);
        let until = freeze["thawed"]["at_ms"].as_u64().unwrap_or(u64::MAX);
        let during = |row: &&Value| {
            let at = ms(&row["at_ms"]);
            // The end of a bake is an `allow` too, and grants nothing.
            let grants = row["decision"] == "allow" && row["reasons"][0]["code"] == "clear";
            grants && from < at && at < until
        };
        for row in decisions.iter().filter(during) {
            let scope = freeze["scope"].as_str().unwrap();
            let of_it = scope.strip_prefix("service=") == row["service"].as_str();
            assert!(scope != "fleet" && !of_it, "{row} was allowed under {freeze}");
        }
    }
}

/// The whole journal, read over the API, is one chain.
fn assert_chained(door: &Door) {
    let (mut head, mut count) = (Head::START, 0);
    loop {
        let page = page(door, &format!("/v1/audit?limit=1000&after={}", head.seq));
        let rows: Vec<AuditRow> = page["items"].as_array().unwrap().iter().map(row).collect();
        assert_eq!(broken_at(head, &rows), None);
        let Some(last) = rows.last() else { break };
        count += rows.len();
        head = Head { seq: last.seq, hash: last.hash.clone().try_into().expect("32 bytes") };
    }
    assert!(count > 0, "there is a journal");
}

fn row(item: &Value) -> AuditRow {
    let bytes = |key: &str| hex::decode(item[key].as_str().unwrap()).expect("hex");
    AuditRow {
        seq: item["seq"].as_u64().unwrap(),
        record: item["record"].as_str().unwrap().to_owned(),
        prev: bytes("prev"),
        hash: bytes("hash"),
    }
}

/// All items of a list that is newest first.
fn pages(door: &Door, path: &str) -> Vec<Value> {
    let mut items: Vec<Value> = Vec::new();
    let join = if path.contains('?') { '&' } else { '?' };
    loop {
        let before = items.last().map(|item| item["id"].as_str().unwrap().to_owned());
        let path = match (&before, path.starts_with("/v1/freezes")) {
            (_, true) => path.to_owned(),
            (Some(before), false) => format!("{path}{join}limit=1000&before={before}"),
            (None, false) => format!("{path}{join}limit=1000"),
        };
        let page = page(door, &path);
        items.extend(page["items"].as_array().expect("a list").iter().cloned());
        if page["next"].is_null() {
            return items;
        }
    }
}

fn page(door: &Door, path: &str) -> Value {
    let told = door.call("viewer", "GET", path, &Value::Null).expect("the gate answers");
    assert_eq!(told.status, 200, "{path}: {}", told.body);
    told.body
}
