# shellcheck shell=bash
# k8s/test as it is, its jobs, Pod Security.

partitions_of() {
    broker kafka-topics.sh --bootstrap-server kafka:9092 --describe --topic "$1" 2>/dev/null | grep -oE 'PartitionCount: [0-9]+' | grep -oE '[0-9]+'
}

step_apply() {
    local output start=$SECONDS object topic count
    local_volume ftp-pooler-storage "$dir/storage" 1Gi "$namespace/ftp-pooler-storage"
    output=$(kubectl apply -k "$project/k8s/test" 2>&1) && ok "kubectl apply -k k8s/test" || fail "kubectl apply -k k8s/test: $output"
    grep -qi warn <<<"$output" && fail "apply warned: $(grep -i warn <<<"$output" | head -3)"
    for object in statefulset/kafka deployment/ftp-server $pool; do
        k rollout status --timeout=240s "$object" >/dev/null && ok "$object Ready after $((SECONDS - start)) s" ||
            { fail "$object Ready"; k get pods -o wide; k get events --sort-by=.lastTimestamp | tail -15; }
    done
    k wait --for=condition=complete --timeout=240s job/topics job/e2e >/dev/null && ok "jobs topics and e2e complete after $((SECONDS - start)) s" ||
        { fail "jobs"; k get pods; k logs job/e2e | tail -5; }
    # On a broker with Kafka's own defaults: no client of ours may have made a topic with one partition.
    for topic in ftp-tasks ftp-tasks-retry; do
        count=$(partitions_of $topic)
        [ "$count" = 12 ] && ok "$topic has 12 partitions" || fail "$topic has $count partitions; the job said: $(k logs job/topics | grep "^$topic " | tr -s ' ')"
    done
    [ "$(stat -c '%u:%g %a' "$dir/storage")" = '0:65532 2775' ] && ok "the volume's root is 0:65532 2775 (fsGroup)" || fail "volume's root: $(stat -c '%u:%g %a' "$dir/storage")"
    [ "$(restarts)" = 0 ] && ok "no pod of the pool was restarted" || fail "$(restarts) restarts"
}

step_security() {
    local output pid
    output=$(k run bad --image="$image" 2>&1)
    grep -q 'violates PodSecurity "restricted' <<<"$output" && ok "a pod without a security context is refused" || fail "not refused: $output"
    output=$(k get pods -o json | jq -r '.items[] | select(.metadata.labels["app.kubernetes.io/name"] == "ftp-pooler") | .spec.containers[0].securityContext.readOnlyRootFilesystem' | sort -u)
    [ "$output" = true ] && ok "read-only root file systems" || fail "readOnlyRootFilesystem: $output"
    pid=$(cluster_process "$pool_process" | head -1)
    output=$(awk '/^(Uid|CapEff|NoNewPrivs|Seccomp):/{print $2}' "/proc/$pid/status" | tr '\n' ' ')
    [ "$output" = "65532 0000000000000000 1 2 " ] && ok "user 65532, no capability, no new privileges, seccomp" || fail "process: $output"
    output=$(k exec kafka-0 -- getent hosts ftp-pooler-0.ftp-pooler ftp-pooler-1.ftp-pooler | wc -l)
    [ "$output" = 2 ] && ok "each pod has its name in the headless service" || fail "headless names: $output"
    output=$(ftp_pooler check 2>&1) && ok "ftp-pooler check in a pod" || fail "ftp-pooler check in a pod: $(tail -3 <<<"$output")"
    check "ftp-pooler lag in a pod" ftp_pooler lag
}
