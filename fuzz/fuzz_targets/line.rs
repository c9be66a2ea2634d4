#![no_main]

#[path = "../src/check.rs"]
#[allow(dead_code, reason = "each target calls one of them")]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::line(bytes));
