#!/bin/sh
# A client host and a server host with a wide-area link between them, on one Linux machine.
#
#   wan.sh up NAME RTT_MS [LOSS_PER_MILLION [count]]   network namespaces NAME-client (10.77.0.1) and NAME-server
#                                                      (10.77.0.2); stays in the foreground as the link itself;
#                                                      count: it says each round trip
#   wan.sh down NAME                                   takes them away
#
#   ip netns exec NAME-server vsftpd server.conf &
#   ip netns exec NAME-client curl ftp://10.77.0.2/file
#
# NAME has at most 12 characters: the kernel's interface names have 15. Needs root, iproute2 and a C compiler
# (Debian: iproute2, gcc). Several links stand side by side under different names.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
case "${1:-}:$#" in
up:[345])
    name=$2 rtt_ms=$3 loss=${4:-0} count=${5:-}
    link=$(mktemp)
    cc -O2 -o "$link" "$here/wan.c"
    "$0" down "$name"
    for side in client:a:1 server:b:2; do
        ns=$name-${side%%:*}
        near=$name-$(echo "$side" | cut -d: -f2)
        ip netns add "$ns"
        ip link add "$near" type veth peer name eth0 netns "$ns"
        ip link set "$near" up
        ip -n "$ns" addr add "10.77.0.${side##*:}/24" dev eth0
        ip -n "$ns" link set eth0 up
        ip -n "$ns" link set lo up
    done
    # The open descriptor keeps the program while its name goes: nothing is left behind, however this ends.
    exec 3<"$link"
    rm "$link"
    exec /proc/self/fd/3 "$name-a" "$name-b" $((rtt_ms * 500)) "$loss" ${count:+"$count"}
    ;;
down:2)
    for side in client:a server:b; do
        ip netns del "$2-${side%:*}" 2>/dev/null || true
        ip link del "$2-${side#*:}" 2>/dev/null || true
    done
    ;;
*)
    sed -n '2,13p' "$0"
    exit 2
    ;;
esac
