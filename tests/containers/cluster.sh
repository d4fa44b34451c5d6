#!/bin/bash
# k8s/test on a real Kubernetes of two nodes, scaled, drained, updated and broken under load. `make cluster-test`
#
#   cluster.sh [STEP…]    all steps of steps/ in the order below by default
#
# Needs root, Debian 12, Go 1.24 or newer, 20 GB of disk, 8 GB of memory; the first time an hour of two cores (the images,
# Kubernetes), then some 35 minutes. Exits 77 where it cannot run. Takes away what it has made; KEEP=1 leaves the
# cluster up (KUBECONFIG=$cache/cluster/kubeconfig), REUSE=1 takes it again, kube/down.sh ends it.
set -uo pipefail
source "$(dirname "$0")/lib.sh"
for file in "$here"/steps/*.sh; do source "$file"; done

all_steps=(apply security spread scale even throughput pace rollout upgrade kill drain reload tunnel outage crash ftp_moves kafka_moves
    autoscale fifty router volume_per_pod node_lost policy audit chart overlays)
steps=("${@:-${all_steps[@]}}")
[ $# -gt 0 ] || steps=("${all_steps[@]}")
dir=$cache/cluster
bin=$cache/bin
namespace=ftp-pooler-test
pool=statefulset/ftp-pooler

need_root "network namespaces, mounts, iptables"
need_packages "a Kubernetes node" containernetworking-plugins etcd-server debootstrap iptables ipset conntrack jq openssl curl gcc libc6-dev
[ -e "$dir/pids" ] || no_kubernetes
need_docker
command -v go >/dev/null || cannot "Go is missing: Kubernetes is built from source"
say "Kubernetes 1.33, CoreDNS and kube-router from the Go module proxy (once)"
"$here/kube/build.sh" "$bin" >"$cache/kube-build.log" 2>&1 || { tail -20 "$cache/kube-build.log"; cannot "Kubernetes does not build"; }
export PATH=$bin:$PATH KUBECONFIG=$dir/kubeconfig
base_images
kafka_image
have_image registry.k8s.io/pause:3.9 || "$here/images/pause.sh" "$cache" >/dev/null
have_image coredns:test || tar -C "$bin" -c coredns | docker import --change 'ENTRYPOINT ["/coredns"]' - coredns:test >/dev/null
if [ -n "${BINARIES-}" ]; then
    image_of_binaries "$BINARIES"
else
    [ -n "${NO_BUILD-}" ] && have_image "$image" || project_image
fi || { verdict cluster-test "The cluster"; exit 1; }
[ -z "${PREVIOUS-}" ] || previous_image "$PREVIOUS"
docker build -q -t ftp-pooler-ftp-server:test "$project/k8s/test/ftp-server" >/dev/null || cannot "the FTP server's image does not build"

[ -n "${KEEP-}" ] || trap '"$here/kube/down.sh" "$dir"' EXIT
if [ -z "${REUSE-}" ] || ! kubectl get --raw /readyz >/dev/null 2>&1; then
    "$here/kube/down.sh" "$dir" 2>/dev/null
    start=$SECONDS
    "$here/kube/up.sh" "$bin" "$dir" "$image" ftp-pooler-ftp-server:test apache/kafka:4.1.0 || { tail -5 "$dir"/log/*.log; cannot "the cluster does not come up"; }
    ok "a cluster of ${NODES:-2} nodes in $((SECONDS - start)) s"
fi
mkdir -p "$dir/load"
for step in "${steps[@]}"; do
    start=$SECONDS
    "step_$step"
    note "step $step: $((SECONDS - start)) s"
done
verdict cluster-test "The cluster"
