#!/usr/bin/env bash
# Fuzzes each target for a minute (SECONDS_EACH=…), from its corpus. What is found stays in fuzz/artifacts; put into
# fuzz/corpus it is tried by every `cargo test` from then on.
set -euo pipefail

cd "$(dirname "$0")/.."
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo 'fuzz: installing cargo-fuzz'
    cargo install --locked cargo-fuzz
fi
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo 'fuzz: installing the nightly toolchain, whose compiler counts what is reached'
    rustup toolchain install nightly --profile minimal
fi
# What the product forbids itself (unsafe code) leaves an address sanitizer nothing to find.
for target in ${TARGETS:-task done_map reply listing connections_ini router_name router_ticket router_head}; do
    printf '\n== fuzz: %s\n' "$target"
    # New inputs go beside the corpus, which is kept small by hand.
    mkdir -p "fuzz/target/found/$target"
    cargo +nightly fuzz run --sanitizer none "$target" "fuzz/target/found/$target" "fuzz/corpus/$target" -- \
        -max_total_time="${SECONDS_EACH:-60}" -max_len=16384 -timeout=5 -print_final_stats=1
done
