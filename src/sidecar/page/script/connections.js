// Connections, the broken ones first unless somebody wants another order; each a tbody of its row and, where there is one,
// its last error.
const FEW_CONNECTIONS = 25, FEW_ON_A_PHONE = 5, MANY_CONNECTIONS = 1000, ARRANGE_FROM = 12;
const narrow = matchMedia("(max-width: 48rem)");
const ERROR_IS_NEWS = 600; // seconds
const ORDER = { open: 0, "half-open": 1, closed: 2 };
// What a breaker's state means for whoever waits for files.
const STATES = { open: "down", "half-open": "trying", closed: "up" };

function useBar() {
  const parts = ["busy", "idle", "beyond"].map((name) => make("i", { class: name }));
  const shares = [null, null, null];
  const node = make("span", { class: "use", "aria-hidden": "true" }, ...parts);
  return { node, update(values) {
    values.forEach((value, n) => {
      const share = value.toFixed(3);
      if (shares[n] !== share) parts[n].style.setProperty("--share", shares[n] = share);
    });
  } };
}

function connectionRow() {
  const name = make("span", { class: "clip" }), server = make("span", { class: "sub clip" });
  const state = make("span", { class: "state" }), bar = useBar();
  const breaker = cell("State", "text"), use = cell("Sessions", "text");
  breaker.append(state);
  use.append(bar.node);
  const labels = ["Busy", "Idle", "Opening", "Limit", "Granted", "In flight", "Waiting", "Delayed", "Deferred", "Tasks/s",
    "Bytes/s", "Completed", "Failed"];
  const cells = labels.map((label) => cell(label));
  const error = make("td", { role: "cell", colspan: labels.length + 3, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, error);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, server), breaker, use, ...cells), note);
  return { node, update(connection) {
    const { sessions, tasks, totals, limit, max_sessions: ceiling } = connection;
    say(name, connection.name);
    put(name, "title", connection.name);
    say(server, connection.server + (connection.tls === "off" ? "" : ` · ${connection.tls} TLS`) +
      (connection.via ? ` · via ${connection.via}` : ""));
    say(state, STATES[connection.breaker] ?? connection.breaker);
    look(state, `state ${connection.breaker}`);
    look(node, connection.breaker);
    const of = Math.max(ceiling, sessions.busy + sessions.idle + sessions.connecting, 1);
    bar.update([sessions.busy / of, (sessions.idle + sessions.connecting) / of, Math.max(0, ceiling - limit) / of]);
    [sessions.busy, sessions.idle, sessions.connecting].forEach((n, at) => tally(cells[at], n));
    say(cells[3], limit === ceiling ? count(limit) : `${count(limit)} of ${count(ceiling)}`);
    show(cells[4], has_grants);
    say(cells[4], connection.max_sessions_total === null ? NONE
      : `${count(connection.granted ?? 0)} of ${count(connection.max_sessions_total)}`);
    [tasks.in_flight, tasks.waiting, tasks.delayed, connection.deferred].forEach((n, at) => tally(cells[5 + at], n));
    const [each, flowing] = [answered, moved].map((of) => connectionRate(of, connection));
    tally(cells[9], each, perSecond(each));
    tally(cells[10], flowing, bytesPerSecond(flowing));
    tally(cells[11], totals.completed);
    tally(cells[12], totals.failed);
    cells[12].classList.toggle("bad", totals.failed > 0);
    const words = lastError(connection);
    show(note, words !== "");
    say(error, words);
  } };
}

// The error that a connection is down with, or one that is news still.
function lastError({ breaker, breaker_until: until, last_error: error }) {
  const now = connectionsNow, next = until ? `Next try at ${clock(until)}.` : "";
  if (!error) return breaker === "closed" ? "" : next;
  if (breaker === "closed" && since(now, error.at) > ERROR_IS_NEWS) return "";
  const words = `${clock(error.at)} ${error.code}: ${error.message}`;
  return breaker === "closed" ? `Recovered. Last error: ${words}` : `${words.replace(/[.\s]*$/, "")}. ${next}`.trim();
}

// The orders that can be chosen: the greatest first; what is equal by name.
const SORTS = {
  trouble: ({ breaker }) => 2 - (ORDER[breaker] ?? 2),
  name: () => 0,
  waiting: ({ tasks }) => tasks.waiting + tasks.delayed,
  deferred: ({ deferred }) => deferred,
  rate: (connection) => connectionRate(answered, connection),
  flow: (connection) => connectionRate(moved, connection),
  failed: ({ totals }) => totals.failed,
};

function sorted(connections) {
  const by = SORTS[byId("sort").value] ?? SORTS.trouble;
  const keyed = connections.map((connection) => [by(connection), connection]);
  keyed.sort(([a, { name: first }], [b, { name: second }]) => b - a || (first < second ? -1 : first > second ? 1 : 0));
  return keyed.map(([, connection]) => connection);
}

let connectionsNow = null, allConnections = [], has_grants = false;
const noConnection = emptiness(byId("connection-table"), 16, "No connection matches.");
const connectionRows = new Rows(byId("connection-table"), connectionRow, byId("connection-table").tBodies[0]);
const connectionCut = new Cut("more-connections", FEW_CONNECTIONS, MANY_CONNECTIONS, listConnections);

function showConnections({ status, connections }) {
  connectionsNow = status.now;
  allConnections = connections;
  has_grants = connections.some(({ max_sessions_total: total }) => total !== null);
  show(byId("granted-head"), has_grants);
  const down = connections.filter(({ breaker }) => breaker !== "closed").length;
  say(byId("n-connections"), down ? `${count(connections.length)}, ${count(down)} down` : count(connections.length));
  look(byId("n-connections"), down ? "n bad" : "n");
  show(byId("arrange"), connections.length > ARRANGE_FROM);
  // A phone shows those that are broken; or some, where none is.
  connectionCut.few = narrow.matches ? Math.min(Math.max(down, FEW_ON_A_PHONE), FEW_CONNECTIONS) : FEW_CONNECTIONS;
  listConnections();
  return down;
}

function listConnections() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const found = wanted === "" ? allConnections
    : allConnections.filter(({ name, server }) => `${name}\n${server}`.toLowerCase().includes(wanted));
  connectionRows.show(connectionCut.of(sorted(found)), ({ name }) => name);
  noConnection(found.length === 0);
}

byId("filter").addEventListener("input", listConnections);
byId("sort").addEventListener("change", () => {
  const chosen = byId("sort").selectedOptions[0].textContent;
  say(byId("connection-caption"), `Connections, sorted by ${chosen}`);
  listConnections();
});
