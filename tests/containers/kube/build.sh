#!/bin/bash
# The parts of a Kubernetes node, built from the Go module proxy into DIR; what exists already stays. build.sh DIR [PART…]
#
# kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kube-proxy 1.33.0; CoreDNS 1.12.1; kube-router 2.1.0 for its
# NetworkPolicy controller; prometheus-adapter 0.12.0 where it is named. Static (CGO_ENABLED=0) and stripped. Takes some 800 s of CPU the first time, and 4 GB of build cache.
set -euo pipefail

dir=$(mkdir -p "$1" && cd "$1" && pwd)
shift
version=1.33.0
export CGO_ENABLED=0 GOFLAGS=-mod=mod
kubernetes=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

# A module of this name that only imports the packages, in the current folder.
wrapper_module() {
    rm -f go.mod go.sum
    go mod init "$1"
    shift
    { printf '//go:build tools\npackage tools\nimport (\n'; printf '_ "%s"\n' "$@"; echo ')'; } >tools.go
}

go_mod_of() {
    (cd / && go mod download -json "$1") | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])'
}

# The published modules v0.33.0 in place of the staging folders of k8s.io/kubernetes, which no proxy has.
kubernetes_module() {
    mkdir -p "$dir/kubernetes.module"
    cd "$dir/kubernetes.module"
    [ -e "tidy-$version" ] && return
    wrapper_module kubernetes "${kubernetes[@]/#/k8s.io/kubernetes/cmd/}"
    grep -oE 'k8s\.io/\S+ => \./staging' "$(go_mod_of k8s.io/kubernetes@v$version)" | cut -d' ' -f1 | sort -u |
        while read -r module; do go mod edit -replace "$module=$module@v0.${version#1.}"; done
    go mod edit -require k8s.io/kubernetes@v$version
    go mod tidy
    touch "tidy-$version"
}

build_kubernetes() {
    local x=k8s.io/component-base/version
    kubernetes_module
    go build -trimpath -ldflags="-s -w -X $x.gitVersion=v$version -X $x.gitMajor=1 -X $x.gitMinor=33" -o "$dir/$1" "k8s.io/kubernetes/cmd/$1"
}

# Only the plugins that a test cluster needs are compiled in: no cloud SDKs.
build_coredns() {
    mkdir -p "$dir/coredns.module/cmd"
    cd "$dir/coredns.module"
    wrapper_module corednsbin github.com/coredns/coredns
    go get github.com/coredns/coredns@v1.12.1
    cat >cmd/main.go <<'GO'
package main

import (
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/reload"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"
)

// The order in which plugins see a query, as in CoreDNS' own plugin.cfg.
func init() {
	dnsserver.Directives = []string{"reload", "health", "ready", "errors", "cache", "loop", "kubernetes"}
}

func main() { coremain.Run() }
GO
    rm -f tools.go
    go mod tidy
    go build -trimpath -ldflags='-s -w' -o "$dir/coredns" ./cmd
}

build_kube_router() {
    local module=github.com/cloudnativelabs/kube-router/v2
    mkdir -p "$dir/kube-router.module"
    cd "$dir/kube-router.module"
    wrapper_module routerbin $module/cmd/kube-router
    # The replace directives of its own go.mod hold only where it is the main module.
    go mod edit -json "$(go_mod_of $module@v2.1.0)" | python3 -c '
import json, sys
for r in json.load(sys.stdin).get("Replace") or []:
    print("-replace=%s=%s@%s" % (r["Old"]["Path"], r["New"]["Path"], r["New"]["Version"]))' |
        while read -r edit; do go mod edit "$edit"; done
    go mod edit -require $module@v2.1.0
    go mod tidy
    go build -trimpath -ldflags='-s -w' -o "$dir/kube-router" $module/cmd/kube-router
}

build_prometheus_adapter() {
    local module=sigs.k8s.io/prometheus-adapter
    mkdir -p "$dir/adapter.module"
    cd "$dir/adapter.module"
    wrapper_module adapterbin $module/cmd/adapter
    go mod edit -require $module@v0.12.0
    go mod tidy
    go build -trimpath -ldflags='-s -w' -o "$dir/prometheus-adapter" $module/cmd/adapter
}

[ $# -gt 0 ] || set -- "${kubernetes[@]}" coredns kube-router
for part in "$@"; do
    [ -x "$dir/$part" ] && continue
    date "+%T $part"
    case $part in
        coredns) build_coredns ;;
        kube-router) build_kube_router ;;
        prometheus-adapter) build_prometheus_adapter ;;
        *) build_kubernetes "$part" ;;
    esac
done
