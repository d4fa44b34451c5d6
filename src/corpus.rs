//! The fuzzers' corpus, seeds and finds, tried again by the tests.

use std::fs;
use std::path::Path;

/// Tries each input that `fuzz/corpus` has for a target; returns their number.
pub(crate) fn each(target: &str, mut run: impl FnMut(&[u8])) -> usize {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&directory).unwrap();
    let paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    for path in &paths {
        run(&fs::read(path).unwrap());
    }
    paths.len()
}
