#!/bin/bash
# docker's compose plugin 2.40.3 from the Go module proxy, into DIR. plugins.sh DIR
# `go install …@version` refuses it: its go.mod has exclude and replace directives. A module that wraps it takes them over.
set -euo pipefail
dir=$(mkdir -p "$1/compose.module" && cd "$1" && pwd)
[ -x "$dir/docker-compose" ] && exit
module=github.com/docker/compose/v2
version=v2.40.3
export CGO_ENABLED=0
cd "$dir/compose.module"
rm -f go.mod go.sum
go mod init wrap
go_mod=$(cd / && go mod download -json $module@$version | python3 -c 'import json, sys; print(json.load(sys.stdin)["GoMod"])')
go mod edit -json "$go_mod" | python3 -c '
import json, sys
module = json.load(sys.stdin)
for r in module.get("Replace") or []:
    version = "@" + r["New"]["Version"] if r["New"].get("Version") else ""
    print("-replace=%s=%s%s" % (r["Old"]["Path"], r["New"]["Path"], version))
for e in module.get("Exclude") or []:
    print("-exclude=%s@%s" % (e["Path"], e["Version"]))' | while read -r edit; do go mod edit "$edit"; done
go mod edit -require $module@$version
printf '//go:build tools\npackage wrap\nimport _ "%s/cmd"\n' $module >tools.go
go mod tidy
go build -trimpath -ldflags="-s -w -X $module/internal.Version=$version" -o "$dir/docker-compose" $module/cmd
