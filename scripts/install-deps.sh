#!/usr/bin/env bash
# Installs what a fresh Debian machine lacks to build and test FTP Pooler, and says what it does and why.
# A second run finds everything in place and ends at once, also without a network.
#
#   scripts/install-deps.sh build    compilers and libraries: all that `make demo` needs beside Rust
#   scripts/install-deps.sh          these, and the servers of the test suite, unpacked into .deps; a browser, installed
#   scripts/install-deps.sh operator etcd and kube-apiserver, that `make operator-test` runs; built from Go's proxy
#   scripts/install-deps.sh router   nginx, wrk and h2load, that `make bench-router` measures with
#   scripts/install-deps.sh bench    these, and the programs that `make bench` compares with
set -euo pipefail

cd "$(dirname "$0")/.."
deps=${FTP_POOLER_DEPS:-$PWD/.deps}
what=${1:-all}

# Each is unpacked, not installed: Debian's FTP servers exclude each other, and none needs to be a service.
# Each line: the server's program, and the packages that it comes in.
ftp_servers=(
    "vsftpd vsftpd"
    "proftpd proftpd-core proftpd-mod-crypto"
    "pure-ftpd pure-ftpd pure-ftpd-common"
)
# What checks the manifests; built from source, as Go's proxy has no programs.
go_tools=(
    sigs.k8s.io/kustomize/kustomize/v5@v5.5.0
    github.com/zegl/kube-score/cmd/kube-score@v1.20.0
    helm.sh/helm/v3/cmd/helm@v3.18.4
)
# The schemas that manifests are held against, each: module, checksum (that of go.sum), file in it, name in .deps.
schemas=(
    "k8s.io/kubernetes@v1.34.2 h1:WQdDvYJazkmkwSncgNwGvVtaCt4TYXIU3wSMRgvp3MI=
        api/openapi-spec/swagger.json kubernetes.json"
    "github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
        example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml servicemonitor.yaml"
    "github.com/prometheus-operator/prometheus-operator@v0.85.0 h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=
        example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml prometheusrule.yaml"
    "github.com/kedacore/keda/v2@v2.18.1 h1:h6bRt/IOxxtZpJlHSqhdH/lcInH7Z9obxg/JvWOmGAw=
        config/crd/bases/keda.sh_scaledobjects.yaml scaledobject.yaml"
    "github.com/compose-spec/compose-go/v2@v2.16.2 h1:pTp1DqQwJzFd85GzlWsSszKA1ABrV/ySqsClujIcWA8=
        schema/compose-spec.json compose-spec.json"
)
# Builds the tools where Debian's Go is older than they want: Go's own proxy has it, and Debian's can fetch it.
go_toolchain=1.25.5
# The tunnels' server and client, built from their module as published, each: module, checksum (that of go.sum).
frp="github.com/fatedier/frp@v0.71.0 h1:hrzMepFp/asl2oAxxLMgffCI/wrzvg6lZyMzxEEnWbQ="
# What judges the router's HTTP/2. Its releases have no go.mod; this commit of theirs has.
h2spec="github.com/summerwind/h2spec/cmd/h2spec@v0.0.0-20200804131034-70ac22940108"
# What people move files with today; `make bench` does without those that cannot be had.
peers=(rclone lftp curl)

say() { printf 'deps: %s\n' "$*" >&2; }
die() { printf 'deps: %s\n' "$@" >&2; exit 1; }

# Runs a command as root, directly or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else die "this needs root, and there is no sudo: $*" "Run it as root once, then start again."
    fi
}

# Debian packages by the reason for which they are wanted; asks dpkg only, so it costs nothing when all is there.
install_packages() {
    local reason=$1 package missing=()
    shift
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    say "installing ${missing[*]}: $reason"
    update_lists
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Acquire::Retries=3 \
        install --no-install-recommends "${missing[@]}" >&2
}

# Package lists, once a run: a fresh machine has none or old ones.
lists_are_fresh=
update_lists() {
    [ -n "$lists_are_fresh" ] && return
    say "reading Debian's package lists"
    as_root apt-get -q -o Acquire::Retries=3 update >&2
    lists_are_fresh=1
}

need_debian() {
    command -v apt-get >/dev/null && command -v dpkg-query >/dev/null && return
    die "this is no Debian: please install $1 yourself."
}

build_packages() {
    command -v cargo >/dev/null ||
        die "Rust is missing. https://rustup.rs says how to install it; version 1.89 or newer is needed."
    if command -v g++ >/dev/null && command -v make >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists openssl; then
        return
    fi
    need_debian "gcc, g++, make, pkg-config and the headers of OpenSSL (librdkafka is built from source)"
    install_packages "librdkafka, the Kafka client, is built from source" \
        gcc g++ make pkg-config libc6-dev libssl-dev
}

# Java runs the test broker, Maven fetches it. Kafka 4 needs Java 17.
java_is_good() {
    local version
    version=$("${JAVA_HOME:+$JAVA_HOME/bin/}java" -XshowSettings:properties -version 2>&1 |
        sed -n 's/^ *java.specification.version = //p') || return 1
    [ "${version%%.*}" -ge 17 ] 2>/dev/null
}

kafka() {
    local stamp
    stamp=$(cksum <scripts/kafka/pom.xml)
    if ! java_is_good; then
        need_debian "Java 17 or newer"
        install_packages "Apache Kafka, the test broker, runs on Java" default-jre-headless
        java_is_good || die "Java 17 or newer is needed, and this Debian's is older."
    fi
    [ "$(cat "$deps/kafka/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! command -v mvn >/dev/null; then
        need_debian "Maven"
        install_packages "Maven fetches Apache Kafka's jars" maven
    fi
    say "fetching Apache Kafka (43 MB) into $deps/kafka"
    rm -rf "$deps/kafka" "$deps/kafka.new"
    mvn -q -B -Dstyle.color=never -f scripts/kafka/pom.xml dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$deps/kafka.new" >&2
    echo "$stamp" >"$deps/kafka.new/stamp"
    mv "$deps/kafka.new" "$deps/kafka"
}

ftp_server() {
    local server=$1
    shift
    [ -e "$deps/$server/stamp" ] && return
    if ! command -v apt-get >/dev/null; then
        [ -x "/usr/sbin/$server" ] && return
        need_debian "$server"
    fi
    unpack "$server" "usr/sbin/$server" "$@"
}

# Servers of the tests that are libraries of Python, Java and JavaScript, each into a directory of its own.
library_servers() {
    pyftpdlib
    apache_ftpserver
    ftp_srv
}

# What a requirements file wants, in an environment of its own in .deps: its name, the file, what is fetched, the reason.
python_environment() {
    local place=$deps/$1 wanted=$2 what=$3 reason=$4 stamp
    stamp=$(cksum <"$wanted")
    [ "$(cat "$place/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        need_debian "Python 3.10 or newer with its venv module"
        install_packages "$reason" python3 python3-venv
    fi
    say "fetching $what into $place"
    rm -rf "$place"
    python3 -m venv "$place"
    "$place/bin/pip" install -q --no-deps -r "$wanted" >&2
    echo "$stamp" >"$place/stamp"
}

pyftpdlib() {
    python_environment pyftpdlib scripts/ftp-servers/requirements.txt pyftpdlib \
        "pyftpdlib, an FTP server of the tests, is a library of Python"
}

# Its Java and Maven are those of Kafka.
apache_ftpserver() {
    local wanted=scripts/ftp-servers/pom.xml stamp
    stamp=$(cksum <"$wanted")
    [ "$(cat "$deps/ftpserver/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! command -v mvn >/dev/null; then
        need_debian "Maven"
        install_packages "Maven fetches Apache FtpServer's jars" maven
    fi
    say "fetching Apache FtpServer (6 MB) into $deps/ftpserver"
    rm -rf "$deps/ftpserver" "$deps/ftpserver.new"
    mvn -q -B -Dstyle.color=never -f "$wanted" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$deps/ftpserver.new" >&2
    echo "$stamp" >"$deps/ftpserver.new/stamp"
    mv "$deps/ftpserver.new" "$deps/ftpserver"
}

ftp_srv() {
    local wanted=scripts/ftp-servers/package-lock.json stamp
    stamp=$(cksum <"$wanted")
    [ "$(cat "$deps/ftp-srv/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        need_debian "Node.js and npm"
        install_packages "ftp-srv, an FTP server of the tests, is a library of JavaScript" nodejs npm
    fi
    say "fetching ftp-srv (15 MB) into $deps/ftp-srv"
    rm -rf "$deps/ftp-srv"
    mkdir -p "$deps/ftp-srv"
    cp scripts/ftp-servers/package.json "$wanted" "$deps/ftp-srv/"
    (cd "$deps/ftp-srv" && npm ci --silent --ignore-scripts --no-audit --no-fund >&2)
    echo "$stamp" >"$deps/ftp-srv/stamp"
}

go_is_good() {
    local version
    version=$(go env GOVERSION 2>/dev/null) || return 1
    version=${version#go1.}
    [ "${version%%[!0-9]*}" -ge "$(cut -d. -f2 <<<"$go_toolchain")" ] 2>/dev/null
}

# Go, as new as the tools want it: the machine's, Debian's, or a newer one that Debian's fetches.
need_go() {
    go_is_good && return
    if ! command -v go >/dev/null; then
        need_debian "Go $go_toolchain or newer"
        install_packages "kustomize and kube-score, which check the manifests, are built from source" golang-go
        go_is_good && return
    fi
    local arch directory
    arch=$(go env GOARCH)
    say "fetching Go $go_toolchain, since this machine's is older"
    directory=$(go mod download -json "golang.org/toolchain@v0.0.1-go$go_toolchain.linux-$arch" |
        sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    [ -d "$directory" ] || die "Go $go_toolchain could not be fetched."
    # A module's files are never executable.
    chmod +x "$directory"/bin/* "$directory/pkg/tool/linux_$arch"/*
    export PATH="$directory/bin:$PATH" GOROOT=$directory
}

# What the manifests, the compose file and the alerts are checked with.
deployment_tools() {
    rule_checker
    local stamp work=$deps/go.new
    stamp=$(printf '%s\n' "${go_tools[@]}" "${schemas[@]}" | cksum)
    [ "$(cat "$deps/go/stamp" 2>/dev/null)" = "$stamp" ] && return
    rm -rf "$deps/go" "$work"
    mkdir -p "$work/schemas"
    (
        export GOPATH=$work/path GOCACHE=$work/cache GOBIN=$work/bin GOFLAGS=-modcacherw CGO_ENABLED=0
        need_go
        # One package after the other: a small machine has other things to do.
        for tool in "${go_tools[@]}"; do
            say "building $tool, which checks the manifests"
            GOFLAGS='-modcacherw -p=2' go install -trimpath -ldflags='-s -w' "$tool" >&2
        done
        for schema in "${schemas[@]}"; do
            # shellcheck disable=SC2086 # its four words
            schema $schema
        done
    )
    rm -rf "$work/path" "$work/cache"
    echo "$stamp" >"$work/stamp"
    mv "$work" "$deps/go"
}

# frps and frpc. Their web pages are not in the module, hence `noweb`; `go install …@version` refuses its `replace`.
frp_programs() {
    local stamp work=$deps/frp.new
    stamp=$(cksum <<<"$frp")
    [ "$(cat "$deps/frp/stamp" 2>/dev/null)" = "$stamp" ] && return
    rm -rf "$work"
    mkdir -p "$work"
    (
        export GOPATH=$work/path GOCACHE=$work/cache GOFLAGS='-modcacherw -p=2' CGO_ENABLED=0
        need_go
        # shellcheck disable=SC2086 # its two words
        frp_build $frp
    )
    rm -rf "$work/path" "$work/cache" "$deps/frp"
    echo "$stamp" >"$work/stamp"
    mv "$work" "$deps/frp"
}

# The API server of `make cluster-test`, and Debian's etcd.
kubernetes_api() {
    local cache=$deps/kube.cache
    if [ ! -e "$deps/etcd/stamp" ]; then
        need_debian "etcd"
        unpack etcd usr/bin/etcd etcd-server
    fi
    [ -x "$deps/kube/kube-apiserver" ] && return
    mkdir -p "$cache"
    (
        export GOPATH=$cache/path GOCACHE=$cache/cache
        need_go
        say "building kube-apiserver from the Go module proxy, which the operator is tested on: 12 minutes of CPU"
        GOFLAGS='-modcacherw' tests/containers/kube/build.sh "$deps/kube" kube-apiserver >&2
    )
    chmod -R u+w "$cache" && rm -rf "$cache"
}

frp_build() {
    local module=$1 sum=$2 answer directory program
    say "building frps and frpc from $module, which the tunnels run on"
    answer=$(go mod download -json "$module")
    grep -qF "\"Sum\": \"$sum\"" <<<"$answer" || die "$module has another checksum than $sum:" "$answer"
    directory=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$answer")
    for program in frps frpc; do
        go build -C "$directory" -trimpath -ldflags='-s -w' -tags "$program,noweb" \
            -o "$deps/frp.new/$program" "./cmd/$program" >&2
    done
}

# Prometheus' own checker of rules, out of its package; it needs nothing beside it.
rule_checker() {
    [ -x "$deps/promtool" ] || command -v promtool >/dev/null && return
    need_debian "promtool (it comes with Prometheus)"
    say "unpacking promtool into $deps, which tests the alerts"
    rm -rf "$deps/promtool.new"
    mkdir -p "$deps/promtool.new"
    download "$deps/promtool.new" prometheus || { update_lists; download "$deps/promtool.new" prometheus; }
    dpkg -x "$deps"/promtool.new/*.deb "$deps/promtool.new"
    mv "$deps/promtool.new/usr/bin/promtool" "$deps/promtool"
    rm -rf "$deps/promtool.new"
}

schema() {
    local module=$1 sum=$2 file=$3 name=$4 told directory
    say "fetching the schema $name from $module"
    told=$(go mod download -json "$module")
    grep -qF "\"Sum\": \"$sum\"" <<<"$told" || die "$module has another checksum than $sum:" "$told"
    directory=$(sed -n 's/^\t"Dir": "\(.*\)",$/\1/p' <<<"$told")
    cp "$directory/$file" "$deps/go.new/schemas/$name"
}

# What the page is looked at with. Installed, not unpacked: it wants fonts and their configuration.
browser() {
    local name
    for name in chromium-headless-shell chromium google-chrome; do
        command -v "$name" >/dev/null && return
    done
    need_debian "chromium-headless-shell, or any Chromium"
    install_packages "the page at / is tested in headless Chromium" chromium-headless-shell
}

# An installed one will do; one that cannot be had is left out.
peer() {
    local peer=$1
    [ -e "$deps/$peer/stamp" ] || command -v "$peer" >/dev/null && return
    if ! command -v apt-get >/dev/null || ! (unpack "$peer" "usr/bin/$peer" "$peer"); then
        say "no $peer here: \`make bench\` goes without it"
    fi
}

# The programs of docs/PRODUCING.md, which the tests run: what they need, and built where they are.
producing() {
    local stamp work=$deps/producing.new
    python_environment producing-python examples/producing/python/requirements.txt confluent-kafka \
        "docs/PRODUCING.md has a producer in Python"
    stamp=$(cat examples/producing/java/* examples/producing/go/* | cksum)
    [ "$(cat "$deps/producing/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! command -v javac >/dev/null; then
        need_debian "a JDK of Java 17 or newer"
        install_packages "docs/PRODUCING.md has a producer in Java" default-jdk-headless
    fi
    say "building the producers of docs/PRODUCING.md, in Java and Go"
    rm -rf "$work"
    mkdir -p "$work"
    javac -cp "$deps/kafka/*" -d "$work/java" examples/producing/java/Orders.java
    (
        export GOPATH=$work/path GOCACHE=$work/cache GOFLAGS='-modcacherw -p=2' CGO_ENABLED=0
        need_go
        go build -C examples/producing/go -trimpath -ldflags='-s -w' -o "$work/orders" . >&2
    )
    rm -rf "$work/path" "$work/cache" "$deps/producing"
    echo "$stamp" >"$work/stamp"
    mv "$work" "$deps/producing"
}

# What many write themselves: a worker in Python. Its libraries go into an environment of their own.
python_worker() {
    local wanted=benches/peers/python/requirements.txt stamp
    stamp=$(cksum <"$wanted")
    [ "$(cat "$deps/python/stamp" 2>/dev/null)" = "$stamp" ] && return
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null && command -v apt-get >/dev/null; then
        install_packages "\`make bench\` compares with a worker in Python" python3 python3-venv
    fi
    say "fetching aiokafka, aioftp and uvloop into $deps/python"
    rm -rf "$deps/python"
    if python3 -m venv "$deps/python" && "$deps/python/bin/pip" install -q --no-deps -r "$wanted" >&2; then
        echo "$stamp" >"$deps/python/stamp"
    else
        rm -rf "$deps/python"
        say "no worker in Python here: \`make bench\` goes without it"
    fi
}

# The far side of a tunnel is a network namespace in the tests; without root they leave it out.
namespace_tools() {
    [ "$(id -u)" = 0 ] || return 0
    command -v ip >/dev/null && command -v nft >/dev/null && return
    command -v apt-get >/dev/null || { say "no iproute2 or nftables here: FTP behind NAT is not tested, and NET=1 does not run"; return; }
    install_packages "the tests lay a network namespace behind a tunnel, and \`make chaos NET=1\` breaks its packets" iproute2 nftables
}

# `make bench` makes its wide-area link itself, where it may.
link_tools() {
    command -v ip >/dev/null && command -v cc >/dev/null && return
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        install_packages "\`make bench\` lays a wide-area link between two network namespaces" iproute2 gcc libc6-dev
    else
        say "no iproute2 or no C compiler here: \`make bench\` measures on loopback alone"
    fi
}

# Unpacks a program's packages, and every package that they would bring along and this machine does not have.
unpack() {
    local server=$1 binary=$2 into=$deps/$1 packages libraries missing
    shift 2
    say "unpacking $server into $into (nothing is installed, no service is started)"
    apt-cache show "$1" >/dev/null 2>&1 || update_lists
    packages=$(wanted_packages "$@")
    rm -rf "$into" "$into.new"
    mkdir -p "$into.new/packages"
    # The sandbox user of apt may not write here, and would warn about it.
    # shellcheck disable=SC2086 # a list of package names
    download "$into.new/packages" $packages || { update_lists; download "$into.new/packages" $packages; }
    for package in "$into.new"/packages/*.deb; do
        dpkg -x "$package" "$into.new"
    done
    rm -r "$into.new/packages"
    mv "$into.new" "$into"
    libraries=$(find "$into" -name '*.so.*' -printf '%h\n' | sort -u | paste -sd :)
    # Relative, so that the checkout can move.
    printf '%s\n' "${libraries//"$into"\//}" >"$into/library-path"
    missing=$(LD_LIBRARY_PATH=$libraries ldd "$into/$binary" | grep 'not found' || true)
    [ -z "$missing" ] || die "$server lacks libraries:" "$missing"
    touch "$into/stamp"
}

# What apt would install for a package here, the package itself first even where it is installed already.
wanted_packages() {
    printf '%s\n' "$@"
    apt-get -s install --no-install-recommends "$@" 2>/dev/null | awk '/^Inst lib/ { print $2 }'
}

download() {
    local into=$1
    shift
    (cd "$into" && apt-get -q -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=3 download "$@" >&2)
}

# Installed, not unpacked: nginx looks for its modules and its user.
router_peers() {
    command -v nginx >/dev/null && command -v wrk >/dev/null && command -v h2load >/dev/null && return
    need_debian "nginx, wrk and h2load (nghttp2-client)"
    install_packages "\`make bench-router\` compares with nginx" nginx-light wrk nghttp2-client
}

# Whoever judges the router from outside, and real servers to stand behind it.
router_judges() {
    local packages=()
    command -v slowhttptest >/dev/null || packages+=(slowhttptest)
    command -v valgrind >/dev/null || packages+=(valgrind)
    command -v node >/dev/null && command -v npm >/dev/null || packages+=(nodejs npm)
    if [ ${#packages[@]} != 0 ]; then
        need_debian "slowhttptest, valgrind and Node with npm"
        install_packages "the router is tested with slow clients, by its instructions, and before a Vite server" \
            "${packages[@]}"
    fi
    h2spec
    judges_in_python
    vite
}

h2spec() {
    local stamp work=$deps/h2spec.new
    stamp=$(cksum <<<"$h2spec")
    [ "$(cat "$deps/h2spec/stamp" 2>/dev/null)" = "$stamp" ] && return
    say "building h2spec, which judges the router's HTTP/2"
    rm -rf "$work"
    mkdir -p "$work"
    (
        export GOPATH=$work/path GOCACHE=$work/cache GOBIN=$work GOFLAGS='-modcacherw -p=2' CGO_ENABLED=0
        need_go
        go install -trimpath -ldflags='-s -w' "$h2spec" >&2
    )
    rm -rf "$work/path" "$work/cache" "$deps/h2spec"
    echo "$stamp" >"$work/stamp"
    mv "$work" "$deps/h2spec"
}

# Autobahn's cases, FastAPI on uvicorn, and gRPC, in an environment of their own.
judges_in_python() {
    python_environment judges crates/pattern-router/tests/judges/requirements.txt \
        "kosoku (Autobahn's cases), FastAPI, uvicorn and grpcio" "the router is judged by programs in Python"
}

# A development server whose pages are replaced while they are looked at.
vite() {
    local wanted=crates/pattern-router/tests/judges/vite stamp
    stamp=$(cat "$wanted"/package*.json | cksum)
    [ "$(cat "$deps/vite/stamp" 2>/dev/null)" = "$stamp" ] && return
    say "fetching Vite into $deps/vite"
    rm -rf "$deps/vite"
    mkdir -p "$deps/vite"
    cp "$wanted"/package*.json "$deps/vite"
    npm ci --prefix "$deps/vite" --no-audit --no-fund --loglevel=error >&2
    echo "$stamp" >"$deps/vite/stamp"
}

mkdir -p "$deps"
build_packages
if [ "$what" = operator ]; then
    kubernetes_api
    exit
fi
if [ "$what" = router ]; then
    router_peers
    exit
fi
if [ "$what" != build ]; then
    kafka
    producing
    for server in "${ftp_servers[@]}"; do
        # shellcheck disable=SC2086 # a program and its packages
        ftp_server $server
    done
    library_servers
    deployment_tools
    frp_programs
    namespace_tools
    browser
    router_judges
fi
if [ "$what" = bench ]; then
    link_tools
    for peer in "${peers[@]}"; do
        peer "$peer"
    done
    python_worker
fi
