# shellcheck shell=bash
# k8s/tunnels as it is, and a connection of the pool that leads through it.

frp_key() { head -c 32 /dev/urandom | base64 | tr -d '+/=\n'; }

# frps, frpc and frp-tunnels, by k8s/tunnels/Dockerfile on the pool's image, which has frpc.
tunnel_images() {
    pull_or_make golang:1.25-bookworm "$here/images/bases.sh" "$cache" golang
    docker build -t frp-tunnels:0.1.0 --build-arg POOL="$image" -f "$project/k8s/tunnels/Dockerfile" "$project" >"$cache/tunnels-build.log" 2>&1
}

# Secrets of both ends, as k8s/tunnels/secrets.example.yaml names them.
tunnel_secrets() {
    local token key pki=$dir/frp-pki
    mkdir -p "$pki"
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 30 -subj /CN=frp-test-ca 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -keyout "$pki/tls.key" -out "$pki/tls.csr" -subj /CN=frps 2>/dev/null
    openssl x509 -req -in "$pki/tls.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 -out "$pki/tls.crt" \
        -extfile <(printf 'subjectAltName=DNS:frp-server.frp.svc') 2>/dev/null
    token=$(frp_key) key=$(frp_key)
    kubectl create namespace frp >/dev/null
    kubectl -n frp create secret generic frp-server --from-literal=token="$token" >/dev/null
    kubectl -n frp create secret tls frp-server-tls --cert="$pki/tls.crt" --key="$pki/tls.key" >/dev/null
    kubectl -n frp create secret generic frp-client --from-literal=token="$token" --from-literal=key="$key" --from-file=ca.crt="$pki/ca.crt" >/dev/null
    [ -n "$(k get secret ftp-pooler-files -o name --ignore-not-found)" ] || k create secret generic ftp-pooler-files >/dev/null
    k patch secret ftp-pooler-files --type=merge -p "$(jq -n --arg token "$token" --arg key "$key" --rawfile ca "$pki/ca.crt" '{stringData: {"frp-token": $token, "frp-key": $key, "frp-ca.crt": $ca}}')" >/dev/null
}

tunnel_up() { local pod; for pod in 0 1; do [ "$(metric "ftp-pooler-$pod" ftp_pooler_tunnel_up)" = 1 ] || return 1; done; }
frp_ready() { [ "$(kubectl -n frp get deployments -o jsonpath='{.items[*].status.readyReplicas}')" = "1 1 1" ]; }

step_tunnel() {
    local output i
    tunnel_images && load_images frp-tunnels:0.1.0 || { fail "the tunnels' images: $(tail -3 "$cache/tunnels-build.log")"; return; }
    tunnel_secrets
    base_namespace
    mkdir -p "$dir/overlay-tunnels"
    # What a user sets: what is beside the clients.
    sed "s/^local = .*/local = \"kafka.$namespace.svc.cluster.local:9092\"/" "$project/k8s/tunnels/tunnels.toml" >"$dir/overlay-tunnels/tunnels.toml"
    cat >"$dir/overlay-tunnels/kustomization.yaml" <<X
namespace: frp
resources: [$(realpath --relative-to="$dir/overlay-tunnels" "$project/k8s/tunnels")]
configMapGenerator:
  - {name: frp-client, behavior: replace, files: [tunnels.toml]}
patches:
  - patch: |
      - {op: replace, path: /spec/template/spec/containers/0/env/0/value, value: "ftp-server.$namespace.svc.cluster.local:2121"}
    target: {kind: Deployment, name: frp-ftp}
X
    output=$(kubectl apply -k "$dir/overlay-tunnels" 2>&1) && ok "kubectl apply -k k8s/tunnels" || { fail "kubectl apply -k k8s/tunnels: $output"; return; }
    within 120 frp_ready && ok "frps and both clients Ready after $took s" || { fail "k8s/tunnels: $(kubectl -n frp get pods; kubectl -n frp logs deployment/frp-ftp | tail -5)"; return; }
    add_connection "[tunnel-plant]\ntype = frp\nserver = frp-server.frp.svc:7000\ntoken_file = /app/secrets/frp-token\ntls_ca = /app/secrets/frp-ca.crt\nuser = pool\ntarget_user = plant\nsecret_file = /app/secrets/frp-key\n\n[plant]\ntype = ftp\nhost = ftp.plant.example.com\nport = 2121\nuser = ftp\npass = correct horse\nvia = tunnel-plant"
    within 180 both_know plant && within 60 tunnel_up && ok "a connection through the tunnel: known to both pods, up after $took s" ||
        { fail "the tunnel: $(curl -s "http://$(address ftp-pooler-0):8080/api/v1/tunnels" | head -c 500)"; }
    for i in $(seq 40); do task "tunnel-$i" $((i % 8 + 1)) plant; done | tee "$dir/load/tunnel.jsonl" | ftp_pooler submit - --wait --timeout 120s >"$dir/tunnel.log" 2>&1 &&
        ok "40 tasks through the tunnel" || fail "tasks through the tunnel: $(tail -3 "$dir/tunnel.log")"
    # frps goes: the clients come back by themselves, and no task loses an attempt.
    kubectl -n frp delete pod -l app.kubernetes.io/name=frp-server --wait=false >/dev/null
    for i in $(seq 41 60); do task "tunnel-$i" 2 plant; done | tee "$dir/load/tunnel2.jsonl" | ftp_pooler submit - --wait --timeout 180s >"$dir/tunnel.log" 2>&1 &&
        ok "frps' pod replaced: 20 more tasks" || fail "after frps was replaced: $(tail -3 "$dir/tunnel.log")"
    k get configmap ftp-pooler-connections -o json | jq '.data["connections.ini"] |= sub("(?s)\\n\\[tunnel-plant\\].*"; "\n")' | k apply -f - >/dev/null 2>&1
    k rollout status $pool --timeout=240s >/dev/null && within 120 ready 2 || fail "the pool without the tunnel"
    kubectl delete namespace frp --wait=false >/dev/null
}
