#!/usr/bin/env bash
# Runs the suite and chaos, and writes docs/TEST_REPORT.md from what was seen: counts, figures, and the kind of
# machine, without names. `SUITE=0` leaves the suite out.
#
#   scripts/test-report.sh [TASKS=100000] [PODS=4] [SEED=7]
set -uo pipefail

cd "$(dirname "$0")/.." || exit
report=docs/TEST_REPORT.md
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tasks=15000 pods=4 seed=$RANDOM
for setting in "$@"; do
    case $setting in
        TASKS=*) tasks=${setting#*=} ;;
        PODS=*) pods=${setting#*=} ;;
        SEED=*) seed=${setting#*=} ;;
        *)
            printf 'unknown: %s; TASKS, PODS and SEED can be set\n' "$setting" >&2
            exit 2
            ;;
    esac
done

# One line for each test binary: its file, and its counts.
suite_table() {
    awk '
        / Running / { match($0, /Running (unittests )?[^ ]+/); name = substr($0, RSTART + 8, RLENGTH - 8); sub(/^unittests /, "", name) }
        / Doc-tests / { name = "doc-tests" }
        /^test result:/ {
            for (i = 1; i <= NF; i++) {
                if ($i == "passed;") passed[name] += $(i - 1)
                if ($i == "failed;") failed[name] += $(i - 1)
            }
            seconds = $NF; sub(/s$/, "", seconds); took[name] += seconds
            if (!(name in seen)) { seen[name] = 1; order[++n] = name }
        }
        END {
            print "| Tests | passed | failed | seconds |"
            print "|---|---|---|---|"
            for (i = 1; i <= n; i++) {
                name = order[i]
                if (passed[name] + failed[name] == 0) continue
                printf "| `%s` | %d | %d | %.0f |\n", name, passed[name], failed[name], took[name]
                all += passed[name]; bad += failed[name]; time += took[name]
            }
            printf "| all | %d | %d | %.0f |\n", all, bad, time
        }' "$1"
}

# The row that a chaos run adds, whether it succeeds or not, and how it ended.
chaos() {
    printf '\n== chaos: %s\n' "$*"
    env "${@/#/FTP_POOLER_CHAOS_}" FTP_POOLER_CHAOS_REPORT="$work/rows" \
        cargo test --locked --test chaos -- --ignored --exact --nocapture \
        every_task_is_answered_once_whatever_dies 2>&1 | tee "$work/run.log"
    local status=${PIPESTATUS[0]} why
    why=$(grep -aA1 -m 1 'panicked at' "$work/run.log" | tail -n 1 | cut -c 1-300)
    {
        grep -aE '^chaos: seed [0-9]+: ' "$work/run.log" || printf 'chaos: %s: no figures\n' "$*"
        if [ "$status" = 0 ]; then printf '       green\n'; else printf '       red: %s\n' "$why"; fi
    } >>"$work/said"
}

machine() {
    local cpus memory
    cpus=$(nproc)
    memory=$(awk '/^MemTotal/ { printf "%.0f", $2 / 1048576 }' /proc/meminfo)
    printf '%s processors, %s GiB of memory, Linux %s, files on %s; %s; load %s when it began.' \
        "$cpus" "$memory" "$(uname -r | cut -d- -f1)" "$(stat -f -c %T .)" "$(rustc --version | cut -d' ' -f1,2)" \
        "$(cut -d' ' -f1 /proc/loadavg)"
}

# The report itself does not count.
changed=$(git status --porcelain -- . ":!$report" | grep -q . && echo ', with changes that are not committed')
commit="$(git rev-parse --short HEAD)$changed"
machine=$(machine)
date=$(date -u +%Y-%m-%d)

if [ "${SUITE:-1}" != 0 ]; then
    scripts/test.sh 2>&1 | tee "$work/suite.log"
    suite=${PIPESTATUS[0]}
fi
chaos "TASKS=$tasks" "PODS=$pods" "SEED=$seed"
chaos TASKS=3000 PODS=3 "SEED=$seed"
chaos TASKS=3000 PODS=3 "SEED=$seed" DELIVERY=at_least_once
chaos TASKS=6000 PODS=3 BROKERS=3 "SEED=$seed"
chaos TASKS=6000 PODS=3 NET=1 "SEED=$seed"

{
    cat <<TEXT
# Test report

All of this was written by \`scripts/test-report.sh TASKS=$tasks PODS=$pods SEED=$seed\` on $date, of commit $commit. The machine:
$machine Apache Kafka is a single node on the same machine, or three with a replica of everything at each; the FTP servers are three vsftpd.

## Chaos

Pods, broker and FTP servers are killed, frozen, restarted, added and removed while tasks are worked on; then every
answer and every file is audited ([tests/README.md](../tests/README.md)). With \`exactly_once\` lost, duplicated,
wrong and left must be 0. The run with \`at_least_once\` is there to show that the audit finds what is to be found:
duplicates are allowed there, and expected, so that it ends red.

| Delivery | Brokers | Seed | Pods | Tasks | Answers | Lost | Duplicated | Wrong files | Temp files left | Kills | Rebalances | Aborted transactions | Seconds |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
TEXT
    cat "$work/rows"
    printf '\nThe longest time without an answer after each kind of event, while tasks waited:\n\n'
    printf '| Run | Event | Times | Longest gap, seconds |\n|---|---|---|---|\n'
    cat "$work/rows.gaps"
    printf '\nWhat the runs said:\n\n```text\n'
    cat "$work/said"
    printf '```\n'
    if [ -s "$work/suite.log" ]; then
        # shellcheck disable=SC2016 # Markdown's backticks
        printf '\n## The suite\n\n`make test`, right before chaos, of the same commit; it ended %s.\n\n' \
            "$([ "$suite" = 0 ] && echo green || echo red)"
        suite_table "$work/suite.log"
    fi
} >"$report"
printf '\n%s is written\n' "$report"
