# shellcheck shell=bash
# The HorizontalPodAutoscaler of k8s/overlays/hpa, as it is, fed by a prometheus-adapter with the example beside it, and a Prometheus with
# the project's rules.

# The adapter and Prometheus, once.
metrics_images() {
    pull_or_make prom/prometheus:v3.5.0 "$here/images/prometheus.sh" "$cache"
    have_image prometheus-adapter:test && return
    say "prometheus-adapter from the Go module proxy (once)"
    "$here/kube/build.sh" "$bin" prometheus-adapter >"$cache/adapter-build.log" 2>&1 &&
        tar -C "$bin" -c prometheus-adapter | docker import --change 'ENTRYPOINT ["/prometheus-adapter"]' - prometheus-adapter:test >/dev/null
}

# `pod: tasks` of all pods, as the autoscaler sees them.
pending_by_pod() {
    kubectl get --raw "/apis/custom.metrics.k8s.io/v1beta1/namespaces/$namespace/pods/*/ftp_pooler_pending_tasks" |
        jq -r '[.items[] | "\(.describedObject.name): \(.value)"] | join(", ")'
}
replicas() { k get $pool -o jsonpath='{.spec.replicas}'; }

metrics_pipeline() {
    metrics_images && load_images prom/prometheus:v3.5.0 prometheus-adapter:test || { fail "prometheus-adapter does not build"; return 1; }
    sed "s/NAMESPACE/$namespace/" "$here/kube/metrics.yaml" | kubectl apply -f - >/dev/null
    kubectl -n monitoring create configmap rules --from-file="$project/k8s/monitoring/alerts.yaml" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    # The chart's values are the adapter's own configuration, one level deeper.
    sed -e '/^rules:/d' -e 's/^  custom:/rules:/' "$project/k8s/overlays/hpa/prometheus-adapter.example.yaml" >"$dir/adapter.yaml"
    kubectl -n monitoring create configmap adapter --from-file=config.yaml="$dir/adapter.yaml" --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl -n monitoring rollout status --timeout=180s deployment/prometheus >/dev/null && kubectl -n monitoring rollout status --timeout=180s deployment/prometheus-adapter >/dev/null &&
        within 120 pending_by_pod
}

step_autoscale() {
    local most=0 now start
    far_server || return 0
    metrics_pipeline && ok "the pods' pending tasks as a metric of Kubernetes' own: $(pending_by_pod)" || { fail "no metric: $(kubectl -n monitoring get pods; pending_by_pod 2>&1)"; return; }
    # As it is but for how long it waits before it takes pods away.
    kubectl -n "$namespace" apply -f "$project/k8s/overlays/hpa/horizontalpodautoscaler.yaml" >/dev/null
    k patch hpa ftp-pooler --type=merge -p '{"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 15, "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}}}}' >/dev/null
    far_burst autoscale "${AUTOSCALE_TASKS:-4000}"
    start=$SECONDS
    more_than_two() { [ "$(replicas)" -ge 4 ] && ready "$(replicas)"; }
    within 300 more_than_two && ok "$(wc -l <"$dir/load/autoscale.jsonl") tasks for a far server: the autoscaler made $(replicas) of 2 pods, all Ready after $took s ($(pending_by_pod))" ||
        fail "the autoscaler: $(replicas) replicas; $(k describe hpa ftp-pooler | tail -12)"
    nothing_pending() { now=$(replicas); [ "$now" -gt "$most" ] && most=$now; [ "$(pending_by_pod | grep -oE ': [0-9]+' | tr -d ': ' | awk '{sum += $1} END {print sum + 0}')" = 0 ]; }
    within 420 nothing_pending && note "all of it taken after $((SECONDS - start)) s, by $most pods at most: $(input_partitions "$most")" || fail "still pending: $(pending_by_pod)"
    within 300 ready 2 && ok "back to 2 pods $took s later" || fail "not back to 2: $(replicas); $(k describe hpa ftp-pooler | tail -8)"
    k delete hpa ftp-pooler >/dev/null
    # An API service without its server would hold up the end of every namespace.
    sed "s/NAMESPACE/$namespace/" "$here/kube/metrics.yaml" | kubectl delete --timeout=120s -f - >/dev/null 2>&1
    within 60 spread_evenly 2 && ok "input partitions after it: $(input_partitions 2)" || fail "input partitions after the autoscaler: $(input_partitions 2)"
}
