// Connections: the broken ones first, then by name; each a tbody of its row and, where there is one, its last error.
const FEW_CONNECTIONS = 25, MANY_CONNECTIONS = 1000, FILTER_FROM = 12;
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
  const name = document.createTextNode(""), server = make("span", { class: "sub" });
  const state = make("span", { class: "state" }), bar = useBar();
  const breaker = cell("State", "text"), use = cell("Sessions", "text");
  breaker.append(state);
  use.append(bar.node);
  const labels = ["Busy", "Idle", "Opening", "Limit", "In flight", "Waiting", "Delayed", "Tasks/s", "Bytes/s",
    "Completed", "Failed"];
  const cells = labels.map((label) => cell(label));
  const error = make("td", { role: "cell", colspan: labels.length + 3, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, error);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, server), breaker, use, ...cells), note);
  return { node, update(connection) {
    const { sessions, tasks, totals, limit, max_sessions: ceiling } = connection;
    if (name.data !== connection.name) name.data = connection.name;
    say(server, connection.server + (connection.tls === "off" ? "" : ` · ${connection.tls} TLS`) +
      (connection.via ? ` · via ${connection.via}` : ""));
    say(state, STATES[connection.breaker] ?? connection.breaker);
    look(state, `state ${connection.breaker}`);
    look(node, connection.breaker);
    const of = Math.max(ceiling, sessions.busy + sessions.idle + sessions.connecting, 1);
    bar.update([sessions.busy / of, (sessions.idle + sessions.connecting) / of, Math.max(0, ceiling - limit) / of]);
    [sessions.busy, sessions.idle, sessions.connecting].forEach((n, at) => tally(cells[at], n));
    say(cells[3], limit === ceiling ? count(limit) : `${count(limit)} of ${count(ceiling)}`);
    [tasks.in_flight, tasks.waiting, tasks.delayed].forEach((n, at) => tally(cells[4 + at], n));
    const [each, flowing] = [answered, moved].map((of) => connectionRate(of, connection));
    tally(cells[7], each, perSecond(each));
    tally(cells[8], flowing, bytesPerSecond(flowing));
    tally(cells[9], totals.completed);
    tally(cells[10], totals.failed);
    cells[10].classList.toggle("bad", totals.failed > 0);
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
  return breaker === "closed" ? `Last error: ${words}` : `${words.replace(/[.\s]*$/, "")}. ${next}`.trim();
}

let connectionsNow = null, allConnections = [];
const noConnection = emptiness(byId("connection-table"), 14, "No connection is called so.");
const connectionRows = new Rows(byId("connection-table"), connectionRow, byId("connection-table").tBodies[0]);
const connectionCut = new Cut("more-connections", FEW_CONNECTIONS, MANY_CONNECTIONS, listConnections);

function showConnections({ status, connections }) {
  connectionsNow = status.now;
  allConnections = [...connections].sort((a, b) =>
    (ORDER[a.breaker] ?? 2) - (ORDER[b.breaker] ?? 2) || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  const down = connections.filter(({ breaker }) => breaker !== "closed").length;
  say(byId("n-connections"), down ? `${count(connections.length)}, ${count(down)} down` : count(connections.length));
  look(byId("n-connections"), down ? "n bad" : "n");
  show(byId("filter-label"), connections.length > FILTER_FROM);
  listConnections();
  return down;
}

function listConnections() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const found = wanted === "" ? allConnections
    : allConnections.filter(({ name, server }) => `${name}\n${server}`.toLowerCase().includes(wanted));
  connectionRows.show(connectionCut.of(found), ({ name }) => name);
  noConnection(found.length === 0);
}

byId("filter").addEventListener("input", listConnections);
