#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ftp_listing::fuzz::listing(bytes));
