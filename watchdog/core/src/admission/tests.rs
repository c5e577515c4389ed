//! Each rule of admission, at its edge.

use super::*;
use crate::beat::Token;

fn service(name: &str) -> Service {
    Service::new(name).expect("a valid name")
}

fn beat(instance: &str, boot: &str, seq: u64) -> BeatBody {
    BeatBody {
        instance: Instance::new(instance).expect("a valid name"),
        boot: Boot::new(boot).expect("a valid name"),
        seq,
        token: Token::Number(seq),
        requests: None,
        errors: None,
        revision: None,
        leaving: false,
    }
}

fn admission() -> Admission {
    Admission::new(Bounds { services: 2, instances: 2 })
}

fn local(admission: &mut Admission, body: &BeatBody) -> Result<(), Refusal> {
    admission.admit(&service("a"), body, Seal::Unsigned, Origin::Loopback)
}

#[test]
fn the_same_or_an_older_seq_is_a_replay() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("i", "100-a", 7)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 7)), Err(Refusal::Replayed));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 6)), Err(Refusal::Replayed));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 8)), Ok(()));
}

#[test]
fn a_newer_boot_retires_the_older_for_ever() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("i", "100-a", 7)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "101-a", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 9)), Err(Refusal::OlderBoot));
    assert_eq!(local(&mut admission, &beat("i", "101-a", 2)), Ok(()));
}

#[test]
fn start_times_are_compared_as_numbers() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("i", "99-z", 7)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "x", 1)), Err(Refusal::BootWithoutStart));
}

#[test]
fn two_boots_of_one_millisecond_cannot_take_turns() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("i", "100-b", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100-a", 9)), Err(Refusal::OlderBoot));
    assert_eq!(local(&mut admission, &beat("i", "100-c", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100-b", 9)), Err(Refusal::OlderBoot));
}

#[test]
fn a_service_that_signed_once_must_sign_for_ever() {
    let mut admission = admission();
    let a = service("a");
    assert_eq!(local(&mut admission, &beat("i", "100", 1)), Ok(()));
    let signed = beat("i", "100", 2);
    assert_eq!(admission.admit(&a, &signed, Seal::Signed, Origin::Loopback), Ok(()));
    assert!(admission.is_signed(&a));
    assert_eq!(local(&mut admission, &beat("i", "100", 3)), Err(Refusal::Unsigned));
    assert_eq!(local(&mut admission, &beat("j", "100", 3)), Err(Refusal::Unsigned));
    let remote = beat("i", "100", 3);
    assert_eq!(admission.admit(&a, &remote, Seal::Signed, Origin::Remote), Ok(()));
}

#[test]
fn an_unsigned_beat_from_elsewhere_never_counts() {
    let mut admission = admission();
    let body = beat("i", "100", 1);
    let answer = admission.admit(&service("a"), &body, Seal::Unsigned, Origin::Remote);
    assert_eq!(answer, Err(Refusal::Unsigned));
    assert_eq!(local(&mut admission, &body), Ok(()), "a refused beat changes nothing");
}

#[test]
fn memory_is_bounded_per_service_and_over_all() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("i", "100", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("j", "100", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("k", "100", 1)), Err(Refusal::TooManyInstances));
    admission.forget(&service("a"), &Instance::new("i").expect("a valid name"));
    assert_eq!(local(&mut admission, &beat("k", "100", 1)), Ok(()));
    let body = beat("i", "100", 1);
    let unsigned = |admission: &mut Admission, name| {
        admission.admit(&service(name), &body, Seal::Unsigned, Origin::Loopback)
    };
    assert_eq!(unsigned(&mut admission, "b"), Ok(()));
    assert_eq!(unsigned(&mut admission, "c"), Err(Refusal::TooManyServices));
}

#[test]
fn the_place_of_an_instance_that_is_long_silent_goes_to_another() {
    let mut admission = admission();
    assert_eq!(local(&mut admission, &beat("old", "100", 1)), Ok(()));
    for seq in 1..=32 {
        assert_eq!(local(&mut admission, &beat("i", "100", seq)), Ok(()));
    }
    assert_eq!(local(&mut admission, &beat("new", "100", 1)), Ok(()));
    assert_eq!(local(&mut admission, &beat("i", "100", 32)), Err(Refusal::Replayed));
}
