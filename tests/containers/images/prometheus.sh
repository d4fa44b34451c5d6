#!/bin/bash
# A stand-in for prom/prometheus:v3.5.0: Prometheus 3.5.0 (module v0.305.0) from the Go module proxy, without its page
# and with the user, paths and CMD of the real image. prometheus.sh WORKDIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$1/prometheus-image
export CGO_ENABLED=0
rm -rf "$work"
mkdir -p "$work/module"
cp "$here/prometheus/Dockerfile" "$work/"
cd "$work/module"
go mod init wrap
go mod edit -require github.com/prometheus/prometheus@v0.305.0
printf '//go:build tools\npackage wrap\nimport _ "github.com/prometheus/prometheus/cmd/prometheus"\n' >tools.go
go mod tidy
go build -trimpath -tags netgo -ldflags="-s -w -X github.com/prometheus/common/version.Version=3.5.0" \
    -o "$work/prometheus" github.com/prometheus/prometheus/cmd/prometheus
rm -rf "$work/module"
docker build -q -t prom/prometheus:v3.5.0 "$work"
rm -rf "$work"
