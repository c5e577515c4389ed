//! `cargo +nightly fuzz run scan`, in `collector/`; what must hold is `properties::scan`.
#![no_main]

#[path = "../properties.rs"]
#[allow(dead_code, reason = "each target checks one property")]
mod properties;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| properties::scan(bytes));
