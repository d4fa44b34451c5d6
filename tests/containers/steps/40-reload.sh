# shellcheck shell=bash
# ConfigMap and Secret changed under running pods, through kubelet's swap of symlinks.

applied_reloads() { metric "ftp-pooler-$1" 'ftp_pooler_config_reloads_total{result="applied"}'; }
# Whether both pods have applied at least N reloads since they started.
both_applied() { [ "$(applied_reloads 0)" -ge "$1" ] && [ "$(applied_reloads 1)" -ge "$1" ]; }
both_know() { local pod; for pod in 0 1; do curl -s --max-time 3 "http://$(address ftp-pooler-$pod):8080/api/v1/connections" | grep -q "\"$1\"" || return 1; done; }
# sent_as ID FILE: one task of the second account, waited for; prints what became of it
sent_as() { task "$1" "$2" second | tee "$dir/load/$1.jsonl" | ftp_pooler submit - --wait --timeout 120s 2>&1; }

step_reload() {
    local before first second output
    before=$(restarts)
    first=$(applied_reloads 0) second=$(applied_reloads 1)
    [ "$second" -gt "$first" ] && first=$second
    k get configmap ftp-pooler-connections -o json | jq '.data["connections.ini"] |= sub("passive = true"; "passive = true\nmax_sessions = 3")' | k apply -f - >/dev/null 2>&1
    within 180 both_applied $((first + 1)) && ok "a changed ConfigMap is applied by both after $took s" || fail "the changed ConfigMap"
    # A second account, its password in a Secret that was not there (the mount is optional): a wrong one first.
    k create secret generic ftp-pooler-files --from-literal=second=wrong --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
    add_connection "[second]\ntype = ftp\nhost = ftp-server\nport = 2121\nuser = ftp\npass_file = /app/secrets/second"
    within 240 both_know second && ok "a connection and a Secret that were not there: known to both after $took s" || fail "the new connection"
    output=$(sent_as second-wrong 1)
    grep -q auth_failed <<<"$output" && ok "a wrong password is answered auth_failed" || fail "the wrong password: $output"
    k create secret generic ftp-pooler-files --from-literal=second='correct horse' --dry-run=client -o yaml | k apply -f - >/dev/null 2>&1
    within 180 both_applied $((first + 3)) && ok "the changed Secret is applied by both after $took s" || fail "the changed Secret"
    output=$(sent_as second-right 2) && ok "a task of it completes" || fail "a task with the right password: $output"
    [ "$(restarts)" = "$before" ] && ok "no restart for any of it" || fail "restarts: $before, then $(restarts)"
}
