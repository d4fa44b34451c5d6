# shellcheck shell=bash
# From the previous version to this one and back, tasks under way all the time.

# Whether as many tasks more are answered.
goes_on() {
    local before
    before=$(answered_total)
    more_answered() { [ "$(answered_total)" -ge $((before + 20)) ]; }
    within 90 more_answered
}
images_of_pods() { local pod; for pod in 0 1; do k get pod "ftp-pooler-$pod" -o jsonpath='{.spec.containers[0].image} '; done; }
runs() { [ "$(images_of_pods)" = "$1 $2 " ] && ready 2; }
# roll IMAGE PARTITION WANTED0 WANTED1 WHAT
roll() {
    k patch $pool --type=merge -p "{\"spec\": {\"updateStrategy\": {\"rollingUpdate\": {\"partition\": $2}}}}" >/dev/null
    k set image $pool "ftp-pooler=$1" >/dev/null
    within 180 runs "$3" "$4" && ok "$5: both Ready after $took s" || { fail "$5: $(images_of_pods)"; k get pods; }
    within 60 spread_evenly 2 && goes_on && ok "$5: $(input_partitions 2)partitions, and tasks are answered" ||
        fail "$5: $(input_partitions 2)partitions; $(answered_total) answered"
}

step_upgrade() {
    have_image "$previous" || { note "no previous version here: PREVIOUS=REVISION builds one"; return; }
    load_images "$previous"
    note "previous version: $(docker image inspect -f '{{index .Config.Labels "org.opencontainers.image.revision"}}' "$previous" | head -c 12)"
    roll "$previous" 0 "$previous" "$previous" "rolled to the previous version"
    burst upgrade
    roll "$image" 1 "$previous" "$image" "one pod of each version"
    roll "$image" 0 "$image" "$image" "upgraded"
    roll "$previous" 0 "$previous" "$previous" "back to the previous version"
    roll "$image" 0 "$image" "$image" "upgraded again"
    [ "$(restarts)" = 0 ] && ok "no container was restarted" || fail "$(restarts) restarts"
}
