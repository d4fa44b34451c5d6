//! The pictures of the README, taken of a pod at work: `UPDATE_GENERATED=1 cargo test --test e2e -- --ignored
//! page::picture` writes them anew.
