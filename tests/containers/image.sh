#!/bin/bash
# The image: built with the project's own Dockerfile, then tried as an operator would. `make image-test`
#
# Needs root (or a docker that is there already), 6 GB of disk, and some 25 minutes of two cores the first time: the
# release build. NO_BUILD=1 tries the image that is there, BINARIES=target/debug one of programs that cargo has built. Exits 77 where
# it cannot run.
set -uo pipefail
source "$(dirname "$0")/lib.sh"

base_path=$cache/image-test.$$
name=ftp-pooler-image-test-$$
cleanup() { docker rm -f "$name" "$name-kafka" >/dev/null 2>&1; docker network rm "$name" >/dev/null 2>&1; docker volume rm "$name" >/dev/null 2>&1; rm -rf "$base_path"; }
trap cleanup EXIT

# What an operator would forbid it.
confined=(--read-only --cap-drop ALL --security-opt no-new-privileges --memory 256m --pids-limit 200)
label() { docker image inspect -f "{{index .Config.Labels \"org.opencontainers.image.$1\"}}" "$image"; }

build() {
    base_images
    if [ -n "${BINARIES-}" ]; then
        image_of_binaries "$BINARIES"
    else
        [ -n "${NO_BUILD-}" ] && have_image "$image" || project_image
    fi
}

metadata() {
    local wanted
    wanted=$(docker image inspect -f '{{.Config.User}}' "$image")
    [ "$wanted" = 65532:65532 ] && ok "runs as 65532:65532" || fail "user: $wanted"
    for key in title version licenses revision; do
        [ -n "$(label "$key")" ] && [ "$(label "$key")" != '<no value>' ] && ok "label $key: $(label "$key")" || fail "label $key is missing"
    done
    docker run --rm --entrypoint /bin/sh "$image" -c true >/dev/null 2>&1
    [ $? = 127 ] && ok "no shell in it" || fail "a shell is in it"
    [ -z "$(docker image inspect -f '{{range .Config.Env}}{{println .}}{{end}}' "$image" | grep LD_LIBRARY_PATH)" ] &&
        ok "no LD_LIBRARY_PATH: zlib is linked statically" || fail "LD_LIBRARY_PATH is set"
}

programs() {
    local program
    for program in ftp-pooler pattern-router frp-tunnels; do
        check "$program --version" docker run --rm "${confined[@]}" --entrypoint "/usr/local/bin/$program" "$image" --version
    done
    # what connections with `via` are carried by
    check "frpc --version" docker run --rm "${confined[@]}" --entrypoint /usr/local/bin/frpc "$image" --version
    [ -n "${BINARIES-}" ] || check "frp-tunnels operator" docker run --rm "${confined[@]}" --entrypoint /usr/local/bin/frp-tunnels "$image" operator --print-definitions
    [ -z "${BINARIES-}" ] || { note "the list of crates comes with the Dockerfile's build (cargo-auditable): not looked at"; return 0; }
    docker create --name "$name" "$image" >/dev/null
    docker cp "$name:/usr/local/bin/ftp-pooler" "$cache/ftp-pooler.audited" >/dev/null
    docker rm "$name" >/dev/null
    # cargo-auditable's section: what Trivy, Grype and `cargo audit bin` read.
    python3 - "$cache/ftp-pooler.audited" <<'PY' && ok "the binary lists its crates (cargo-auditable)" || fail "the binary lists no crates"
import json, subprocess, sys, tempfile, zlib
with tempfile.NamedTemporaryFile() as section:
    subprocess.run(["objcopy", "-O", "binary", "--only-section=.dep-v0", "--set-section-flags", ".dep-v0=alloc", sys.argv[1], section.name], check=True)
    packages = json.loads(zlib.decompress(open(section.name, "rb").read()))["packages"]
sys.exit("rdkafka-sys" not in [package["name"] for package in packages])
PY
    rm -f "$cache/ftp-pooler.audited"
}

without_configuration() {
    local out code
    out=$(docker run --rm "${confined[@]}" "$image" 2>&1)
    code=$?
    [ $code = 78 ] && grep -q 'config.yaml' <<<"$out" && grep -q 'init' <<<"$out" &&
        ok "without a configuration: exit 78, names the files and \`ftp-pooler init\`" || fail "without a configuration: exit $code: $out"
}

# A pod with a broker, healthy by the image's own HEALTHCHECK, stopped in order.
pod() {
    kafka_image
    mkdir -p "$base_path/config"
    docker network create "$name" >/dev/null
    docker run -d --name "$name-kafka" --network "$name" --network-alias kafka \
        -e KAFKA_NODE_ID=1 -e KAFKA_PROCESS_ROLES=broker,controller -e KAFKA_LISTENERS=PLAINTEXT://:9092,CONTROLLER://:9093 \
        -e KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://kafka:9092 -e KAFKA_LISTENER_SECURITY_PROTOCOL_MAP=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT \
        -e KAFKA_INTER_BROKER_LISTENER_NAME=PLAINTEXT -e KAFKA_CONTROLLER_LISTENER_NAMES=CONTROLLER -e KAFKA_CONTROLLER_QUORUM_VOTERS=1@localhost:9093 \
        -e KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR=1 -e KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR=1 -e KAFKA_TRANSACTION_STATE_LOG_MIN_ISR=1 \
        -e KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS=0 apache/kafka:4.1.0 >/dev/null
    cp "$project/config/config.yaml" "$base_path/config/"
    printf '[remote-ftp]\ntype = ftp\nhost = 127.0.0.1\nuser = x\npass = x\n\n[local]\ntype = local\nbase_path = /data/storage\n' >"$base_path/config/connections.ini"
    chmod -R a+rX "$base_path"
    local run=(docker run --network "$name" "${confined[@]}" -v "$base_path/config:/app/config:ro")
    local said
    said=$("${run[@]}" --rm "$image" topics --partitions 2 --replication-factor 1 --wait 4m 2>&1) && ok "topics: made" || fail "topics: $(tail -3 <<<"$said"); $(docker logs "$name-kafka" 2>&1 | tail -2)"
    "${run[@]}" -d --name "$name" -v "$name:/data/storage" "$image" >/dev/null
    within 60 healthy && ok "healthy by the image's HEALTHCHECK after $took s" || fail "HEALTHCHECK: $(docker logs "$name" 2>&1 | tail -3)"
    [ "$(docker exec "$name" /usr/local/bin/ftp-pooler health 2>&1; echo $?)" != "" ] && check "health in the container" docker exec "$name" /usr/local/bin/ftp-pooler health
    local pid status
    pid=$(docker inspect -f '{{.State.Pid}}' "$name")
    status=$(awk '/^(Uid|CapEff|NoNewPrivs|Seccomp):/ {print $2}' "/proc/$pid/status" 2>/dev/null | tr '\n' ' ')
    [ "$status" = "65532 0000000000000000 1 2 " ] && ok "user 65532, no capability, no new privileges, seccomp" || fail "process: $status"
    docker stop -t 60 "$name" >/dev/null
    [ "$(docker inspect -f '{{.State.ExitCode}}' "$name")" = 0 ] && ok "SIGTERM: exit 0" || fail "SIGTERM: exit $(docker inspect -f '{{.State.ExitCode}}' "$name")"
}
healthy() { [ "$(docker inspect -f '{{.State.Health.Status}}' "$name")" = healthy ]; }

need_packages "reading JSON and the binary" jq curl binutils
no_kubernetes
need_docker
build && metadata && programs && without_configuration && pod
verdict image-test "The image"
