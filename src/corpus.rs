//! The fuzzers' corpus of seeds and findings, replayed by the tests.

use std::fs;
use std::path::Path;

/// Runs each input in a target's `fuzz/corpus`; returns their number.
pub(crate) fn each(target: &str, mut run: impl FnMut(&[u8])) -> usize {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in &paths {
        run(&fs::read(path).unwrap());
    }
    paths.len()
}
