#!/usr/bin/env bash
# The pattern router beside nginx: `make bench-router`, ROUNDS=6 SECONDS_EACH=5 SCENARIOS=k64,ws. Fails where the router costs more than it may.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/install-deps.sh router
cargo build --locked --profile router -p pattern-router --bin pattern-router --example load
target=${CARGO_TARGET_DIR:-target}/router
ROUTER=$(realpath "$target/pattern-router") LOAD=$(realpath "$target/examples/load") \
    exec python3 crates/pattern-router/benches/peers.py
