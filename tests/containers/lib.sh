# shellcheck shell=bash
# What image.sh, compose.sh, cluster.sh and fresh.sh share: results, waiting, packages, the container engine.
# Sourced, with `set -uo pipefail` in the script that sources it.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
project=$(cd "$here/../.." && pwd)
# What is built once and kept: binaries, base images' files. Outside the tree, and shared by all checkouts.
cache=${FTP_POOLER_CONTAINERS_CACHE:-/var/cache/ftp-pooler-containers}
image=ftp-pooler:$(sed -n 's/^version = "\(.*\)"/\1/p' "$project/Cargo.toml" | head -1)
previous=${image%:*}:previous
export DOCKER_BUILDKIT=1

passed=0 failed=0 took=0 report=()
say() { printf '%s %s\n' "$(date +%T)" "$*"; }
ok() { passed=$((passed + 1)); say "ok      $*"; report+=("| ok | $* |"); }
fail() { failed=$((failed + 1)); say "FAILED  $*"; report+=("| **failed** | $* |"); }
note() { say "        $*"; report+=("| | $* |"); }
# check WHAT COMMAND…: ok where the command succeeds
check() { local what=$1; shift; if "$@" >/dev/null 2>&1; then ok "$what"; else fail "$what"; fi; }
# within SECONDS COMMAND…: waits until the command succeeds; $took says how long it took
within() {
    local limit=$1 start=$SECONDS
    shift
    until "$@" >/dev/null 2>&1; do
        [ $((SECONDS - start)) -lt "$limit" ] || return 1
        sleep 0.5
    done
    took=$((SECONDS - start))
}
# A missing prerequisite is no failure of the product: exit 77, as automake's test runner has it.
cannot() { say "cannot run here: $*"; exit 77; }

# Replaces the part of docs/TEST_REPORT.md between this test's markers. write_report NAME TITLE
write_report() {
    [ -n "${REPORT-}" ] || return 0
    {
        printf '<!-- %s: begin -->\n## %s\n\n' "$1" "$2"
        printf '`make %s` on %s, commit %s, %s cores: %s passed, %s failed, %s s.\n\n| | |\n|---|---|\n' "$1" "$(date -u +%F)" \
            "$(git -C "$project" rev-parse --short HEAD 2>/dev/null || echo unknown)" "$(nproc)" "$passed" "$failed" "$SECONDS"
        printf '%s\n' "${report[@]}"
        printf '<!-- %s: end -->\n' "$1"
    } >"$cache/report.$1"
    python3 - "$project/docs/TEST_REPORT.md" "$cache/report.$1" "$1" <<'PY'
import re, sys
document, part, name = sys.argv[1:]
text, new = open(document).read(), open(part).read()
pattern = re.compile(rf"<!-- {name}: begin -->.*?<!-- {name}: end -->\n", re.S)
text = pattern.sub(lambda _: new, text) if pattern.search(text) else text.rstrip("\n") + "\n\n" + new
open(document, "w").write(text)
PY
}

# The last lines and the exit code of a test. verdict NAME TITLE
verdict() {
    write_report "$1" "$2"
    say "took $SECONDS s"
    echo "$passed passed, $failed failed"
    [ "$failed" = 0 ]
}

need_root() { [ "$(id -u)" = 0 ] || cannot "needs root: $1"; }

# need_packages REASON PACKAGE…: installs those of Debian that are missing
need_packages() {
    local reason=$1 package missing=()
    shift
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    command -v apt-get >/dev/null || cannot "${missing[*]} missing ($reason), and this is not Debian"
    say "installing ${missing[*]}: $reason"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends "${missing[@]}" >/dev/null ||
        cannot "the packages could not be installed"
}

# Building needs BuildKit: a client of version 23 or later has it as the plugin buildx, Debian's 20.10 has it inside.
docker_client=docker
command docker buildx version >/dev/null 2>&1 || [ ! -x /usr/bin/docker ] || docker_client=/usr/bin/docker
docker() { command "$docker_client" "$@"; }
export -f docker
export docker_client

# The engine that is there, or dockerd started for as long as the machine runs.
need_docker() {
    mkdir -p "$cache"
    docker info >/dev/null 2>&1 && return
    need_root "a container engine"
    need_packages "the container engine" docker.io
    docker info >/dev/null 2>&1 && return
    say "starting dockerd"
    setsid dockerd >"$cache/dockerd.log" 2>&1 </dev/null &
    within 60 docker info || cannot "dockerd does not start: $(tail -3 "$cache/dockerd.log")"
}

# kube-router writes the whole filter table anew: what docker adds to it meanwhile can be lost, and with it a network between containers.
no_kubernetes() { ! iptables-save 2>/dev/null | grep -q '^:KUBE-' || cannot "a Kubernetes uses this machine's iptables (tests/containers/kube/down.sh ends the one of cluster-test)"; }

have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# pull_or_make IMAGE COMMAND…: the image of the registry where it can be pulled, else what the command makes
pull_or_make() {
    local name=$1
    shift
    have_image "$name" && return
    if [ "${PULL-yes}" = yes ] && timeout 120 docker pull -q "$name" >/dev/null 2>&1; then
        say "pulled $name"
        return
    fi
    say "making a stand-in for $name (once)"
    "$@" >"$cache/image.log" 2>&1 || { tail -20 "$cache/image.log"; cannot "no image $name"; }
}

base_images() {
    need_packages "base images from Debian's packages" debootstrap
    pull_or_make debian:bookworm-slim "$here/images/bases.sh" "$cache" debian
    pull_or_make rust:1.89-bookworm "$here/images/bases.sh" "$cache" rust
    pull_or_make golang:1.25-bookworm "$here/images/bases.sh" "$cache" golang
    pull_or_make gcr.io/distroless/cc-debian12:nonroot "$here/images/bases.sh" "$cache" distroless
}

kafka_image() { pull_or_make apache/kafka:4.1.0 "$here/images/kafka.sh" "$cache"; }

# The project's image, by its own Dockerfile.
project_image() {
    local start=$SECONDS
    say "building $image with the project's Dockerfile"
    docker build -t "$image" --build-arg REVISION="$(git -C "$project" rev-parse HEAD 2>/dev/null)" "$project" >"$cache/build.log" 2>&1 ||
        { tail -30 "$cache/build.log"; fail "docker build"; return 1; }
    ok "docker build of $image: $((SECONDS - start)) s, $(docker image inspect -f '{{.Size}}' "$image" | awk '{printf "%.1f MB", $1 / 1e6}')"
}

# The same image of programs that are built already, on the Dockerfile's base: minutes instead of a release build, where the pool and not
# its Dockerfile is looked at. image_of_binaries DIRECTORY
image_of_binaries() {
    local tree=$cache/binaries program
    say "making $image of the programs in $1"
    rm -rf "$tree"
    mkdir -p "$tree/usr/local/bin" "$tree/data/storage"
    for program in ftp-pooler pattern-router frp-tunnels; do strip -o "$tree/usr/local/bin/$program" "$1/$program" || { fail "no $program in $1"; return 1; }; done
    cp "${FTP_POOLER_DEPS:-$project/.deps}/frp/frpc" "$tree/usr/local/bin/" || { fail "no frpc: scripts/install-deps.sh"; return 1; }
    # What the Dockerfile says after its last FROM, with other places to copy from.
    sed -n '/^FROM gcr.io/,$p' "$project/Dockerfile" | sed -E 's/ --from=build//; s# /out/usr/local # /usr/local #; s# /out/data # /data #; /--from=frp/d' >"$tree/Dockerfile"
    docker build -q -t "$image" --build-arg REVISION="$(git -C "$project" rev-parse HEAD 2>/dev/null)" "$tree" >/dev/null || { fail "no image of $1"; return 1; }
    rm -rf "$tree"
    note "$image of programs that were built already ($("$1/ftp-pooler" --version)), not of the Dockerfile"
}

# The image of an earlier commit, by its own Dockerfile, for upgrades. previous_image REVISION
previous_image() {
    local commit tree=$cache/previous start=$SECONDS
    commit=$(git -C "$project" rev-parse --verify "$1^{commit}" 2>/dev/null) || cannot "PREVIOUS=$1 is no commit"
    [ "$(docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$previous" 2>/dev/null)" = "$commit" ] && return
    say "building $previous of commit ${commit:0:12}"
    rm -rf "$tree"
    mkdir -p "$tree"
    # As old as this moment: cargo's cache is shared by builds, and cargo believes times.
    git -C "$project" archive "$commit" | tar -x -m -C "$tree"
    docker build -t "$previous" --build-arg REVISION="$commit" "$tree" >"$cache/build-previous.log" 2>&1 || { tail -30 "$cache/build-previous.log"; cannot "PREVIOUS=$1 does not build"; }
    rm -rf "$tree"
    note "docker build of $previous: $((SECONDS - start)) s"
}
