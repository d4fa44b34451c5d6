#!/usr/bin/env bash
# `make bench`: the release build on a real Kafka and vsftpd, side by side with what people use today.
set -euo pipefail

cd "$(dirname "$0")/.."
scripts/install-deps.sh bench
cargo build --release --locked
# The harness itself is built like the tests are: what is measured is the release build.
FTP_POOLER_TEST_BINARY=${FTP_POOLER_TEST_BINARY:-${CARGO_TARGET_DIR:-target}/release/ftp-pooler} \
    cargo bench --quiet --locked --profile dev --bench peers -- "$@"
