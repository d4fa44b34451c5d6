#!/bin/bash
# Takes away what up.sh has made, by the processes that it noted. down.sh DIR
set -u
[ -e "$1" ] || exit 0
dir=$(cd "$1" && pwd)
bridge=fp-pods

stop() {
    local pid
    pid=$(awk -v name="$1" '$2 == name {print $1}' "$dir/pids" | tail -1)
    [ -n "$pid" ] || return 0
    kill "$pid" 2>/dev/null
    for _ in $(seq 40); do
        [ -d "/proc/$pid" ] || return 0
        sleep 0.25
    done
    kill -9 "$pid" 2>/dev/null
}

# What a node's containerd still runs.
end_containers() {
    local socket=$1 id
    for id in $(ctr -n k8s.io -a "$socket" tasks ls -q 2>/dev/null); do ctr -n k8s.io -a "$socket" tasks kill -s KILL -a "$id" 2>/dev/null; done
    sleep 1
    for id in $(ctr -n k8s.io -a "$socket" containers ls -q 2>/dev/null); do
        ctr -n k8s.io -a "$socket" tasks rm -f "$id" >/dev/null 2>&1
        ctr -n k8s.io -a "$socket" containers rm "$id" >/dev/null 2>&1
    done
}

for home in "$dir"/node*; do
    [ -d "$home" ] || continue
    n=${home##*node}
    stop "kubelet$n"
    end_containers "$home/run/containerd.sock"
    stop "events$n"
    stop "containerd$n"
    # Shims outlive containerd.
    pgrep -f "containerd-shim.* -address $home/run/containerd.sock" | while read -r pid; do kill -9 "$pid"; done
done
for name in kube-router kube-proxy scheduler controllers apiserver etcd; do stop $name; done

# Mounts and network namespaces of sandboxes.
awk -v dir="$dir" 'index($2, dir) == 1 {print $2}' /proc/mounts | sort -r | while read -r mount; do
    umount "$mount" 2>/dev/null || umount -l "$mount"
done
ip netns list 2>/dev/null | awk '/^cni-/{print $1}' | while read -r namespace; do ip netns del "$namespace"; done
for direction in -i -o; do while iptables -D FORWARD $direction $bridge -j ACCEPT 2>/dev/null; do :; done; done
ip link del $bridge 2>/dev/null

# The chains of kube-proxy, kubelet, kube-router and the CNI plugins, and the sets that they look at.
for table in nat filter mangle; do
    iptables-save -t $table 2>/dev/null | grep -E '^-A' | grep -E 'KUBE-|CNI-' | sed 's/^-A/-D/' |
        while read -r rule; do eval "iptables -t $table $rule" 2>/dev/null; done
    for _ in 1 2; do
        iptables-save -t $table 2>/dev/null | awk -F'[: ]' '/^:(KUBE|CNI)-/{print $2}' | while read -r chain; do
            iptables -t $table -F "$chain" 2>/dev/null
            iptables -t $table -X "$chain" 2>/dev/null
        done
    done
done
ipset list -n 2>/dev/null | grep -E '^(KUBE|kube-router)' | while read -r set; do ipset destroy "$set" 2>/dev/null; done
for root in /sys/fs/cgroup/*/fp-node*; do [ -d "$root" ] && find "$root" -depth -type d -exec rmdir {} \; 2>/dev/null; done
rm -rf "$dir"
