//! `cargo +nightly fuzz run gunzip`, in `collector/`; what must hold is `properties::gunzip`.
#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target checks one property")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::gunzip(bytes));
