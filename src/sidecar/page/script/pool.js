// The whole pool, as this pod knows it by what all announce; and the connections that they use, over all of them.
const FEW_PODS = 20, MANY_PODS = 1000, FEW_POOLED = 12, MANY_POOLED = 1000;
// A pod's state in the colours of a breaker, and in words.
const POD_LOOKS = { up: "closed", not_ready: "half-open", draining: "half-open", unknown: "half-open", stuck: "open",
  gone: "open", stopped: "off" };
const POD_WORDS = { not_ready: "not ready" };

function podRow() {
  const link = make("a"), own = make("span", { class: "sub" });
  const state = make("span", { class: "state" }), heard = make("span", { class: "sub" });
  const status = cell("State", "text"), partitions = cell("Partitions", "text whole message");
  status.append(state, heard);
  const labels = ["Tasks/s", "Failed/s", "Bytes/s", "In flight", "Waiting", "Sessions", "Lag"];
  const cells = labels.map((label) => cell(label));
  const reason = make("td", { role: "cell", colspan: labels.length + 3, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, reason);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, link, own), status, ...cells, partitions), note);
  return { node, update(pod) {
    const { per_second: rate, tasks, sessions } = pod, how = POD_LOOKS[pod.state] ?? "half-open";
    say(link, pod.pod);
    if (pod.api && !pod.is_this_pod) put(link, "href", `${location.protocol}//${pod.api}/`);
    else link.removeAttribute("href");
    const up = pod.state === "gone" || pod.state === "stopped" ? "" : ` · up ${span(poolNow - pod.started_at)}`;
    say(own, `${pod.is_this_pod ? "this pod · " : ""}${pod.version}${up}`);
    say(state, POD_WORDS[pod.state] ?? pod.state);
    look(state, `state ${how}`);
    look(node, how);
    say(heard, pod.state === "gone" || pod.state === "unknown" ? `last heard of ${span(pod.heard_seconds_ago)} ago` : "");
    const each = rate.completed + rate.failed, flowing = rate.downloaded_bytes + rate.uploaded_bytes;
    tally(cells[0], each, perSecond(each));
    tally(cells[1], rate.failed, perSecond(rate.failed));
    tally(cells[2], flowing, bytesPerSecond(flowing));
    const open = sessions.busy + sessions.idle + sessions.connecting;
    [tasks.in_flight, tasks.waiting + tasks.delayed, open, pod.lag_records].forEach((n, at) => tally(cells[3 + at], n));
    say(partitions, pod.partitions || "none");
    show(note, pod.reasons.length > 0);
    say(reason, pod.reasons.join("; "));
  } };
}

// Who has the sessions of a connection with a total: open ones, of those granted.
const holdersOf = ({ holders }) => holders.map(({ pod, sessions, granted }) => `${pod} ${count(sessions)} of ${count(granted)}`).join(" · ");

function pooledRow() {
  const name = make("span", { class: "clip" }), holders = make("span", { class: "sub wraps" });
  const state = make("span", { class: "state" }), where = make("span", { class: "sub" }), status = cell("State", "text");
  status.append(state, where);
  const cells = ["Sessions", "Granted", "Total", "Tasks/s", "In flight", "Waiting"].map((label) => cell(label));
  const node = make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, holders), status, ...cells);
  return { node, update(connection) {
    const { sessions, tasks, breaker, pods_down: down } = connection;
    say(name, connection.name);
    put(name, "title", connection.name);
    say(holders, holdersOf(connection));
    say(state, STATES[breaker] ?? breaker);
    look(state, `state ${breaker}`);
    say(where, down ? `in ${plural(down, "pod", "pods")}` : "");
    tally(cells[0], sessions.busy + sessions.idle + sessions.connecting);
    say(cells[1], count(connection.granted));
    say(cells[2], count(connection.max_sessions_total));
    tally(cells[3], connection.tasks_per_second, perSecond(connection.tasks_per_second));
    [tasks.in_flight, tasks.waiting + tasks.delayed].forEach((n, at) => tally(cells[4 + at], n));
  } };
}

let poolNow = 0, allPods = [], allPooled = [];
const podRows = new Rows(byId("pod-table"), podRow, byId("pod-table").tHead);
const podCut = new Cut("more-pods", FEW_PODS, MANY_PODS, listPods);
const pooledRows = new Rows(byId("pooled-rows"), pooledRow);
const noPooled = emptiness(byId("pooled-rows").parentElement, 8, "No connection is in use or down.");
const pooledCut = new Cut("more-pooled", FEW_POOLED, MANY_POOLED, listPooled);

function showPool(pool) {
  poolNow = Date.parse(pool.now) / 1000;
  allPods = pool.pods;
  allPooled = [...pool.connections].sort((a, b) =>
    (ORDER[a.breaker] ?? 2) - (ORDER[b.breaker] ?? 2) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const of = (...states) => allPods.filter(({ state }) => states.includes(state)).length;
  const lost = of("gone", "stuck"), here = allPods.length - of("stopped");
  say(byId("n-pods"), lost ? `${count(here)}, ${count(of("gone"))} gone` : count(here));
  look(byId("n-pods"), lost ? "n bad" : "n");
  const living = allPods.filter(({ state }) => state !== "gone" && state !== "stopped");
  const sum = (value) => living.reduce((all, pod) => all + value(pod), 0);
  say(byId("pool-sum"), `${plural(living.length, "pod", "pods")} of group ${pool.group}: ` +
    `${perSecond(sum(({ per_second: rate }) => rate.completed + rate.failed))} tasks a second, ` +
    `${bytesPerSecond(sum(({ per_second: rate }) => rate.downloaded_bytes + rate.uploaded_bytes))}, ` +
    `${count(sum(({ tasks }) => tasks.in_flight))} in flight, lag ${count(sum(({ lag_records: lag }) => lag))}`);
  const { state, reason } = pool.session_sharing;
  const notes = [pool.unavailable && `The other pods are not known: ${pool.unavailable}.`,
    reason && (state === "needs_transactions" ? `${reason}.` : `Sessions over all pods are not granted: ${reason}.`)];
  say(byId("pool-note"), notes.filter(Boolean).join(" "));
  show(byId("pool-note"), notes.some(Boolean));
  look(byId("pool-note"), state === "off" || state === "live" || state === "needs_transactions" ? "quiet" : "warn");
  announcePods();
  listPods();
  listPooled();
}

function listPods() {
  podRows.show(podCut.of(allPods), ({ pod }) => pod);
}

function listPooled() {
  pooledRows.show(pooledCut.of(allPooled), ({ name }) => name);
  noPooled(allPooled.length === 0);
}

const podStates = new Map();

function announcePods() {
  const news = [];
  for (const { pod, state } of allPods) {
    const before = podStates.get(pod) ?? state;
    if (state === "gone" && before !== "gone") news.push(`Pod ${pod} is gone.`);
    if (state === "up" && before === "gone") news.push(`Pod ${pod} is back.`);
    podStates.set(pod, state);
  }
  if (news.length > 3) news.splice(3, news.length, `And ${news.length - 3} more changes.`);
  if (news.length) announce(news.join(" "));
}
