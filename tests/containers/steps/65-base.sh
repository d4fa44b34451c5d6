# shellcheck shell=bash
# What is meant for a cluster of one's own, in the namespace that it names: k8s/setup, overlays with no other policy than the base's,
# k8s/router. Kafka and the FTP server are k8s/test's.

pool_namespace=ftp-pooler
b() { kubectl -n "$pool_namespace" "$@"; }
base_exec() { b exec -i ftp-pooler-0 -- /usr/local/bin/ftp-pooler "$@"; }
base_ready() { [ "$(b get $pool -o jsonpath='{.status.readyReplicas}/{.status.replicas}')" = "$1/$1" ]; }
base_address() { b get pod "$1" -o jsonpath='{.status.podIP}'; }

# The namespace, its names for the other namespace's servers, a Secret; the pool is let in there.
base_namespace() {
    kubectl apply -k "$project/k8s/setup" >/dev/null
    b apply -f - >/dev/null <<X
apiVersion: v1
kind: Service
metadata: {name: kafka}
spec: {type: ExternalName, externalName: kafka.$namespace.svc.cluster.local}
---
apiVersion: v1
kind: Secret
metadata: {name: ftp-pooler}
stringData: {FTP_POOLER__CONNECTIONS__REMOTE_FTP__PASS: correct horse}
X
    k apply -f - >/dev/null <<X
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: from-the-pool}
spec:
  podSelector: {matchExpressions: [{key: app.kubernetes.io/name, operator: In, values: [kafka, ftp-server]}]}
  ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: kubernetes.io/metadata.name, operator: In, values: [$pool_namespace, frp]}]}}]}]
X
}

# base_overlay NAME OVERLAY PARTITIONS REPLICAS: the folder of an overlay of one's own, as docs/OPERATIONS.md has it; topics called NAME-…
base_overlay() {
    local folder=$dir/overlay-$1
    mkdir -p "$folder"
    sed -E "s/(ftp-tasks|ftp-results|ftp-failures)/$1-\1/; s/consumer_group: .*/consumer_group: $1/; s/drain_seconds: .*/drain_seconds: 10/" "$project/k8s/base/config.yaml" >"$folder/config.yaml"
    printf '[remote-ftp]\ntype = ftp\nhost = ftp-server.%s.svc.cluster.local\nport = 2121\nuser = ftp\nmax_sessions = 2\n\n[local]\ntype = local\nbase_path = /data/storage\n' \
        "$namespace" >"$folder/connections.ini"
    cat >"$folder/kustomization.yaml" <<X
namespace: $pool_namespace
resources: [$(realpath --relative-to="$folder" "$project/k8s/overlays/$2")]
configMapGenerator:
  - {name: ftp-pooler-config, behavior: replace, files: [config.yaml]}
  - {name: ftp-pooler-connections, behavior: replace, files: [connections.ini], options: {disableNameSuffixHash: true}}
images:
  - {name: ftp-pooler, newName: ${image%:*}, newTag: "${image##*:}"}
patches:
  - patch: |
      - {op: replace, path: /spec/replicas, value: $4}
      - {op: replace, path: /spec/template/spec/containers/0/resources/requests, value: {cpu: 20m, memory: 48Mi, ephemeral-storage: 16Mi}}
    target: {kind: StatefulSet, name: ftp-pooler}
X
    kubectl apply -k "$folder" >"$dir/base.log" 2>&1 || { fail "kubectl apply -k an overlay on $2: $(cat "$dir/base.log")"; return 1; }
    grep -qi warn "$dir/base.log" && fail "apply warned: $(grep -i warn "$dir/base.log" | head -3)"
    b wait --for=jsonpath='{.status.phase}'=Running --timeout=120s pod/ftp-pooler-0 >/dev/null
    made() { base_exec topics --partitions "$3" --replication-factor 1; }
    within 60 made "$@" || { fail "topics of $1: $(made "$@" 2>&1 | tail -3)"; return 1; }
}

# base_tasks PREFIX COUNT: sent, and waited for until each is answered
base_tasks() {
    local i
    for i in $(seq "$2"); do task "$1-$i" $((i % 4 + 1)); done >"$dir/base-$1.tasks"
    base_exec submit - --wait --timeout 300s <"$dir/base-$1.tasks" >"$dir/base-$1.log" 2>&1
}
# base_audit NAME COUNT: each answered once, in the topics of NAME
base_audit() {
    local ids
    ids=$({ answers "$1-ftp-results" 8000; answers "$1-ftp-failures" 8000; } | sort)
    [ "$(wc -l <<<"$ids")" = "$2" ] && [ "$(uniq <<<"$ids" | wc -l)" = "$2" ] && ok "$2 tasks, each answered once: lost 0, doubled 0" ||
        fail "$2 tasks, $(wc -l <<<"$ids") answers of $(uniq <<<"$ids" | wc -l) tasks"
}
# How many pods have how many of the input topic's partitions: `1 of 0; 12 of 1; `.
base_spread() {
    b get pods -l app.kubernetes.io/component=pod -o jsonpath='{range .items[*]}{.status.podIP}{"\n"}{end}' | while read -r ip; do
        curl -s --max-time 5 "http://$ip:8080/api/v1/partitions" | jq --arg topic "$1-ftp-tasks" '[.partitions[] | select(.topic == $topic)] | length'
    done | sort -n | uniq -c | awk '{printf "%s pods with %s; ", $1, $2}'
}

# What all pods of the pool have used until now, in ms of CPU.
pool_cpu() { cluster_process "$pool_process" | while read -r pid; do sed 's/.*) //' "/proc/$pid/stat"; done | awk -v tick="$(getconf CLK_TCK)" '{sum += $12 + $13} END {print int(sum * 1000 / tick)}'; }

# Fifty pods on a topic of a hundred partitions: small requests, one volume.
step_fifty() {
    local pods=${FIFTY:-50} start=$SECONDS memory
    base_namespace
    local_volume pool-storage "$dir/pool-storage" 100Gi "$pool_namespace/ftp-pooler-storage" ReadWriteMany
    base_overlay fifty small $((pods * 2)) 1 || return 0
    within 120 base_ready 1 && ok "k8s/setup and k8s/overlays/small: a pod Ready after $((SECONDS - start)) s, under the base's NetworkPolicy alone" || { fail "k8s/overlays/small: $(b get pods)"; return; }
    base_tasks one 20 && ok "20 tasks through it" || fail "tasks of the small overlay: $(tail -2 "$dir/base-one.log")"
    b scale $pool --replicas="$pods" >/dev/null
    within 600 base_ready "$pods" && ok "scaled from 1 to $pods pods: all Ready after $took s" || fail "$pods pods: $(b get $pool)"
    two_each() { [ "$(base_spread fifty)" = "$pods pods with 2; " ]; }
    within 120 two_each && ok "$((pods * 2)) input partitions over $pods pods: 2 each" || fail "$((pods * 2)) input partitions: $(base_spread fifty)"
    local before
    before=$(pool_cpu)
    sleep 20
    note "CPU of $pods idle pods: $(($(pool_cpu) - before)) ms in 20 s"
    base_tasks many $((pods * 20)) && ok "$((pods * 20)) tasks through $pods pods" || fail "tasks through $pods pods: $(tail -2 "$dir/base-many.log")"
    memory=$(cluster_process "$pool_process" | while read -r pid; do awk '/^Pss:/{print $2}' "/proc/$pid/smaps_rollup"; done | sort -n | awk '{all[NR] = $1} END {printf "%d MB in the middle, %d MB at most", all[int((NR + 1) / 2)] / 1024, all[NR] / 1024}')
    note "memory of a pod (Pss): $memory"
    b scale $pool --replicas=2 >/dev/null
    within 300 base_ready 2 && ok "and back to 2 after $took s" || fail "back to 2: $(b get $pool)"
    within 120 eval '[ "$(base_spread fifty)" = "2 pods with '"$pods"'; " ]' && ok "each of them has $pods input partitions" || fail "input partitions of two: $(base_spread fifty)"
    base_audit fifty $((20 + pods * 20))
}

# through PATH POD: k8s/router's answer for this pod's page
through() { curl -s --max-time 5 -H "Host: 8080-$2.pool.example.com" "http://$router$1"; }
# k8s/router as it is, before the pool of step_fifty.
step_router() {
    local router pod answer
    [ -n "$(b get $pool -o name --ignore-not-found 2>/dev/null)" ] || { note "no pool for the router: step fifty makes it"; return; }
    answer=$(kubectl apply -k "$project/k8s/router" 2>&1) && ok "kubectl apply -k k8s/router" || { fail "kubectl apply -k k8s/router: $answer"; return; }
    grep -qi warn <<<"$answer" && fail "apply warned: $(grep -i warn <<<"$answer" | head -3)"
    two_routers() { [ "$(b get deployment/pattern-router -o jsonpath='{.status.readyReplicas}')" -ge 2 ]; }
    within 120 two_routers && ok "two replicas Ready after $took s (its autoscaler's least)" || { fail "k8s/router: $(b get pods | grep router; b logs deployment/pattern-router | tail -3)"; return; }
    router=$(b get service pattern-router -o jsonpath='{.spec.clusterIP}')
    for pod in ftp-pooler-0 ftp-pooler-1; do
        [ "$(through /api/v1/status $pod | jq -r .pod)" = $pod ] && ok "$pod through the router, found by the API server" || fail "$pod through the router: $(through /api/v1/status $pod | head -c 200)"
    done
    answer=$(curl -s -o /dev/null -w '%{http_code}' --max-time 5 -H "Host: 8080-ftp-pooler-9.pool.example.com" "http://$router/")
    [ "$answer" -ge 400 ] && ok "a pod that is not there: $answer" || fail "a pod that is not there: $answer"
    # Both replicas are replaced while requests come.
    b rollout restart deployment/pattern-router >/dev/null
    local asked=0 lost=0 start=$SECONDS
    replaced() { b rollout status --timeout=1s deployment/pattern-router >/dev/null 2>&1 && [ "$(b get pods -l app.kubernetes.io/name=pattern-router -o name | wc -l)" = 2 ]; }
    until replaced || [ $((SECONDS - start)) -gt 120 ]; do
        for _ in 1 2 3 4 5; do asked=$((asked + 1)); [ "$(through /api/v1/status ftp-pooler-0 | jq -r .pod)" = ftp-pooler-0 ] || lost=$((lost + 1)); sleep 0.1; done
    done
    [ $lost = 0 ] && ok "both replicas replaced in $((SECONDS - start)) s: $asked requests meanwhile, none lost" || fail "$lost of $asked requests lost while the router's replicas were replaced"
    b delete pod ftp-pooler-1 --wait=false >/dev/null
    found_again() { [ "$(through /api/v1/status ftp-pooler-1 | jq -r .ready)" = true ] && base_ready 2; }
    within 120 found_again && ok "a pod that was replaced: its new address known, Ready after $took s" || fail "a pod that was replaced: $(through /api/v1/status ftp-pooler-1 | head -c 200)"
    kubectl delete -k "$project/k8s/router" --wait=false >/dev/null 2>&1
}

# Downloads to a volume of each pod's own.
step_volume_per_pod() {
    local n files
    base_namespace
    # Another StatefulSet of the same name: its volumes cannot be changed in place. Namespace and claim must survive.
    kubectl delete -k "$dir/overlay-fifty" >/dev/null 2>&1 && {
        [ "$(b get pvc ftp-pooler-storage -o jsonpath='{.status.phase}')" = Bound ] && ok "delete -k of an overlay leaves the namespace and the claim" || fail "delete -k took the claim: $(b get pvc)"
    }
    b wait --for=delete pod/ftp-pooler-0 --timeout=120s >/dev/null 2>&1
    for n in 0 1 2; do local_volume "storage-$n" "$dir/pod-storage/$n" 100Gi "$pool_namespace/storage-ftp-pooler-$n"; done
    base_overlay per-pod volume-per-pod 12 3 || return 0
    within 120 base_ready 3 && ok "k8s/overlays/volume-per-pod: 3 pods Ready, each with a claim of its own ($(b get pvc -o jsonpath='{range .items[*]}{.metadata.name} {end}'))" || { fail "volume-per-pod: $(b get pods,pvc)"; return; }
    base_tasks volumes 90 && ok "90 downloads" || fail "downloads: $(tail -2 "$dir/base-volumes.log")"
    files=$(for n in 0 1 2; do find "$dir/pod-storage/$n" -name '*.bin' | wc -l; done | tr '\n' ' ')
    [ "$(awk '{print $1 + $2 + $3}' <<<"$files")" = 90 ] && ok "90 files, each on the volume of the pod that fetched it: $files" || fail "files by volume: $files"
    b scale $pool --replicas=2 >/dev/null
    within 120 base_ready 2
    [ "$(b get pvc storage-ftp-pooler-2 -o jsonpath='{.status.phase}')" = Bound ] && ok "scaled in: the third claim is kept" || fail "the third claim: $(b get pvc)"
    b scale $pool --replicas=3 >/dev/null
    within 120 base_ready 3 && [ "$(find "$dir/pod-storage/2" -name '*.bin' | wc -l)" = "$(awk '{print $3}' <<<"$files")" ] && ok "scaled out again: on its old volume, files and all" || fail "scaled out again"
    base_audit per-pod 90
    kubectl delete -k "$dir/overlay-per-pod" --wait=false >/dev/null 2>&1
}
