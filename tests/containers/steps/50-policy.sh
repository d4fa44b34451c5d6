# shellcheck shell=bash
# What the NetworkPolicies let through, enforced by kube-router.

# A pod with bash, to try connections from. prober NAMESPACE NAME LABELS
prober() {
    kubectl create namespace "$1" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl -n "$1" apply -f - >/dev/null <<X
apiVersion: v1
kind: Pod
metadata: {name: $2, labels: {$3}}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - {name: x, image: "apache/kafka:4.1.0", imagePullPolicy: IfNotPresent, command: [sleep, "3600"], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}
X
    kubectl -n "$1" wait --for=condition=Ready --timeout=90s "pod/$2" >/dev/null
}
# connects NAMESPACE POD HOST PORT
connects() { kubectl -n "$1" exec "$2" -- timeout 4 bash -c "exec 3<>/dev/tcp/$3/$4" >/dev/null 2>&1; }
refused() { ! connects "$@"; }

step_policy() {
    local kafka ftp pod i
    kafka=$(address kafka-0)
    pod=$(address ftp-pooler-0)
    ftp=$(k get pod -l app.kubernetes.io/name=ftp-server -o jsonpath='{.items[0].status.podIP}')
    prober elsewhere stranger "app: stranger"
    prober monitoring prometheus "app: prometheus"
    prober "$namespace" neighbour "app: neighbour"
    within 60 refused elsewhere stranger "$kafka" 9092
    check "open: a stranger's pod to CoreDNS (so that closed means closed)" connects elsewhere stranger \
        "$(kubectl -n kube-system get pod -l k8s-app=kube-dns -o jsonpath='{.items[0].status.podIP}')" 8181
    check "closed: a stranger's pod to Kafka" refused elsewhere stranger "$kafka" 9092
    check "closed: a stranger's pod to a pod's page" refused elsewhere stranger "$pod" 8080
    check "closed: a stranger's pod to the FTP server" refused elsewhere stranger "$ftp" 2121
    check "open: from this namespace to the page" connects "$namespace" neighbour "$pod" 8080
    check "open: from this namespace to the metrics" connects "$namespace" neighbour "$pod" 9090
    check "open: Prometheus' namespace to the metrics" connects monitoring prometheus "$pod" 9090
    check "closed: Prometheus' namespace to the page" refused monitoring prometheus "$pod" 8080
    check "closed: from this namespace to the API server" refused "$namespace" neighbour 10.244.0.1 26443
    check "open: the node's own probes (pods are Ready)" ready 2
    for i in 1 2 3 4 5 6; do task "policy-$i" $i; done | tee "$dir/load/policy.jsonl" | ftp_pooler submit - --wait --timeout 90s >/dev/null &&
        ok "open: DNS, Kafka, FTP control and passive data (6 tasks)" || fail "tasks under the policies"
    kubectl delete namespace elsewhere monitoring --wait=false >/dev/null
    k delete pod neighbour --wait=false >/dev/null
}
