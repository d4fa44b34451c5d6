#!/bin/bash
# registry.k8s.io/pause:3.9, the image of a pod's sandbox, from a static binary. pause.sh WORKDIR
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1/pause"
gcc -Os -static -s -o "$1/pause/pause" "$here/pause/pause.c"
tar -C "$1/pause" -c pause | docker import --change 'USER 65535:65535' --change 'ENTRYPOINT ["/pause"]' - registry.k8s.io/pause:3.9
