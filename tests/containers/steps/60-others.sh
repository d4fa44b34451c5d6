# shellcheck shell=bash
# What k8s/test does not use: the base, the overlays, the Helm chart.

step_overlays() {
    local overlay output modules
    modules=$(go env GOMODCACHE)
    (cd / && go mod download github.com/prometheus-operator/prometheus-operator@v0.85.0 github.com/kedacore/keda/v2@v2.18.1)
    kubectl apply --server-side -f "$modules/github.com/prometheus-operator/prometheus-operator@v0.85.0/example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml" \
        -f "$modules/github.com/prometheus-operator/prometheus-operator@v0.85.0/example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml" \
        -f "$modules/github.com/kedacore/keda/v2@v2.18.1/config/crd/bases/keda.sh_scaledobjects.yaml" >/dev/null && ok "both operators' CRDs" || fail "CRDs"
    kubectl wait --for=condition=Established --timeout=30s crd/scaledobjects.keda.sh crd/servicemonitors.monitoring.coreos.com >/dev/null
    kubectl create namespace ftp-pooler --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    for overlay in "$project"/k8s/base "$project"/k8s/overlays/*; do
        output=$(kubectl apply -k "$overlay" --dry-run=server 2>&1) && ok "${overlay#"$project"/}: $(wc -l <<<"$output") objects pass the server's dry run" || fail "${overlay#"$project"/}: $output"
        grep -qi warn <<<"$output" && fail "${overlay#"$project"/} warned: $(grep -i warn <<<"$output" | head -2)"
    done
    return 0
}

# The chart, installed beside k8s/test's Kafka and FTP server, does a task and goes without a trace.
step_chart() {
    local release=chart-test
    kubectl create namespace $release --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    kubectl label namespace $release pod-security.kubernetes.io/enforce=restricted --overwrite >/dev/null
    local_volume chart-storage "$dir/chart-storage" 1Gi "$release/$release-ftp-pooler-storage"
    helm install $release "$project/charts/ftp-pooler" --namespace $release --wait --timeout 3m -f "$here/chart-values.yaml" >"$dir/helm.log" 2>&1 &&
        ok "helm install: pods Ready" || { fail "helm install: $(tail -2 "$dir/helm.log")"; kubectl -n $release get pods; return; }
    kubectl -n $release exec -i "$release-ftp-pooler-0" -- /usr/local/bin/ftp-pooler submit - --wait --timeout 90s >/dev/null \
        <<<'{"task_id": "chart-1", "operation": "download", "source": {"connection_id": "remote-ftp", "path": "pub/1.bin"}, "destination": {"connection_id": "local", "path": "/1.bin"}}' &&
        ok "a task through the chart's pods" || fail "a task through the chart's pods"
    helm upgrade $release "$project/charts/ftp-pooler" --namespace $release --wait --timeout 3m -f "$here/chart-values.yaml" --set replicas=1 >"$dir/helm.log" 2>&1 &&
        ok "helm upgrade to one pod" || fail "helm upgrade: $(tail -2 "$dir/helm.log")"
    helm uninstall $release --namespace $release --wait >/dev/null 2>&1 && ok "helm uninstall" || fail "helm uninstall"
    [ -n "$(kubectl -n $release get pvc -o name)" ] && ok "the claim, and with it the files, is kept" || fail "the claim is gone"
    kubectl delete namespace $release --wait=false >/dev/null
    kubectl delete pv chart-storage --wait=false >/dev/null
}
