#!/usr/bin/env bash
# Builds target/package/ftp-pooler_VERSION_ARCHITECTURE.deb and the same as a tarball: `make package`.
#
# The program has all of its libraries in it, OpenSSL included (librdkafka's TLS), except glibc and libgcc: it runs where glibc
# is as new as on this machine. BINARY=path packs one that is built already.
set -euo pipefail

cd "$(dirname "$0")/.."
out=$PWD/target/package
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
architecture=$(dpkg --print-architecture)
tree=$out/tree

die() { echo "package: $*" >&2; exit 1; }

# OpenSSL's static libraries are in its package of headers.
build() {
    local libraries
    libraries=$(pkg-config --variable=libdir openssl) || die "OpenSSL's headers are needed (libssl-dev): make deps"
    [ -e "$libraries/libssl.a" ] || die "$libraries/libssl.a is not there: OpenSSL's static library is needed"
    # A directory of its own: OpenSSL is linked in another way there.
    OPENSSL_STATIC=1 cargo build --release --locked --no-default-features -p ftp-pooler --bin ftp-pooler \
        --target-dir "$out/build" >&2
    echo "$out/build/release/ftp-pooler"
}

# The libraries of this program that are no part of it, but for glibc and libgcc.
foreign_libraries() {
    ldd "$1" | awk '{ print $1 }' | grep -vE '^(linux-vdso|/lib|ld-linux|lib(c|m|gcc_s|pthread|dl|rt)\.so)' || true
}

# The newest version of glibc that one of the program's symbols wants.
glibc_of() { objdump -T "$1" | grep -oE 'GLIBC_[0-9]+\.[0-9]+' | sort -Vu | tail -1 | cut -d_ -f2; }

# The configuration for one machine: Kafka beside it, page and metrics for this machine alone, partitions kept over a restart.
examples() {
    mkdir -p "$1"
    sed -e 's/"kafka:9092"/"localhost:9092"/' -e 's/host: "0.0.0.0"/host: "127.0.0.1"/' \
        -e 's/^  static_membership: false/  static_membership: true/' config/config.yaml >"$1/config.yaml"
    sed -e 's|^base_path = .*|base_path = /var/lib/ftp-pooler|' config/connections.ini >"$1/connections.ini"
    cp packaging/kafka.env "$1/"
}

# What both kinds of package have, beneath PREFIX of ROOT.
files() {
    local root=$1 prefix=$2
    local share=$root$prefix/share
    install -D -m 0755 "$program" "$root$prefix/bin/ftp-pooler"
    install -D -m 0644 packaging/ftp-pooler.service "$root$prefix/lib/systemd/system/ftp-pooler.service"
    mkdir -p "$share/man/man1" "$share/doc/ftp-pooler"
    "$program" man --into "$share/man/man1" >/dev/null
    gzip -9n "$share"/man/man1/*.1
    install -D -m 0644 <("$program" completions bash) "$share/bash-completion/completions/ftp-pooler"
    install -D -m 0644 <("$program" completions zsh) "$share/zsh/vendor-completions/_ftp-pooler"
    install -D -m 0644 <("$program" completions fish) "$share/fish/vendor_completions.d/ftp-pooler.fish"
    cp README.md CHANGELOG.md LICENSE "$share/doc/ftp-pooler/"
    cp -r docs "$share/doc/ftp-pooler/"
    examples "$share/doc/ftp-pooler/examples"
    find "$root" -type d -exec chmod 755 {} + -o -type f ! -name ftp-pooler -exec chmod 644 {} +
    chmod 755 "$root$prefix/bin/ftp-pooler"
}

# A program that was built elsewhere (BINARY) may want OpenSSL's libraries.
openssl_of() {
    case $(ldd "$1") in *libssl.so.3*) echo ', libssl3t64 | libssl3' ;; esac
}

debian_package() {
    local root=$tree/deb
    files "$root" /usr
    mkdir -p "$root/DEBIAN"
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@GLIBC@/$(glibc_of "$program")/" -e "s/@OPENSSL@/$(openssl_of "$program")/" \
        -e "s/@SIZE@/$(du -sk --exclude=DEBIAN "$root" | cut -f1)/" packaging/debian/control >"$root/DEBIAN/control"
    install -m 0755 packaging/debian/postinst packaging/debian/prerm packaging/debian/postrm "$root/DEBIAN/"
    (cd "$root" && find usr -type f -print0 | sort -z | xargs -0 md5sum >DEBIAN/md5sums)
    dpkg-deb --root-owner-group --build "$root" "$out/ftp-pooler_${version}_$architecture.deb" >&2
}

# To be unpacked anywhere; in / or /usr/local it is an installation.
tarball() {
    local name=ftp-pooler-$version-linux-$architecture
    files "$tree/$name" ""
    tar -C "$tree" --sort=name --owner=0 --group=0 --numeric-owner -czf "$out/$name.tar.gz" "$name"
}

mkdir -p "$out"
program=${BINARY:-$(build)}
[ -x "$program" ] || die "$program is no program"
rm -rf "$tree" "$out"/*.deb "$out"/*.tar.gz
if [ -z "${BINARY-}" ]; then
    foreign=$(foreign_libraries "$program")
    [ -z "$foreign" ] || die "the program needs more than glibc: $foreign"
    strip -o "$out/ftp-pooler" "$program"
    program=$out/ftp-pooler
fi
debian_package
tarball
rm -rf "$tree"
(cd "$out" && sha256sum ./*.deb ./*.tar.gz | tee SHA256SUMS)
