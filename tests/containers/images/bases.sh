#!/bin/bash
# Base images under the names that the Dockerfile uses, for machines that reach Debian's packages but no image registry.
#
#   bases.sh WORKDIR debian|rust|golang|distroless
#
# debian:bookworm-slim                   debootstrap --variant=minbase, without documentation and translations
# rust:1.89-bookworm                     that, gcc, git, curl and THIS machine's Rust, whichever version that is
# golang:1.25-bookworm                   that, git and THIS machine's Go
# gcr.io/distroless/cc-debian12:nonroot  the same Debian packages as the real one, unpacked; no shell, user 65532
set -euo pipefail
work=$(mkdir -p "$1" && cd "$1" && pwd)

debian() {
    local root=$work/bookworm
    [ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase bookworm "$root" http://deb.debian.org/debian
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}/*
    printf 'deb http://deb.debian.org/debian %s main\n' bookworm bookworm-updates >"$root/etc/apt/sources.list"
    echo 'deb http://deb.debian.org/debian-security bookworm-security main' >>"$root/etc/apt/sources.list"
    tar -C "$root" -c . | docker import --change 'CMD ["bash"]' - debian:bookworm-slim >/dev/null
}

rust() {
    local toolchain name=rust-base-$$ tree=$work/rust
    toolchain=$(rustc --print sysroot)
    docker run --name "$name" debian:bookworm-slim bash -ec '
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends \
            ca-certificates curl gcc g++ git libc6-dev make pkg-config >/dev/null
        rm -rf /var/lib/apt/lists/*'
    rm -rf "$tree"
    mkdir -p "$tree/usr/local/rustup/toolchains/here" "$tree/usr/local/cargo/bin" "$tree/etc/ssl/certs"
    tar -C "$toolchain" -c --exclude=share --exclude='*-src' --exclude=rust-analyzer --exclude='libexec/*server' bin lib |
        tar -x -C "$tree/usr/local/rustup/toolchains/here"
    for program in cargo rustc rustdoc; do
        ln -s "/usr/local/rustup/toolchains/here/bin/$program" "$tree/usr/local/cargo/bin/$program"
    done
    # The authorities of this machine: its way to the crates may end at a proxy of its own.
    cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/ca-certificates.crt"
    docker cp "$tree/." "$name:/"
    docker commit -c 'ENV PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        -c 'ENV CARGO_HOME=/usr/local/cargo' -c 'ENV RUSTUP_HOME=/usr/local/rustup' -c 'CMD ["bash"]' "$name" rust:1.89-bookworm >/dev/null
    docker rm "$name" >/dev/null
    rm -rf "$tree"
}

golang() {
    local name=golang-base-$$
    docker run --name "$name" debian:bookworm-slim bash -ec '
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends ca-certificates git >/dev/null
        rm -rf /var/lib/apt/lists/*'
    tar -C "$(dirname "$(go env GOROOT)")" -c "$(basename "$(go env GOROOT)")" | docker cp - "$name:/usr/local/"
    docker cp /etc/ssl/certs/ca-certificates.crt "$name:/etc/ssl/certs/ca-certificates.crt"
    docker commit -c "ENV PATH=/usr/local/$(basename "$(go env GOROOT)")/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$name" golang:1.25-bookworm >/dev/null
    docker rm "$name" >/dev/null
}

distroless() {
    local root=$work/distroless
    rm -rf "$root" "$work/debs"
    mkdir -p "$root" "$work/debs"
    # apt's own user cannot write into a folder of root's: it says so, and downloads as root.
    (cd "$work/debs" && apt-get download -qq base-files netbase tzdata media-types ca-certificates libc6 libssl3 \
        libgcc-s1 gcc-12-base libgomp1 libstdc++6)
    for package in "$work"/debs/*.deb; do dpkg -x "$package" "$root"; done
    cd "$root"
    mkdir -p etc/ssl/certs home/nonroot root tmp var/tmp
    chmod 1777 tmp var/tmp
    chown 65532:65532 home/nonroot
    chmod 700 home/nonroot
    find usr/share/ca-certificates -name '*.crt' -print0 | sort -z | xargs -0 cat >etc/ssl/certs/ca-certificates.crt
    printf '%s\n' 'root:x:0:0:root:/root:/sbin/nologin' 'nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin' \
        'nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin' >etc/passwd
    printf '%s\n' 'root:x:0:' 'nobody:x:65534:' 'tty:x:5:' 'staff:x:50:' 'nonroot:x:65532:' >etc/group
    printf '%s\n' 'passwd: files' 'group: files' 'hosts: files dns' >etc/nsswitch.conf
    rm -rf usr/share/{doc,man,locale,lintian} usr/sbin usr/bin sbin bin
    tar -C "$root" -c . | docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        --change 'ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt' \
        --change 'USER 65532' --change 'WORKDIR /home/nonroot' - gcr.io/distroless/cc-debian12:nonroot >/dev/null
}

"$2"
