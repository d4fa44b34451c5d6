"use strict";
// Reads the figures each second and shows them. Text goes in as text, never as markup.
const PERIOD_MS = 1000, DEADLINE_MS = 5000, WINDOW_MS = 10000;
const byId = (id) => document.getElementById(id);
const count = (n) => n.toLocaleString("en");
const samples = []; // {at, status}, for the rates; WINDOW_MS long

function bytes(n) {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  while (n >= 1000 && unit < units.length - 1) { n /= 1000; unit += 1; }
  return `${unit === 0 ? Math.round(n) : n.toFixed(1)} ${units[unit]}`;
}

function element(tag, text, scope) {
  const made = document.createElement(tag);
  made.textContent = text;
  if (scope) made.scope = scope;
  return made;
}

function mark(id, good, yes, no) {
  const at = byId(id);
  const text = good ? yes : no;
  if (at.textContent !== text) at.textContent = text;
  at.className = `mark ${good ? "good" : "bad"}`;
}

function answered(totals) { return totals.completed + totals.failed; }
function moved(totals) { return totals.downloaded_bytes + totals.uploaded_bytes; }

// How much `of` grew a second since the oldest figures kept; a pod that began anew counts from zero.
function rate(of, totals, before) {
  const seconds = (samples[samples.length - 1].at - samples[0].at) / 1000;
  return seconds > 0 && before ? Math.max(0, of(totals) - of(before)) / seconds : 0;
}

function row(connection, before) {
  const { name, breaker, sessions, tasks, totals } = connection;
  const made = document.createElement("tr");
  made.append(element("th", breaker === "closed" ? name : `${name} (breaker ${breaker})`, "row"));
  for (const n of [sessions.busy, sessions.idle, sessions.connecting, tasks.waiting, tasks.delayed,
    tasks.in_flight, totals.completed, totals.failed]) made.append(element("td", count(n)));
  made.append(element("td", bytes(totals.downloaded_bytes)), element("td", bytes(totals.uploaded_bytes)),
    element("td", rate(answered, totals, before).toFixed(1)), element("td", bytes(rate(moved, totals, before))));
  return made;
}

function figure(name, value) {
  const made = document.createElement("div");
  made.append(element("dt", name), element("dd", value));
  return made;
}

function show(status) {
  const now = performance.now();
  if (samples.length && samples[0].status.started_at !== status.started_at) samples.length = 0;
  samples.push({ at: now, status });
  while (samples.length > 2 && now - samples[0].at > WINDOW_MS) samples.shift();
  const before = samples[0].status;
  const earlier = new Map(before.connections.map((connection) => [connection.name, connection.totals]));

  byId("version").textContent = status.version;
  mark("health", status.healthy, "healthy", `stuck: ${status.stuck.join(", ")}`);
  mark("ready", status.ready, "ready", "not ready");
  const reasons = status.reasons.join("; ");
  if (byId("reasons").textContent !== reasons) byId("reasons").textContent = reasons;
  byId("figures").replaceChildren(
    figure("tasks/s, last 10 s", rate(answered, status.totals, before.totals).toFixed(1)),
    figure("bytes/s, last 10 s", bytes(rate(moved, status.totals, before.totals))),
    figure("completed", count(status.totals.completed)),
    figure("failed", count(status.totals.failed)),
    figure("transferred", bytes(moved(status.totals))),
    figure("sessions open",
      count(status.sessions.busy + status.sessions.idle + status.sessions.connecting)),
    figure("tasks held", count(status.held_tasks)),
    figure("lag, records", count(status.lag_records)),
    figure("partitions", `${status.assigned_partitions} (${status.paused_partitions} paused)`));
  byId("connections").replaceChildren(
    ...status.connections.map((connection) => row(connection, earlier.get(connection.name))));
}

async function poll() {
  try {
    const reply = await fetch("/api/v1/status", { signal: AbortSignal.timeout(DEADLINE_MS) });
    if (!reply.ok) throw new Error(`status ${reply.status}`);
    show(await reply.json());
  } catch (error) {
    mark("health", false, "", "no answer");
    mark("ready", false, "", "unknown");
    byId("reasons").textContent = `The pod does not answer (${error.message}); the figures are the last known.`;
  }
  setTimeout(poll, document.hidden ? 10 * PERIOD_MS : PERIOD_MS);
}
poll();
