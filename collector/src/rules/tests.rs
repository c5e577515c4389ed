//! The splice against decoding, editing and encoding with `prost`.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;
use watchdog_core::tally::Signal;

use super::{DropRule, Edited, Rules};
use crate::memory::Budget;
use crate::refusal::Refusal;
use crate::samples;

const MIB: usize = 1 << 20;

fn edit(rules: &Rules, signal: Signal, bytes: &[u8]) -> Option<Edited> {
    rules.edit(signal, bytes, &Budget::new(64 * MIB), 32 * MIB).expect("it was scanned")
}

fn rule(signal: Option<Signal>, resource: &[(&str, &str)], record: &[(&str, &str)]) -> DropRule {
    let map = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    DropRule { signal, resource: map(resource), attribute: map(record) }
}

/// The rules as `prost` sees them.
struct Oracle<'a> {
    drops: Vec<&'a DropRule>,
    adds: &'a BTreeMap<String, String>,
}

fn shown(attribute: &KeyValue) -> Option<String> {
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::BoolValue(value) => Some(value.to_string()),
        Value::IntValue(value) => Some(value.to_string()),
        Value::DoubleValue(_)
        | Value::ArrayValue(_)
        | Value::KvlistValue(_)
        | Value::BytesValue(_)
        | Value::StringValueStrindex(_) => None,
    }
}

fn has_all(wanted: &BTreeMap<String, String>, attributes: &[KeyValue]) -> bool {
    wanted.iter().all(|(key, pattern)| {
        let glob = super::Glob::new(pattern);
        let mut found = attributes.iter().filter(|attribute| attribute.key == *key);
        found.any(|found| shown(found).is_some_and(|text| glob.matches(text.as_bytes())))
    })
}

impl Oracle<'_> {
    /// The rules that match a resource, which gets what is to be added.
    fn resource(&self, resource: &mut Option<Resource>) -> Vec<&DropRule> {
        let before = resource.clone().unwrap_or_default().attributes;
        for (key, value) in self.adds {
            if !before.iter().any(|attribute| attribute.key == *key) {
                let resource = resource.get_or_insert_with(Resource::default);
                resource.attributes.push(samples::text(key, value));
            }
        }
        self.drops.iter().filter(|rule| has_all(&rule.resource, &before)).copied().collect()
    }
}

/// Records that were kept and cut.
type Counts = (u64, u64);

/// Takes out of `list` what lost all its records.
fn prune<T>(list: &mut Vec<T>, mut each: impl FnMut(&mut T) -> Counts) -> Counts {
    let mut sum = (0, 0);
    list.retain_mut(|item| {
        let (kept, cut) = each(item);
        sum = (sum.0 + kept, sum.1 + cut);
        cut == 0 || kept > 0
    });
    sum
}

fn record(drops: &[&DropRule], attributes: &[KeyValue]) -> Counts {
    let gone = drops.iter().any(|drop| has_all(&drop.attribute, attributes));
    if gone { (0, 1) } else { (1, 0) }
}

fn points(data: &mut Data, drops: &[&DropRule]) -> Counts {
    match data {
        Data::Gauge(all) => prune(&mut all.data_points, |p| record(drops, &p.attributes)),
        Data::Sum(all) => prune(&mut all.data_points, |p| record(drops, &p.attributes)),
        Data::Histogram(all) => prune(&mut all.data_points, |p| record(drops, &p.attributes)),
        Data::ExponentialHistogram(all) => {
            prune(&mut all.data_points, |p| record(drops, &p.attributes))
        }
        Data::Summary(all) => prune(&mut all.data_points, |p| record(drops, &p.attributes)),
    }
}

impl Oracle<'_> {
    fn edit(&self, signal: Signal, bytes: &[u8]) -> (Vec<u8>, Counts) {
        match signal {
            Signal::Traces => {
                let mut request = ExportTraceServiceRequest::decode(bytes).expect("valid");
                let counts = prune(&mut request.resource_spans, |of| {
                    let drops = self.resource(&mut of.resource);
                    prune(&mut of.scope_spans, |scope| {
                        prune(&mut scope.spans, |span| record(&drops, &span.attributes))
                    })
                });
                (request.encode_to_vec(), counts)
            }
            Signal::Logs => {
                let mut request = ExportLogsServiceRequest::decode(bytes).expect("valid");
                let counts = prune(&mut request.resource_logs, |of| {
                    let drops = self.resource(&mut of.resource);
                    prune(&mut of.scope_logs, |scope| {
                        prune(&mut scope.log_records, |log| record(&drops, &log.attributes))
                    })
                });
                (request.encode_to_vec(), counts)
            }
            Signal::Metrics => {
                let mut request = ExportMetricsServiceRequest::decode(bytes).expect("valid");
                let counts = prune(&mut request.resource_metrics, |of| {
                    let drops = self.resource(&mut of.resource);
                    prune(&mut of.scope_metrics, |scope| {
                        prune(&mut scope.metrics, |metric: &mut Metric| {
                            metric.data.as_mut().map_or((0, 0), |data| points(data, &drops))
                        })
                    })
                });
                (request.encode_to_vec(), counts)
            }
        }
    }
}

/// As `prost` writes it, whose order of fields differs from other encoders'.
fn normal(signal: Signal, bytes: &[u8]) -> Vec<u8> {
    Oracle { drops: Vec::new(), adds: &BTreeMap::new() }.edit(signal, bytes).0
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, String>> {
    let key = prop_oneof![Just("service.name".to_owned()), "[a-z.]{0,2}"];
    let value =
        prop_oneof![Just("*".to_owned()), "[a-c]{0,2}[*]?", "-?[0-9]?", Just("true".into())];
    prop::collection::btree_map(key, value, 0..2)
}

fn drop_rule() -> impl Strategy<Value = DropRule> {
    let signal = prop::option::of(prop::sample::select(Signal::ALL.as_slice()));
    (signal, pairs(), pairs()).prop_map(|(signal, resource, attribute)| DropRule {
        signal,
        resource,
        attribute,
    })
}

proptest! {
    #[test]
    fn a_splice_is_what_decoding_editing_and_encoding_gives(
        (signal, bytes) in samples::encoded(),
        drops in prop::collection::vec(drop_rule(), 0..3),
        adds in prop::collection::btree_map("[a-z.]{0,2}", ".{0,4}", 0..3),
    ) {
        let wanted = drops.iter().filter(|rule| rule.signal.is_none_or(|of| of == signal));
        let oracle = Oracle { drops: wanted.collect(), adds: &adds };
        let (expected, (_, cut)) = oracle.edit(signal, &bytes);
        match edit(&Rules::new(&drops, &adds), signal, &bytes) {
            None => prop_assert_eq!(expected, normal(signal, &bytes)),
            Some(edited) => {
                prop_assert_eq!(normal(signal, &edited.bytes), expected);
                prop_assert_eq!(edited.dropped, cut);
            }
        }
    }
}

#[test]
fn every_field_of_what_is_kept_stays_as_it_was() {
    let adds = BTreeMap::from([("new.key".to_owned(), "x".to_owned())]);
    for signal in Signal::ALL {
        let bytes = samples::full(signal);
        let drops = [rule(None, &[], &[("no such key", "*")])];
        assert!(edit(&Rules::new(&drops, &BTreeMap::new()), signal, &bytes).is_none());
        let edited = edit(&Rules::new(&[], &adds), signal, &bytes).expect("something is added");
        let oracle = Oracle { drops: Vec::new(), adds: &adds };
        assert_eq!(normal(signal, &edited.bytes), oracle.edit(signal, &bytes).0);
        assert_eq!(edited.dropped, 0);
    }
}

#[test]
fn unknown_fields_survive_and_lengths_of_several_bytes_are_right() {
    let mut request = samples::spans("shop", 3, 0);
    request.resource_spans[0].scope_spans[0].spans[1].attributes = vec![samples::text("a", "b")];
    request.resource_spans[0].scope_spans[0].spans[2].name = "x".repeat(70_000);
    let unknown = samples::field(99, b"kept");
    let bytes = [request.encode_to_vec(), unknown.clone()].concat();
    let drops = [rule(Some(Signal::Traces), &[("service.name", "s*")], &[("a", "?")])];
    let edited = edit(&Rules::new(&drops, &BTreeMap::new()), Signal::Traces, &bytes);
    let edited = edited.expect("one span goes");
    assert_eq!(edited.dropped, 1);
    assert!(edited.bytes.ends_with(&unknown));
    request.resource_spans[0].scope_spans[0].spans.remove(1);
    assert_eq!(normal(Signal::Traces, &edited.bytes), request.encode_to_vec());
}

#[test]
fn what_is_added_is_bounded_like_every_request() {
    let adds = BTreeMap::from([("key".to_owned(), "x".repeat(100))]);
    let many = samples::field(1, b"").repeat(1_000);
    let rules = Rules::new(&[], &adds);
    let refused = rules.edit(Signal::Traces, &many, &Budget::new(MIB), 10_000);
    assert_eq!(refused.expect_err("too much"), Refusal::TooLarge { max: 10_000 });
}

#[test]
fn a_rule_that_hides_the_probes_is_known() {
    assert!(rule(None, &[("service.name", "*")], &[]).hides_probes());
    assert!(rule(Some(Signal::Traces), &[("service.name", "holdpoint.*")], &[]).hides_probes());
    assert!(!rule(Some(Signal::Logs), &[("service.name", "*")], &[]).hides_probes());
    assert!(!rule(None, &[("service.name", "shop")], &[]).hides_probes());
    assert!(!rule(None, &[("service.name", "*")], &[("http.route", "*")]).hides_probes());
    assert!(rule(None, &[], &[]).mistake().is_some());
}
