#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| pattern_router::fuzz::name(bytes));
