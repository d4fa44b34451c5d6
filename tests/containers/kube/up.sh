#!/bin/bash
# A Kubernetes of real parts on this machine, without systemd, kubeadm or a registry: etcd, kube-apiserver, controller
# manager, scheduler, and for each node a containerd and a kubelet; kube-proxy, a bridge CNI, CoreDNS, and kube-router for
# NetworkPolicy. Ends when the nodes are Ready and CoreDNS answers. As root.
#
#   up.sh BIN DIR [IMAGE…]   BIN: what build.sh has made. DIR: all state, and each process in DIR/pids. IMAGE…: imported
#                            from the local docker daemon. NODES=2 by default: one machine, two nodes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1" && pwd)
dir=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
images=(registry.k8s.io/pause:3.9 coredns:test "$@")
nodes=${NODES:-2}
api_port=6443 etcd_port=25379 kubelet_port=26250
pod_net=10.244.0 service_net=10.96.0 bridge=fp-pods
node_address=$pod_net.1
docker=${docker_client:-docker}
mkdir -p "$dir"/{log,pki,run}
: >>"$dir/pids"
export KUBECONFIG=$dir/kubeconfig

start() {
    local name=$1
    shift
    setsid "$@" >"$dir/log/$name.log" 2>&1 </dev/null &
    echo "$! $name" >>"$dir/pids"
}
until_ok() {
    local limit=$1 what=$2 i
    shift 2
    for ((i = 0; i < limit * 4; i++)); do
        "$@" >/dev/null 2>&1 && { echo "$(date +%T)         $what"; return; }
        sleep 0.25
    done
    echo "not within $limit s: $what" >&2
    exit 1
}

# Pods' packets are forwarded (docker's policy is DROP), and those over the bridge are seen by kube-proxy.
network() {
    modprobe br_netfilter 2>/dev/null || true
    sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1 fs.inotify.max_user_instances=1024
    if ! ip link show $bridge >/dev/null 2>&1; then
        ip link add $bridge type bridge
        ip addr add $node_address/24 dev $bridge
        ip link set $bridge up
    fi
    # A service that kube-proxy does not know yet is nobody: its packets must not leave for whoever answers out there.
    ip route replace $service_net.0/24 dev $bridge
    for direction in -i -o; do
        iptables -C FORWARD $direction $bridge -j ACCEPT 2>/dev/null || iptables -I FORWARD $direction $bridge -j ACCEPT
    done
}

token() { head -c 24 /dev/urandom | base64 | tr -d '+/='; }
keys() {
    cd "$dir/pki"
    [ -e ca.crt ] && return
    openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 30 -subj /CN=test-ca 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout api.key -out api.csr -subj /CN=kube-apiserver 2>/dev/null
    openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out api.crt -extfile <(
        printf 'subjectAltName=IP:127.0.0.1,IP:%s,IP:%s.1,DNS:localhost' $node_address $service_net
        printf ',DNS:%s' kubernetes kubernetes.default kubernetes.default.svc kubernetes.default.svc.cluster.local
    ) 2>/dev/null
    # For API servers behind this one (metrics adapters): they believe whom this key names.
    openssl req -x509 -newkey rsa:2048 -nodes -keyout front-ca.key -out front-ca.crt -days 30 -subj /CN=front-proxy-ca 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout front.key -out front.csr -subj /CN=front-proxy-client 2>/dev/null
    openssl x509 -req -in front.csr -CA front-ca.crt -CAkey front-ca.key -CAcreateserial -days 30 -out front.crt 2>/dev/null
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    {
        printf '%s,admin,1,"system:masters"\n%s,system:kube-proxy,2,""\n%s,system:kube-scheduler,3,""\n' "$(token)" "$(token)" "$(token)"
        for ((n = 1; n <= nodes; n++)); do printf '%s,system:node:node%s,1%s,"system:nodes"\n' "$(token)" $n $n; done
    } >tokens.csv
    chmod 600 tokens.csv
}
# kubeconfig FILE LINE: of this line of tokens.csv
kubeconfig() {
    cat >"$1" <<X
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:$api_port", certificate-authority: $dir/pki/ca.crt}}]
users: [{name: u, user: {token: $(sed -n "$2p" "$dir/pki/tokens.csv" | cut -d, -f1)}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
X
    chmod 600 "$1"
}
kubeconfigs() {
    kubeconfig "$dir/kubeconfig" 1
    kubeconfig "$dir/pki/proxy.kubeconfig" 2
    kubeconfig "$dir/pki/scheduler.kubeconfig" 3
    for ((n = 1; n <= nodes; n++)); do kubeconfig "$dir/pki/kubelet$n.kubeconfig" $((3 + n)); done
}

control_plane() {
    local pki=$dir/pki
    start etcd etcd --data-dir="$dir/etcd" --listen-client-urls=http://127.0.0.1:$etcd_port \
        --advertise-client-urls=http://127.0.0.1:$etcd_port --listen-peer-urls=http://127.0.0.1:$((etcd_port + 1)) \
        --initial-advertise-peer-urls=http://127.0.0.1:$((etcd_port + 1)) --initial-cluster=default=http://127.0.0.1:$((etcd_port + 1))
    start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:$etcd_port --secure-port=$api_port --bind-address=0.0.0.0 \
        --advertise-address=$node_address --tls-cert-file="$pki/api.crt" --tls-private-key-file="$pki/api.key" \
        --token-auth-file="$pki/tokens.csv" --authorization-mode=Node,RBAC --service-account-issuer=https://kubernetes.default.svc \
        --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
        --service-cluster-ip-range=$service_net.0/24 --kubelet-preferred-address-types=InternalIP \
        --enable-admission-plugins=NodeRestriction --endpoint-reconciler-type=lease --allow-privileged=true \
        --requestheader-client-ca-file="$pki/front-ca.crt" --requestheader-allowed-names=front-proxy-client \
        --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
        --requestheader-extra-headers-prefix=X-Remote-Extra- --proxy-client-cert-file="$pki/front.crt" --proxy-client-key-file="$pki/front.key"
    until_ok 90 "API server ready" kubectl get --raw /readyz
    start controllers "$bin/kube-controller-manager" --kubeconfig="$dir/kubeconfig" --service-account-private-key-file="$pki/sa.key" \
        --root-ca-file="$pki/ca.crt" --leader-elect=false --controllers='*,-certificatesigningrequest-signing-controller' \
        --use-service-account-credentials=false --secure-port=$((kubelet_port + 7)) --bind-address=127.0.0.1
    start scheduler "$bin/kube-scheduler" --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false \
        --secure-port=$((kubelet_port + 9)) --bind-address=127.0.0.1
}

# Node N: a containerd of its own (docker's has no CRI), a kubelet, and a share of the bridge's addresses.
node() {
    local n=$1 share=$((250 / nodes)) home=$dir/node$1
    local socket=$home/run/containerd.sock port=$((kubelet_port + ($1 - 1) * 20))
    mkdir -p "$home"/{cni,kubelet,run}
    cat >"$home/containerd.toml" <<X
version = 2
root = "$home/containerd/root"
state = "$home/containerd/state"
[grpc]
  address = "$socket"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.9"
  disable_apparmor = true
  restrict_oom_score_adj = true   # without CAP_SYS_RESOURCE the sandbox cannot get its -998
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$home/cni"
X
    cat >"$home/cni/10-bridge.conflist" <<X
{"cniVersion": "0.4.0", "name": "pods$n", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$home/cni-ipam", "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "$pod_net.0/24",
     "gateway": "$node_address", "rangeStart": "$pod_net.$((2 + (n - 1) * share))", "rangeEnd": "$pod_net.$((1 + n * share))"}]]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
X
    start "containerd$n" containerd --config "$home/containerd.toml"
    until_ok 30 "containerd of node $n" ctr -a "$socket" version
    # Exit codes of containers that are gone are only in its events.
    start "events$n" ctr -n k8s.io -a "$socket" events
    for image in "${images[@]}"; do "$docker" save "$image" | ctr -n k8s.io -a "$socket" images import - >/dev/null; done
    cgroups "$n"
    cat >"$home/kubelet.yaml" <<X
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_address
port: $port
healthzPort: $((port - 2))
cgroupDriver: cgroupfs
cgroupRoot: /fp-node$n
failCgroupV1: false
failSwapOn: false
clusterDNS: [$service_net.10]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix://$socket
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 200Mi}
serializeImagePulls: false
syncFrequency: ${SYNC:-10s}
X
    start "kubelet$n" "$bin/kubelet" --config="$home/kubelet.yaml" --kubeconfig="$dir/pki/kubelet$n.kubeconfig" \
        --hostname-override="node$n" --node-ip=$node_address --root-dir="$home/kubelet"
}

# A root for each kubelet, or they clear away each other's pods.
cgroups() {
    local controller root
    for controller in /sys/fs/cgroup/*/; do
        root=$controller/fp-node$1
        mkdir -p "$root" 2>/dev/null || continue
        [ -e "$root/cpuset.cpus" ] || continue
        cat "$controller/cpuset.cpus" >"$root/cpuset.cpus"
        cat "$controller/cpuset.mems" >"$root/cpuset.mems"
    done
}

all_nodes_ready() {
    [ "$(kubectl get nodes -o jsonpath='{.items[*].status.conditions[?(@.type=="Ready")].status}' | grep -o True | wc -l)" = "$nodes" ]
}

# One kube-proxy and one policy controller: all nodes share this machine's network namespace.
cluster_network() {
    cat >"$dir/proxy.yaml" <<X
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $dir/pki/proxy.kubeconfig}
mode: iptables
clusterCIDR: $pod_net.0/24
hostnameOverride: node1
bindAddress: 127.0.0.1
healthzBindAddress: 127.0.0.1:$((kubelet_port + 6))
metricsBindAddress: 127.0.0.1:$((kubelet_port - 1))
conntrack: {maxPerCore: 0, min: 0}
X
    kubectl create clusterrolebinding test-kube-proxy --clusterrole=system:node-proxier --user=system:kube-proxy >/dev/null 2>&1 || true
    start kube-proxy "$bin/kube-proxy" --config="$dir/proxy.yaml"
    until_ok 120 "$nodes node(s) Ready" all_nodes_ready
    start kube-router "$bin/kube-router" --kubeconfig="$dir/kubeconfig" --hostname-override=node1 --run-router=false \
        --run-service-proxy=false --run-firewall=true --service-cluster-ip-range=$service_net.0/24 --health-port=0 --iptables-sync-period=30s
    # What has one copy (CoreDNS, Kafka, the FTP server) comes to node1; the tests open the other nodes when these are there.
    for ((n = 2; n <= nodes; n++)); do kubectl cordon "node$n" >/dev/null; done
    sed "s/DNS_IP/$service_net.10/" "$here/coredns.yaml" | kubectl apply -f - >/dev/null
    until_ok 120 "CoreDNS ready" dns_ready
}
dns_ready() { kubectl -n kube-system get deployment coredns -o jsonpath='{.status.readyReplicas}' | grep -q 1; }

network
keys
kubeconfigs
control_plane
for ((n = 1; n <= nodes; n++)); do node $n; done
cluster_network
