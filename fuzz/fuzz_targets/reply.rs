#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| ftp_pooler::ftp::fuzz::reply(bytes));
