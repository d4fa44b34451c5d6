# shellcheck shell=bash
# What more pods are worth: the same server, far away, taken by one, two and four of them.

# A server 100 ms away: k8s/test's own behind a proxy that is late. Every pod has SESSIONS sessions with it.
far_server() {
    [ -z "$(k get deployment far-ftp -o name --ignore-not-found)" ] || return 0
    have_image far-link:test || "$here/images/far.sh" "$cache" >/dev/null || { fail "the far server's image"; return 1; }
    load_images far-link:test
    k apply -f - >/dev/null <<X
apiVersion: apps/v1
kind: Deployment
metadata: {name: far-ftp}
spec:
  selector: {matchLabels: {app.kubernetes.io/name: far-ftp}}
  template:
    metadata: {labels: {app.kubernetes.io/name: far-ftp}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 0
      securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: far
          image: far-link:test
          imagePullPolicy: IfNotPresent
          args: [ftp-server, ${ROUND_TRIP:-100ms}, "2121", 40000-40099]
          readinessProbe: {tcpSocket: {port: 2121}}
          resources: {requests: {cpu: 20m, memory: 32Mi}, limits: {memory: 512Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: far-ftp}
spec:
  clusterIP: None
  selector: {app.kubernetes.io/name: far-ftp}
  ports: [{name: ftp, port: 2121}]
X
    k rollout status --timeout=90s deployment/far-ftp >/dev/null || { fail "the far server"; return 1; }
    add_connection "[far]\ntype = ftp\nhost = far-ftp\nport = 2121\nuser = ftp\npass = correct horse\nmax_sessions = ${SESSIONS:-4}"
    within 180 both_know far || { fail "the far server's connection"; return 1; }
}

# far_burst NAME COUNT: downloads of 100 kB from the far server
far_burst() {
    local i
    for i in $(seq "$2"); do task "$1-$i" 1 far; done | tee "$dir/load/$1.jsonl" | ftp_pooler submit - >/dev/null || fail "submit of $1"
}

# answers_a_second NAME: from the answers' own times in Kafka, of those between the first tenth and the last
answers_a_second() {
    broker kafka-console-consumer.sh --bootstrap-server kafka:9092 --topic ftp-results --from-beginning --isolation-level read_committed \
        --timeout-ms 8000 --property print.timestamp=true 2>/dev/null | python3 -c '
import json, sys
times = []
for line in sys.stdin:
    time, _, record = line.partition("\t")
    if json.loads(record)["task_id"].startswith(sys.argv[1] + "-"): times.append(int(time.split(":")[1]))
times.sort()
skip = len(times) // 10
middle = times[skip:len(times) - skip]
print("%.1f" % ((len(middle) - 1) * 1000 / max(middle[-1] - middle[0], 1)) if len(middle) > 1 else 0)' "$1"
}

step_throughput() {
    local pods figures=() rates=() before
    far_server || return 0
    for pods in 1 2 4; do
        scale_to $pods
        before=$(answered_total)
        far_burst "far$pods" $((250 * pods))
        all_answered() { [ "$(answered_total)" -ge $((before + 250 * pods)) ]; }
        within 300 all_answered || fail "$((250 * pods)) tasks on a far server: $(($(answered_total) - before)) answered in 300 s"
        rates+=("$(answers_a_second "far$pods")")
        figures+=("$pods: ${rates[-1]} a second;")
    done
    awk -v one="${rates[0]}" -v four="${rates[2]}" 'BEGIN {exit !(four > 2 * one)}' &&
        ok "downloads of 100 kB from a server ${ROUND_TRIP:-100ms} away, ${SESSIONS:-4} sessions a pod, by pods: ${figures[*]}" ||
        fail "four pods are not worth two: ${figures[*]}"
    scale_to 2
}
