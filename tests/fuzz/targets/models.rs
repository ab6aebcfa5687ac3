//! Fuzzes `models` of `hermes_host::fuzzing`.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hermes_host::fuzzing::run("models", data));
