//! Probes of each signal are found in a request; what only looks like one is not.

use prost::Message as _;
use watchdog_core::probe::{
    ATTR_MAC, ATTR_RUN, ATTR_SEQ, ATTR_VALUE, POINT_RUN, PROBE_METRIC, PROBE_SERVICE,
};
use watchdog_core::tally::Signal;

use super::super::{Probe, Scanned};
use crate::samples::{self, field, text};

/// A request with `record` under a resource of `service`.
fn request(service: &str, record: &[u8]) -> Vec<u8> {
    let resource = field(1, &samples::resource(service).encode_to_vec());
    field(1, &[resource, field(2, &field(2, record))].concat())
}

fn probes(signal: Signal, request: &[u8]) -> Vec<Probe> {
    Scanned::of(signal, request).expect("valid").probes
}

/// A log record with the attributes of a probe.
fn log() -> Vec<u8> {
    [(ATTR_RUN, "r"), (ATTR_SEQ, "7"), (ATTR_VALUE, "42"), (ATTR_MAC, "00ff")]
        .map(|(key, value)| field(6, &text(key, value).encode_to_vec()))
        .concat()
}

/// A gauge point of `value` with `attribute`.
fn point(attribute: &str, value: i64) -> Vec<u8> {
    let attribute = field(7, &text(attribute, "r").encode_to_vec());
    field(1, &[&[0x31][..], &value.to_le_bytes(), &attribute].concat())
}

fn metric(points: &[u8]) -> Vec<u8> {
    [field(1, PROBE_METRIC.as_bytes()), field(5, points)].concat()
}

#[test]
fn a_probe_in_a_log_record_is_found_with_all_its_attributes() {
    let found = probes(Signal::Logs, &request(PROBE_SERVICE, &log()));
    let [probe] = found.as_slice() else { panic!("one probe, not {found:?}") };
    assert_eq!((probe.signal, probe.run.as_str()), (Signal::Logs, "r"));
    assert_eq!((&*probe.seq, &*probe.value, &*probe.mac), ("7", "42", "00ff"));
}

#[test]
fn a_probe_in_a_gauge_is_the_point_that_names_its_run() {
    let points = [point("other", 7), point(POINT_RUN, i64::MAX), point(POINT_RUN, 9)].concat();
    let found = probes(Signal::Metrics, &request(PROBE_SERVICE, &metric(&points)));
    let [probe] = found.as_slice() else { panic!("one probe, not {found:?}") };
    assert_eq!((probe.signal, probe.run.as_str()), (Signal::Metrics, "r"));
    assert_eq!((&*probe.seq, &*probe.value), ("", "9223372036854775807"));
}

#[test]
fn what_another_service_sends_is_no_probe_whatever_it_carries() {
    assert!(probes(Signal::Logs, &request("shop", &log())).is_empty());
    let metric = metric(&point(POINT_RUN, 1));
    assert!(probes(Signal::Metrics, &request("shop", &metric)).is_empty());
}

#[test]
fn half_a_probe_is_none() {
    let log = field(6, &text(ATTR_RUN, "r").encode_to_vec());
    assert!(probes(Signal::Logs, &request(PROBE_SERVICE, &log)).is_empty());
    let metric = metric(&point("other", 1));
    assert!(probes(Signal::Metrics, &request(PROBE_SERVICE, &metric)).is_empty());
}
