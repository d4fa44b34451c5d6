#!/usr/bin/env bash
# All tests: those that need nothing, then the end-to-end suite on a real Kafka and a real vsftpd, its page in a real browser.
# Says which step failed, and where the logs of its processes are.
set -uo pipefail

cd "$(dirname "$0")/.." || exit
# Two at once: more would only make a small machine's brokers and servers wait for each other.
threads=${FTP_POOLER_TEST_THREADS:-2}
kept=${CARGO_TARGET_DIR:-target}/tmp/e2e

step() {
    local name=$1
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    "$@" && return
    printf '\n== FAILED: %s\n   again: %s\n' "$name" "$*" >&2
    if compgen -G "$kept/*" >/dev/null; then
        printf '   what the failed tests kept, logs among it:\n' >&2
        printf '     %s\n' "$kept"/* >&2
    fi
    exit 1
}

step 'build' cargo test --locked --no-run
step 'unit and property tests' cargo test --locked
# Each suite runs whatever became of the one before: one run names all that fails.
# `make router-cost` has the one that builds the router as it is shipped.
step 'end to end, on Kafka and vsftpd, and in Chromium' cargo test --locked --no-fail-fast --tests -- --ignored --test-threads="$threads" \
    --skip cost::a_request_with_a_session_takes_no_more_instructions
