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

# The chart, installed beside k8s/test with topics and a group of its own, does a task and goes without a trace.
step_chart() {
    local release=chart-test helm=$cache/bin/helm
    [ -x "$helm" ] || GOBIN=$cache/bin go install helm.sh/helm/v3/cmd/helm@v3.18.4 >"$cache/helm-build.log" 2>&1 || { fail "helm does not build"; return; }
    local_volume chart-storage "$dir/chart-storage" 1Gi "$namespace/$release-ftp-pooler-storage"
    "$helm" install $release "$project/charts/ftp-pooler" --namespace "$namespace" --wait --timeout 4m -f "$here/chart-values.yaml" >"$dir/helm.log" 2>&1 &&
        ok "helm install: pods Ready" || { fail "helm install: $(tail -2 "$dir/helm.log")"; k get pods; return; }
    k exec -i "$release-ftp-pooler-0" -- /usr/local/bin/ftp-pooler submit - --wait --timeout 90s >/dev/null \
        <<<'{"task_id": "chart-1", "operation": "download", "source": {"connection_id": "remote-ftp", "path": "pub/1.bin"}, "destination": {"connection_id": "local", "path": "/1.bin"}}' &&
        ok "a task through the chart's pods" || fail "a task through the chart's pods"
    "$helm" upgrade $release "$project/charts/ftp-pooler" --namespace "$namespace" --wait --timeout 4m -f "$here/chart-values.yaml" --set replicas=1 >"$dir/helm.log" 2>&1 &&
        ok "helm upgrade to one pod" || fail "helm upgrade: $(tail -2 "$dir/helm.log")"
    "$helm" uninstall $release --namespace "$namespace" --wait >/dev/null 2>&1 && ok "helm uninstall" || fail "helm uninstall"
    [ -n "$(k get pvc $release-ftp-pooler-storage -o name)" ] && ok "the claim, and with it the files, is kept" || fail "the claim is gone"
    k delete pvc $release-ftp-pooler-storage --wait=false >/dev/null
    kubectl delete pv chart-storage --wait=false >/dev/null
}
