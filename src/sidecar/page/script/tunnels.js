// Tunnels, where connections lead through any: each a tbody of its row and, while it is down, why.
// A tunnel's state in the words and colours of a breaker.
const TUNNEL_LOOKS = { connected: "closed", pending: "half-open", connecting: "half-open", disconnected: "open", error: "open" };

function tunnelRow() {
  const name = document.createTextNode(""), servers = make("span", { class: "sub" });
  const state = make("span", { class: "state" }), status = cell("State", "text");
  status.append(state);
  const since = cell("Since, UTC", "text"), users = cell("Connections", "text"), connects = cell("Connected, times");
  const error = make("td", { role: "cell", colspan: 5, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, error);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, servers), status, since, users, connects), note);
  return { node, update(tunnel) {
    if (name.data !== tunnel.name) name.data = tunnel.name;
    say(servers, tunnel.servers.join(", "));
    say(state, tunnel.state);
    look(state, `state ${TUNNEL_LOOKS[tunnel.state] ?? "open"}`);
    look(node, TUNNEL_LOOKS[tunnel.state] ?? "open");
    say(since, clock(tunnel.since));
    say(users, tunnel.connections.join(", "));
    tally(connects, tunnel.connects);
    show(note, tunnel.error !== null);
    say(error, tunnel.error ? `${tunnel.error.class}: ${tunnel.error.message}. To do: ${tunnel.error.advice}.` : "");
  } };
}

const tunnelRows = new Rows(byId("tunnel-table"), tunnelRow, byId("tunnel-table").tHead);

function showTunnels({ tunnels }) {
  const down = tunnels.filter(({ state }) => state !== "connected").length;
  show(byId("tunnels"), tunnels.length > 0);
  show(byId("to-tunnels"), tunnels.length > 0);
  say(byId("n-tunnels"), down ? `${count(tunnels.length)}, ${count(down)} down` : count(tunnels.length));
  look(byId("n-tunnels"), down ? "n bad" : "n");
  tunnelRows.show(tunnels, ({ name }) => name);
}
