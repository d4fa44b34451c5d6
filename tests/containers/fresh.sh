#!/bin/bash
# `make test` on a fresh machine: a Debian made by debootstrap with nothing but what the README names (Rust, make, git), and no
# cache of any kind. `make fresh-test`; TARGET=demo for `make demo`.
#
# Needs root (or a docker that exists already), 25 GB of disk and some 50 minutes of two cores. Exits 77 where it cannot run.
set -uo pipefail
source "$(dirname "$0")/lib.sh"
target=${TARGET:-test}
name=ftp-pooler-fresh-$$
trap 'docker rm -f -v "$name" >/dev/null 2>&1' EXIT

need_packages "the base image" debootstrap
need_docker
base_images
# What is committed, as a clone has it.
[ -z "$(git -C "$project" status --porcelain)" ] || note "changes that are not committed are left out"

# Privileged: the suite makes network namespaces with a far link, loop devices and the like, as it does on a machine of its own.
docker run -d --privileged --name "$name" --tmpfs /run debian:bookworm-slim sleep infinity >/dev/null || cannot "no container"
inside() { docker exec -w /root/ftp-pooler "$name" "$@"; }
docker exec "$name" bash -ec 'apt-get update -qq; DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends make git ca-certificates curl >/dev/null'
# rustup's installer is out of reach of a machine that only has package registries: this machine's toolchain, and its authorities.
docker exec "$name" mkdir -p /usr/local/rust /root/ftp-pooler /etc/ssl/certs
tar -C "$(rustc --print sysroot)" -c --exclude=share/doc bin lib libexec 2>/dev/null | docker exec -i "$name" tar -x -C /usr/local/rust
docker exec -i "$name" tee /etc/ssl/certs/ca-certificates.crt >/dev/null </etc/ssl/certs/ca-certificates.crt
git -C "$project" archive HEAD | docker exec -i "$name" tar -x -C /root/ftp-pooler
inside bash -c 'git init -q . && git add -A && git -c user.name=t -c user.email=t@localhost commit -qm "as it was cloned"'
environment=(-e "PATH=/usr/local/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" -e CI=true)
# How this machine reaches the registries, where it needs to be told.
for variable in $(compgen -e | grep -iE '^(https?_proxy|no_proxy|goproxy|gosumdb|goflags|gonosumdb|pip_.*|npm_config_.*|cargo_registries_.*)$'); do
    environment+=(-e "$variable=${!variable}")
done
for file in /root/.m2/settings.xml /root/.cargo/config.toml /etc/pip.conf /root/.npmrc /root/.config/pip/pip.conf; do
    [ -e "$file" ] && docker exec "$name" mkdir -p "$(dirname "$file")" && docker exec -i "$name" tee "$file" >/dev/null <"$file"
done

start=$SECONDS
docker exec -w /root/ftp-pooler "${environment[@]}" "$name" make "$target" >"$cache/fresh.log" 2>&1
code=$?
[ $code = 0 ] && ok "make $target from nothing: $((SECONDS - start)) s" || { fail "make $target: exit $code after $((SECONDS - start)) s; log: $cache/fresh.log"; tail -40 "$cache/fresh.log"; }
if [ "$target" = test ]; then
    start=$SECONDS
    docker exec -w /root/ftp-pooler "${environment[@]}" "$name" bash -c 'cargo test --locked --test deploy' >>"$cache/fresh.log" 2>&1 &&
        ok "a second run of tests/deploy: $((SECONDS - start)) s" || fail "a second run of tests/deploy"
fi
verdict fresh-test "A fresh machine"
