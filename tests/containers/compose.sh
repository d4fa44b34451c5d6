#!/bin/bash
# docker-compose.yml as it is, with its e2e service. `make compose-test`
#
# Needs root (or a docker that exists already) and 8 GB of disk; builds the image where it is not there yet (25 minutes of
# two cores the first time). BINARIES=target/debug makes it of programs that cargo has built instead. The ports of the file (8000, 8080,
# 8081, 9091, 3000, 29092) must be free. Exits 77 where it cannot run.
set -uo pipefail
source "$(dirname "$0")/lib.sh"

# A project name of its own: what it takes down is what it started.
export COMPOSE_PROJECT_NAME=ftp-pooler-compose-test
cd "$project" || exit
compose() { docker compose "$@"; }

need_packages "reading JSON, asking pods" jq curl
no_kubernetes
need_docker
if ! docker compose version >/dev/null 2>&1; then
    say "building docker's compose plugin (once)"
    "$here/images/plugins.sh" "$cache/plugins" >"$cache/plugins.log" 2>&1 || cannot "no compose plugin: $(tail -3 "$cache/plugins.log")"
    export DOCKER_CONFIG=$cache/docker
    mkdir -p "$DOCKER_CONFIG/cli-plugins"
    ln -sf "$cache/plugins/docker-compose" "$DOCKER_CONFIG/cli-plugins/docker-compose"
fi
base_images
kafka_image
pull_or_make prom/prometheus:v3.5.0 "$here/images/prometheus.sh" "$cache"
# Its page needs a build by yarn that no package registry has: where it cannot be pulled, something holds its place.
pull_or_make grafana/grafana:12.1.0 docker build -q -t grafana/grafana:12.1.0 "$here/images/grafana"
build=(--build)
if [ -n "${BINARIES-}" ]; then
    image_of_binaries "$BINARIES" || cannot "no image"
    docker build -q -t ftp-pooler-ftp-server:test "$project/k8s/test/ftp-server" >/dev/null
    export FTP_POOLER_TAG=${image##*:}
    build=()
fi
cleanup() { compose --profile e2e down -v --remove-orphans >/dev/null 2>&1; }
trap cleanup EXIT
cleanup

e2e_service() {
    local start=$SECONDS output code
    output=$(timeout 3600 docker compose up "${build[@]}" --abort-on-container-exit --exit-code-from e2e e2e 2>&1)
    code=$?
    [ $code = 0 ] && ok "the e2e service: exit 0 in $((SECONDS - start)) s" || { fail "e2e: exit $code"; tail -40 <<<"$output"; }
    grep -iE 'deprecat|obsolete' <<<"$output" | sort -u | while read -r line; do note "$line"; done
    compose --profile e2e down -v >/dev/null 2>&1
}

all_healthy() {
    [ "$(compose ps -q pooler-0 pooler-1 kafka | xargs "$docker_client" inspect -f '{{.State.Health.Status}}' | grep -c '^healthy$')" = 3 ]
}
# Not grep -q: it would leave before curl has written all.
page() { curl -sf "$@" | grep -i '<!doctype html' >/dev/null; }
pods_ready() { curl -sf http://127.0.0.1:8080/ready && curl -sf http://127.0.0.1:8081/ready; }

everything() {
    local start=$SECONDS output
    output=$(compose up "${build[@]}" -d 2>&1) && ok "up -d in $((SECONDS - start)) s" || { fail "up -d"; tail -3 <<<"$output"; compose logs topics 2>&1 | tail -5; }
    within 90 pods_ready && ok "both pods ready on 8080 and 8081 (after $took s)" || fail "pods ready"
    page http://127.0.0.1:8080/ && ok "a pod's page" || fail "a pod's page"
    for pod in pooler-0 pooler-1; do
        page -H "Host: 8080-$pod.localhost:8000" http://127.0.0.1:8000/ &&
            ok "$pod's page through the router" || fail "$pod's page through the router"
    done
    within 60 all_healthy && ok "healthy: kafka, pooler-0, pooler-1" || fail "health: $(compose ps)"
    check "compose exec … lag" compose exec -T pooler-0 /usr/local/bin/ftp-pooler lag
}

even_spread() {
    local counts
    counts=$(for port in 8080 8081; do curl -sf "http://127.0.0.1:$port/api/v1/partitions" | jq '[.partitions[] | select(.topic == "ftp-tasks")] | length'; done | sort -n | tr '\n' ' ')
    [ "$counts" = "6 6 " ] && ok "12 input partitions: 6 and 6" || fail "input partitions by pod: $counts"
}

targets() { [ "$(curl -sf http://127.0.0.1:9091/api/v1/targets | jq '[.data.activeTargets[] | select(.health == "up")] | length')" -ge 2 ]; }
prometheus() {
    within 60 targets && ok "Prometheus scrapes both pods" || fail "targets: $(curl -s http://127.0.0.1:9091/api/v1/targets | head -c 600)"
    local rules firing
    rules=$(curl -s http://127.0.0.1:9091/api/v1/rules | grep -o '"type":"alerting"' | wc -l)
    firing=$(curl -s http://127.0.0.1:9091/api/v1/alerts | jq -r '[.data.alerts[] | select(.state == "firing") | .labels.alertname] | join(" ")')
    [ "$rules" -gt 10 ] && [ -z "$firing" ] && ok "$rules alerts loaded, none fires" || fail "$rules alerts loaded, firing: $firing"
}

stopping() {
    local pod start=$SECONDS
    pod=$(compose ps -q pooler-1)
    docker stop -t 60 "$pod" >/dev/null
    [ "$(docker inspect -f '{{.State.ExitCode}}' "$pod")" = 0 ] && ok "docker stop: exit 0 in $((SECONDS - start)) s" || fail "docker stop"
    check "down -v" compose --profile e2e down -v
    [ -z "$(docker volume ls -q | grep "$COMPOSE_PROJECT_NAME")" ] && ok "no volume left" || fail "volumes left"
}

e2e_service
everything
even_spread
prometheus
stopping
verdict compose-test "The compose file"
