# shellcheck shell=bash
# What dies, moves or goes away: pods, nodes, the broker, the FTP server.

step_kill() {
    k delete pod ftp-pooler-1 --grace-period=0 --force >/dev/null 2>&1
    within 90 ready 2 && ok "a pod deleted by force: its successor Ready after $took s" || fail "after a forced delete"
    kill -9 "$(cluster_process "$pool_process" | head -1)"
    within 30 bash -c "! kubectl -n $namespace get $pool -o jsonpath='{.status.readyReplicas}' | grep -q 2" || true
    within 90 ready 2 && ok "kill -9 of a pod's process: Ready again after $took s" || fail "after kill -9"
    within 60 spread_evenly 2 && ok "input partitions after both: $(input_partitions 2)" || fail "input partitions after both: $(input_partitions 2)"
}

step_drain() {
    local node pid least=2 replicas start=$SECONDS
    node=$(node_of ftp-pooler-1)
    timeout 240 kubectl drain "$node" --pod-selector="app.kubernetes.io/name=ftp-pooler,app.kubernetes.io/component=pod" \
        --ignore-daemonsets --delete-emptydir-data >"$dir/drain.log" 2>&1 &
    pid=$!
    if [ "$(node_count)" = 1 ]; then
        within 60 grep -q 'violate the pod.s disruption budget' "$dir/drain.log" && ok "the second eviction waits for the first pod to be back" || fail "PDB: $(tail -2 "$dir/drain.log")"
        kubectl uncordon "$node" >/dev/null
    fi
    while kill -0 $pid 2>/dev/null; do
        replicas=$(k get $pool -o jsonpath='{.status.readyReplicas}')
        [ "${replicas:-0}" -lt $least ] && least=${replicas:-0}
        sleep 0.3
    done
    wait $pid && [ "$least" -ge 1 ] && ok "node drained in $((SECONDS - start)) s, never fewer than $least pod Ready" || fail "drain: least $least; $(tail -2 "$dir/drain.log")"
    within 120 ready 2 && ok "both Ready, on $(node_of ftp-pooler-0) and $(node_of ftp-pooler-1)" || fail "back after the drain"
    kubectl uncordon "$node" >/dev/null
}

# A node dies with all that is on it.
step_node_lost() {
    [ "$(node_count)" -ge 2 ] || { note "one node: none can be lost"; return; }
    local lost other name shim socket=$dir/node2/run/containerd.sock
    k rollout restart $pool >/dev/null
    k rollout status --timeout=180s $pool >/dev/null
    lost=$(k get pods -o json | jq -r '.items[] | select(.spec.nodeName == "node2" and (.metadata.name | startswith("ftp-pooler-"))) | .metadata.name' | head -1)
    [ -n "$lost" ] || { fail "no pod of the pool on node2"; return; }
    other=ftp-pooler-$((1 - ${lost##*-}))
    for name in kubelet2 containerd2; do kill -9 "$(awk -v name=$name '$2 == name {print $1}' "$dir/pids" | tail -1)"; done
    pgrep -f "containerd-shim.* -address $socket" | while read -r shim; do pgrep -P "$shim" | xargs -r kill -9; kill -9 "$shim"; done
    has_all() { [ "$(curl -s --max-time 3 "http://$(address "$other"):8080/api/v1/partitions" | jq '[.partitions[] | select(.topic == "ftp-tasks")] | length')" = 12 ]; }
    within 90 has_all && ok "node2 dead: $other has all 12 input partitions after $took s" || fail "partitions after the loss of a node: $other has $(curl -s --max-time 3 "http://$(address "$other"):8080/api/v1/partitions" | jq -c "[.partitions[] | .topic] | group_by(.) | map([.[0], length])"), /ready $(curl -s --max-time 3 "http://$(address "$other"):8080/ready")"
    within 150 bash -c "kubectl get node node2 --no-headers | grep -q NotReady" && note "node2 NotReady"
    kubectl taint node node2 node.kubernetes.io/out-of-service=nodeshutdown:NoExecute >/dev/null
    within 240 ready 2 && ok "tainted out-of-service: both Ready again after $took s, $lost on $(node_of "$lost")" || { fail "after out-of-service"; k get pods -o wide; }
}

# The broker cannot be reached, as if a network had failed: before anything that a policy controller accepts in filter.
step_outage() {
    local broker_address before start seconds=${OUTAGE:-45}
    broker_address=$(address kafka-0)
    before=$(restarts)
    iptables -t raw -I PREROUTING -d "$broker_address" -p tcp --dport 9092 -j DROP
    start=$SECONDS
    within 75 bash -c "! kubectl -n $namespace get $pool -o jsonpath='{.status.readyReplicas}' | grep -q '[1-9]'" && ok "broker away: no pod Ready after $took s" || fail "broker away: pods stay Ready"
    note "/ready: $(curl -s --max-time 3 "http://$(address ftp-pooler-0):8080/ready" | head -c 200)"
    while [ $((SECONDS - start)) -lt "$seconds" ]; do sleep 1; done
    iptables -t raw -D PREROUTING -d "$broker_address" -p tcp --dport 9092 -j DROP
    within 120 ready 2 && ok "broker back after $seconds s: both Ready after $took s more" || fail "after the outage: $(curl -s "http://$(address ftp-pooler-0):8080/ready")"
    [ "$(restarts)" = "$before" ] && ok "nothing was restarted for it" || fail "restarts: $before, then $(restarts)"
}

# The broker's container dies; its data stays.
step_crash() {
    local before
    before=$(k get pod kafka-0 -o jsonpath='{.status.containerStatuses[0].restartCount}')
    kill -9 "$(cluster_process "$kafka_process" | head -1)"
    restarted() { [ "$(k get pod kafka-0 -o jsonpath='{.status.containerStatuses[0].restartCount}')" -gt "$before" ] && k wait --for=condition=Ready --timeout=1s pod/kafka-0; }
    within 120 restarted && ok "Kafka killed, back after $took s" || fail "Kafka back"
    within 120 ready 2 && ok "the pool Ready after $took s more" || fail "the pool after Kafka's crash"
}

# Kafka's pod is replaced, its data kept: its address changes under the pool. MOVES=20 for the long run.
step_kafka_moves() {
    local move old stuck=0 slowest=0 moves=${MOVES:-5}
    # What has one copy stays on node1: node2 is the one that gets lost.
    [ "$(node_count)" = 1 ] || kubectl cordon node2 >/dev/null
    kafka_keeps_its_data || { fail "Kafka on a claim of its own"; return; }
    for move in $(seq "$moves"); do
        old=$(address kafka-0)
        k delete pod kafka-0 >/dev/null
        k rollout status --timeout=180s statefulset/kafka >/dev/null
        task "moved-$move" 1 >"$dir/load/moved-$move.jsonl"
        if ftp_pooler submit - --wait --timeout 120s <"$dir/load/moved-$move.jsonl" >/dev/null 2>&1 && within 90 both_see_kafka; then
            [ "$took" -gt $slowest ] && slowest=$took
        else
            stuck=$((stuck + 1))
            note "move $move ($old to $(address kafka-0)): $(for pod in 0 1; do curl -s --max-time 3 "http://$(address ftp-pooler-$pod):8080/ready"; done | head -c 300)"
        fi
    done
    [ "$(node_count)" = 1 ] || kubectl uncordon node2 >/dev/null
    [ $stuck = 0 ] && ok "Kafka's address changed $moves times: a task was answered each time, both pods Ready at most $slowest s later" || fail "$stuck of $moves moves left a pod without Kafka"
}
both_see_kafka() { for pod in 0 1; do curl -s --max-time 3 "http://$(address ftp-pooler-$pod):8080/ready" | grep -q '"ready"' || return 1; done; }
# Moves the broker's log from the pod's emptyDir to a claim: from now on a new pod finds it. The broker is frozen before the copy
# and never goes on: nothing that it has acknowledged is missing in it.
kafka_keeps_its_data() {
    rm -rf "$dir/kafka-data"
    kill -STOP "$(cluster_process "$kafka_process" | head -1)"
    cp -a "$(find "$dir"/node1/kubelet/pods -path '*volumes/kubernetes.io~empty-dir/data' -type d | head -1)" "$dir/kafka-data" 2>/dev/null
    local_volume kafka-data "$dir/kafka-data" 2Gi "$namespace/kafka-data"
    chown -R 1000:1000 "$dir/kafka-data"
    k scale statefulset/kafka --replicas=0 >/dev/null
    k delete pod kafka-0 --grace-period=0 --force >/dev/null 2>&1
    k wait --for=delete pod/kafka-0 --timeout=90s >/dev/null 2>&1
    kubectl apply -f - >/dev/null <<X
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: kafka-data, namespace: $namespace}
spec: {accessModes: [ReadWriteOnce], volumeName: kafka-data, storageClassName: "", resources: {requests: {storage: 2Gi}}}
X
    k patch statefulset/kafka --type=json -p '[{"op": "replace", "path": "/spec/template/spec/volumes/0", "value": {"name": "data", "persistentVolumeClaim": {"claimName": "kafka-data"}}}]' >/dev/null &&
        k scale statefulset/kafka --replicas=1 >/dev/null && k rollout status --timeout=180s statefulset/kafka >/dev/null && within 120 ready 2
}

# The FTP server's pod goes and another comes, with another address.
step_ftp_moves() {
    local old before
    old=$(k get pod -l app.kubernetes.io/name=ftp-server -o jsonpath='{.items[0].status.podIP}')
    [ "$(node_count)" = 1 ] || kubectl cordon node2 >/dev/null
    k delete pod -l app.kubernetes.io/name=ftp-server --wait=false >/dev/null
    another() { [ "$(k get pod -l app.kubernetes.io/name=ftp-server -o jsonpath='{.items[?(@.status.conditions[?(@.type=="Ready")].status=="True")].status.podIP}')" != "$old" ] && k rollout status --timeout=1s deployment/ftp-server; }
    within 120 another && ok "another FTP server's pod after $took s" || fail "another FTP server's pod"
    [ "$(node_count)" = 1 ] || kubectl uncordon node2 >/dev/null
    before=$(answered_total)
    more() { [ "$(answered_total)" -gt $((before + 20)) ]; }
    within 120 more && ok "tasks are answered again after $took s" || fail "no task answered since"
}
