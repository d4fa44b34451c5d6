#!/bin/bash
# far-link:test, a proxy that makes a server a far one. far.sh WORKDIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
work=$(mkdir -p "$1/far-image" && cd "$1/far-image" && pwd)
GO111MODULE=off CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$work/far" "$here/far/main.go"
tar -C "$work" -c far | docker import --change 'USER 65532:65532' --change 'ENTRYPOINT ["/far"]' - far-link:test
rm -rf "$work"
