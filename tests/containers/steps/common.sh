# shellcheck shell=bash
# What the steps share: the namespace's kubectl, the pool's pods and figures, Kafka's own programs, tasks and answers.

k() { kubectl -n "$namespace" "$@"; }
pods_of() { k get pods -l app.kubernetes.io/name=ftp-pooler,app.kubernetes.io/instance=ftp-pooler,app.kubernetes.io/component=pod -o jsonpath="$1"; }
ready() { [ "$(k get $pool -o jsonpath='{.status.readyReplicas}')" = "$1" ] && [ "$(k get $pool -o jsonpath='{.status.replicas}')" = "$1" ]; }
address() { k get pod "$1" -o jsonpath='{.status.podIP}'; }
# metric POD NAME…: the sum of the samples whose line begins with NAME
metric() { curl -s --max-time 3 "http://$(address "$1"):9090/metrics" | awk -v name="$2" 'index($1, name) == 1 {sum += $2} END {print sum + 0}'; }
restarts() { pods_of '{range .items[*]}{.status.containerStatuses[0].restartCount} {end}' | tr ' ' '\n' | awk '{sum += $1} END {print sum + 0}'; }
# The input topic's partitions of pods 0 to N-1, each: `6 6 `.
input_partitions() {
    local n
    for ((n = 0; n < $1; n++)); do
        curl -s --max-time 3 "http://$(address "ftp-pooler-$n"):8080/api/v1/partitions" | jq '[.partitions[] | select(.topic == "ftp-tasks")] | length'
    done | tr '\n' ' '
}
# Whether N pods have all 12, and no two of them differ by more than one.
spread_evenly() {
    input_partitions "$1" | awk -v n="$1" '{for (i = 1; i <= NF; i++) {sum += $i; if (i == 1 || $i < min) min = $i; if ($i > max) max = $i}} END {exit !(NF == n && sum == 12 && max - min <= 1)}'
}
# load_images IMAGE…: from docker into the nodes' containerds
load_images() {
    local name home
    for name in "$@"; do
        for home in "$dir"/node*; do docker save "$name" | ctr -n k8s.io -a "$home/run/containerd.sock" images import - >/dev/null; done
    done
}
# add_connection SECTION: to connections.ini under running pods; \n is a line's end in it
add_connection() {
    k get configmap ftp-pooler-connections -o json | jq --arg section "$(printf '%b' "$1")" '.data["connections.ini"] += "\n" + $section + "\n"' |
        k apply -f - >/dev/null 2>&1
}
node_of() { k get pod "$1" -o jsonpath='{.spec.nodeName}'; }
node_count() { kubectl get nodes --no-headers | wc -l; }
broker() { local program=$1; shift; k exec -i kafka-0 -- "/opt/kafka/bin/$program" "$@"; }
ftp_pooler() { k exec -i ftp-pooler-0 -- /usr/local/bin/ftp-pooler "$@"; }

# cluster_process PATTERN: the process ids, of the cluster's containers alone
cluster_process() { pgrep -f "$1" | while read -r pid; do ! grep -q /fp-node "/proc/$pid/cgroup" 2>/dev/null || echo "$pid"; done; }
pool_process='^/usr/local/bin/ftp-pooler run --config /app' kafka_process='kafka.Kafka /opt/kafka/config/server.properties'

# task ID FILE [CONNECTION]: the download of pub/FILE.bin to /load/ID.bin
task() {
    printf '{"task_id": "%s", "operation": "download", "source": {"connection_id": "%s", "path": "pub/%s.bin"}, ' "$1" "${3:-remote-ftp}" "$2"
    printf '"destination": {"connection_id": "local", "path": "/load/%s.bin"}}\n' "$1"
}
# answers TOPIC: the task_ids, as a reader with read_committed sees them (by jq: a failure repeats its task)
answers() {
    broker kafka-console-consumer.sh --bootstrap-server kafka:9092 --topic "$1" --from-beginning --isolation-level read_committed \
        --timeout-ms "${2:-15000}" 2>/dev/null | jq -r .task_id
}
answered_total() { local pod sum=0; for pod in $(pods_of '{.items[*].metadata.name}'); do sum=$((sum + $(metric "$pod" ftp_pooler_tasks_answered_total))); done; echo $sum; }

# In place of a provisioner: a local volume; unlike a hostPath, kubelet gives it the pod's fsGroup.
# local_volume NAME DIRECTORY SIZE NAMESPACE/CLAIM [ACCESS]; both nodes see the directory, so that ReadWriteMany is no lie
local_volume() {
    mkdir -p "$2"
    chown 0:0 "$2"
    chmod 755 "$2"
    kubectl apply -f - >/dev/null <<X
apiVersion: v1
kind: PersistentVolume
metadata: {name: $1}
spec:
  capacity: {storage: $3}
  accessModes: [${5:-ReadWriteOnce}]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: ${4%/*}, name: ${4#*/}}
  local: {path: $2}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [node1, node2]}]}]}}
X
}
