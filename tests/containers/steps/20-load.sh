# shellcheck shell=bash
# Tasks under way while the other steps scale, update and break the pool.

# TASKS at once, of the largest file, sent as k8s/test/e2e.yaml does it.
burst() {
    local name=$1 i
    for i in $(seq "${TASKS:-2000}"); do task "$name-$i" 8; done >"$dir/load/$name.jsonl"
    k create configmap "$name" --from-file=tasks.jsonl="$dir/load/$name.jsonl" >/dev/null
    k get job e2e -o json | jq --arg name "$name" '
        del(.status, .metadata.uid, .metadata.resourceVersion, .metadata.creationTimestamp, .metadata.annotations, .metadata.labels,
            .spec.selector, .spec.template.metadata.labels)
        | .metadata = {name: $name, namespace: .metadata.namespace} | .spec.template.metadata.labels = {"app.kubernetes.io/name": "load"}
        | .spec.template.spec.volumes |= map(if .configMap.name == "e2e" then .configMap.name = $name else . end)
        | .spec.template.spec.containers[0].args = ["submit", "/e2e/tasks.jsonl", "--config", "/app/config/config.yaml"]' | k create -f - >/dev/null
    k wait --for=condition=complete --timeout=120s "job/$name" >/dev/null && ok "${TASKS:-2000} tasks submitted by a Job ($name)" || fail "submit by a Job ($name)"
}

# A stream of PACED tasks, PACE a second, from a pod beside Kafka, for as long as the other steps take.
step_pace() {
    local count=${PACED:-7000} pace=${PACE:-10} i
    for i in $(seq "$count"); do echo "pace-$i"; done >"$dir/load/pace.ids"
    k apply -f - >/dev/null <<X
apiVersion: v1
kind: Pod
metadata: {name: pace, labels: {app.kubernetes.io/name: pace}}
spec:
  restartPolicy: Never
  automountServiceAccountToken: false
  securityContext: {runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: pace
      image: apache/kafka:4.1.0
      imagePullPolicy: IfNotPresent
      command: [bash, -c]
      args:
        - |
          for ((n = 1; n <= $count; n++)); do
            printf '$(task 'pace-%d' 1 | sed 's/\\n//')\\n' \$n \$n; [ \$((n % $pace)) = 0 ] && sleep 1
          done | /opt/kafka/bin/kafka-console-producer.sh --bootstrap-server kafka:9092 --topic ftp-tasks \
              --producer-property delivery.timeout.ms=600000 --producer-property request.timeout.ms=10000 --producer-property max.block.ms=600000
      resources: {requests: {cpu: 50m, memory: 192Mi}, limits: {memory: 384Mi}}
      securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
X
    k wait --for=condition=Ready --timeout=60s pod/pace >/dev/null && ok "$count tasks come at $pace a second" || fail "the stream of tasks"
}

# Two nodes: the pods are not on the same one.
step_spread() {
    [ "$(node_count)" -ge 2 ] || { note "one node: nothing to spread over"; return; }
    kubectl uncordon node2 >/dev/null
    k rollout restart $pool >/dev/null
    k rollout status --timeout=180s $pool >/dev/null
    [ "$(node_of ftp-pooler-0)" != "$(node_of ftp-pooler-1)" ] && ok "two nodes, a pod on each" || fail "both pods on $(node_of ftp-pooler-0)"
}

scale_to() {
    k scale $pool --replicas="$1" >/dev/null
    within 180 ready "$1" && ok "scaled to $1, all Ready after $took s" || { fail "scale to $1"; k get pods; }
    within 60 spread_evenly "$1" && ok "12 input partitions over $1: $(input_partitions "$1")" || fail "12 input partitions over $1: $(input_partitions "$1")"
}
step_scale() {
    burst scale
    for replicas in 1 2 4 2; do scale_to $replicas; done
}
# Twice round again: an even spread is no luck.
step_even() { for replicas in 3 1 4 3 2; do scale_to $replicas; done; }

step_rollout() {
    local start=$SECONDS
    k rollout restart $pool >/dev/null
    k rollout status $pool --timeout=240s >/dev/null && ok "rollout restart in $((SECONDS - start)) s" || fail "rollout restart"
    within 60 spread_evenly 2 && ok "input partitions after it: $(input_partitions 2)" || fail "input partitions after the rollout: $(input_partitions 2)"
}

# Every task is answered once, seen with read_committed, and every file is there, whole.
step_audit() {
    local lost doubled unknown wrong
    k wait --for=jsonpath='{.status.phase}'=Succeeded --timeout=600s pod/pace >/dev/null 2>&1 && ok "the stream of tasks is through" ||
        note "the stream's pod is $(k get pod pace -o jsonpath='{.status.phase}' 2>/dev/null | grep . || echo gone); all that it was to send is looked for"
    { cat "$dir"/load/*.jsonl | jq -r .task_id; cat "$dir"/load/*.ids; } 2>/dev/null | sort -u >"$dir/sent"
    for _ in $(seq 40); do
        { answers ftp-results; answers ftp-failures; } | grep -v '^e2e-' | sort >"$dir/answered"
        [ "$(comm -23 "$dir/sent" <(uniq "$dir/answered") | wc -l)" = 0 ] && break
        sleep 5
    done
    lost=$(comm -23 "$dir/sent" <(uniq "$dir/answered") | wc -l)
    doubled=$(uniq -d "$dir/answered" | wc -l)
    unknown=$(comm -13 "$dir/sent" <(uniq "$dir/answered") | wc -l)
    [ "$lost$doubled$unknown" = 000 ] && ok "$(wc -l <"$dir/sent") tasks, each answered once: lost 0, doubled 0" ||
        fail "sent $(wc -l <"$dir/sent"), answered $(wc -l <"$dir/answered"): lost $lost, doubled $doubled, unknown $unknown"
    # The server makes its files; two copies of one of them tell what all copies must be.
    wrong=$(find "$dir/storage/load" -name 'pace-*.bin' -print0 | xargs -0 sha256sum | cut -d' ' -f1 | sort -u | wc -l)
    [ "$wrong" = 1 ] && ok "$(find "$dir/storage/load" -name 'pace-*.bin' | wc -l) files of the stream, all alike" || fail "$wrong different contents in files of the stream"
    [ -z "$(find "$dir/storage" -type f ! -name '*.bin')" ] && ok "no temp file left" || fail "left over: $(find "$dir/storage" -type f ! -name '*.bin' | head -3)"
    note "exit codes of the pool's containers: $(exit_codes | sort | uniq -c | tr -s ' ' | tr '\n' ';')"
}

# Of all containers of the pool's image that have ended: a pod that is gone takes its status with it, so from containerd's events.
exit_codes() {
    python3 - "$image" "$dir"/log/events*.log <<'PY'
import json, re, sys
image_of, image, logs = {}, sys.argv[1], sys.argv[2:]
for line in (line for log in logs for line in open(log, errors="replace")):
    match = re.search(r" (/\S+) (\{.*\})$", line)
    if not match: continue
    topic, event = match[1], json.loads(match[2])
    if topic == "/containers/create": image_of[event["id"]] = event.get("image", "")
    if topic == "/tasks/exit" and event.get("id") == event.get("container_id") and image_of.get(event["container_id"], "").endswith("/" + image):
        print("exit", event.get("exit_status", 0))
PY
}
