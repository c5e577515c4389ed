//! The fuzz properties on a stable compiler: the committed corpus, and seeded mutations of it.
//!
//! The same inputs in every run, so that a failure is found again. `HOLDPOINT_FUZZ_ROUNDS` sets
//! how many mutations each property sees; `cargo +nightly fuzz run` searches further.
//!
//! Invariant: an input that fails is printed in full, as hex, before the test ends.

#[path = "../../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::PathBuf;

const ROUNDS: u64 = 70_000;
const INPUT_BYTES_MAX: usize = 8 * 1_024;

/// splitmix64, by Sebastiano Vigna: enough for mutations, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// A place in `bytes`, or their end.
    fn place(&mut self, bytes: &[u8]) -> usize {
        self.below(bytes.len() + 1)
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("a readable entry").path())
        .collect();
    paths.sort();
    assert!(paths.len() > 5, "the corpus of {target} is there");
    paths.iter().map(|path| fs::read(path).expect("a readable file")).collect()
}

/// Changes `input` in one of the ways that break parsers.
fn mutate(input: &mut Vec<u8>, others: &[Vec<u8>], dice: &mut Dice) {
    const ODD: [u8; 12] = [0, 1, 0x7f, 0x80, 0xff, 0x0a, 0x12, b'"', b'{', b'}', b'[', b'\\'];

    let at = dice.place(input);
    match dice.below(8) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = dice.next() as u8,
        2 if at < input.len() => input[at] = input[at].wrapping_add(1),
        3 => input.insert(at, ODD[dice.below(ODD.len())]),
        4 => {
            let end = (at + 1 + dice.below(16)).min(input.len());
            input.drain(at..end);
        }
        5 => {
            let end = (at + dice.below(64)).min(input.len());
            let again = input[at..end].to_vec();
            input.splice(at..at, again);
        }
        6 => {
            let other = &others[dice.below(others.len())];
            let from = dice.place(other);
            let to = (from + dice.below(128)).min(other.len());
            input.splice(at..at, other[from..to].iter().copied());
        }
        7 => input.truncate(at),
        _ => {}
    }
    input.truncate(INPUT_BYTES_MAX);
}

fn check(property: fn(&[u8]), input: &[u8], name: &str) {
    let held = panic::catch_unwind(AssertUnwindSafe(|| property(input)));
    assert!(held.is_ok(), "{name}: this input fails: {}", hex::encode(input));
}

fn holds(target: &str, property: fn(&[u8])) {
    let corpus = corpus(target);
    for input in &corpus {
        check(property, input, target);
    }
    let rounds = std::env::var("HOLDPOINT_FUZZ_ROUNDS");
    let rounds = rounds.map_or(ROUNDS, |text| text.parse().expect("HOLDPOINT_FUZZ_ROUNDS"));
    let mut dice = Dice(0);
    for round in 0..rounds {
        let mut input = corpus[dice.below(corpus.len())].clone();
        for _ in 0..=dice.below(4) {
            mutate(&mut input, &corpus, &mut dice);
        }
        check(property, &input, &format!("{target}, round {round}"));
    }
}

#[test]
fn the_scan_judges_as_a_strict_decoder_does() {
    holds("scan", properties::scan);
}

#[test]
fn what_is_transcoded_scans_and_reads_alike() {
    holds("transcode", properties::transcode);
}

#[test]
fn what_is_inflated_is_what_others_inflate() {
    holds("gunzip", properties::gunzip);
}
