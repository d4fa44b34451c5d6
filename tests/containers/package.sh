#!/bin/bash
# The packages of `make package`: what is in them, the unit by systemd's own rules, and an installation in a Debian that has nothing
# else. `make package-test`
#
# BINARY=path packs and tries a program that is built already; NO_BUILD=1 tries the packages that are there. Exits 77 where it cannot run.
set -uo pipefail
source "$(dirname "$0")/lib.sh"

out=$project/target/package
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
has() { grep -q -- "$1" "$work/contents" && ok "$2: $1" || fail "$2 lacks $1"; }

contents() {
    dpkg-deb -c "$deb" | awk '{ print $6 }' >"$work/contents" || fail "no package"
    for file in usr/bin/ftp-pooler usr/lib/systemd/system/ftp-pooler.service usr/share/man/man1/ftp-pooler.1.gz \
        usr/share/bash-completion/completions/ftp-pooler usr/share/zsh/vendor-completions/_ftp-pooler \
        usr/share/doc/ftp-pooler/examples/config.yaml usr/share/doc/ftp-pooler/examples/kafka.env; do
        has "/$file" deb
    done
    tar -tzf "$tarball" >"$work/contents"
    for file in bin/ftp-pooler lib/systemd/system/ftp-pooler.service share/man/man1/ftp-pooler.1.gz; do
        has "/$file" tarball
    done
}

unit() {
    command -v systemd-analyze >/dev/null || return 0
    dpkg-deb -x "$deb" "$work/root"
    # The program is beneath the root here.
    local unit=$work/ftp-pooler.service exposure
    sed "s|ExecStart=/usr|ExecStart=$work/root/usr|" "$work/root/usr/lib/systemd/system/ftp-pooler.service" >"$unit"
    systemd-analyze verify --man=no "$unit" >"$work/verify" 2>&1 && ! grep -q ftp-pooler "$work/verify" &&
        ok "systemd-analyze verify" || fail "systemd-analyze verify: $(cat "$work/verify")"
    exposure=$(systemd-analyze security --offline=yes "$unit" 2>/dev/null | sed -n 's/.*exposure level.*: \([0-9.]*\).*/\1/p')
    [ -n "$exposure" ] || { note "this systemd-analyze has no security --offline"; return; }
    awk "BEGIN { exit !($exposure < 2.5) }" && ok "systemd-analyze security: exposure $exposure" || fail "exposure $exposure"
}

# As an administrator would, in a Debian without systemd: what the package's scripts do is seen.
installation() {
    need_docker
    base_images
    cat >"$work/try.sh" <<'TRY'
set -e
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends /package.deb >/dev/null
ftp-pooler --version
[ "$(stat -c '%a %U %G' /etc/ftp-pooler/connections.ini)" = '640 root ftp-pooler-config' ]
(cd / && ftp-pooler check --offline)
echo '# mine' >>/etc/ftp-pooler/connections.ini
dpkg -i /package.deb >/dev/null 2>&1
grep -q '# mine' /etc/ftp-pooler/connections.ini
dpkg --remove ftp-pooler >/dev/null
[ -e /etc/ftp-pooler/connections.ini ]
dpkg --purge ftp-pooler >/dev/null 2>&1
[ ! -e /etc/ftp-pooler ] && [ ! -e /usr/bin/ftp-pooler ]
TRY
    docker run --rm -v "$deb:/package.deb:ro" -v "$work/try.sh:/try.sh:ro" debian:bookworm-slim bash -x /try.sh >"$work/log" 2>&1 &&
        ok "installed, checked, upgraded, removed and purged in Debian 12" || fail "installation: $(tail -15 "$work/log")"
}

if [ -z "${NO_BUILD-}" ]; then
    "$project/scripts/package.sh" || { fail "make package"; verdict package-test "The packages"; exit; }
fi
deb=$(echo "$out"/*.deb) tarball=$(echo "$out"/*.tar.gz)
contents
unit
installation
verdict package-test "The packages"
