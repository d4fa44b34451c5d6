// Stands between the page and its pod: the page's stream says what the test pushes, a snapshot of as many connections
// and transfers as it likes. All else goes to the pod.
(() => {
  const to_pod = window.fetch, encoder = new TextEncoder();
  let streams = [];
  window.fetch = async (path, options) => {
    if (path !== "/api/v1/events") return to_pod(path, options);
    const body = new ReadableStream({ start: (stream) => {
      streams.push(stream);
      options.signal.addEventListener("abort", () => {
        streams = streams.filter((other) => other !== stream);
        try { stream.error(new DOMException("aborted", "AbortError")); } catch { /* it has ended */ }
      });
    } });
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  };
  const begun = Date.UTC(2026, 0, 31, 12, 0, 0), iso = (time) => new Date(time).toISOString();

  const totals = (n, tick) => ({ completed: 100 * n + 3 * tick, failed: n % 5, downloaded_bytes: 1e9 * n + 7e5 * tick,
    uploaded_bytes: 1e8 * n + 1e5 * tick, sessions_opened: n });
  const breakers = (n) => (n % 40 === 7 ? "open" : n % 40 === 8 ? "half-open" : "closed");
  const connection = (n, tick) => ({ name: `${window.feed.prefix}server-${String(n).padStart(3, "0")}`, server: `ftp${n}.example.com:21`,
    via: n % 9 ? null : "tunnel-0", tls: ["off", "explicit", "implicit"][n % 3], breaker: breakers(n),
    breaker_until: breakers(n) === "open" ? iso(begun + 1e6) : null,
    last_error: n % 40 === 7 ? { at: iso(begun), code: "connect_failed", message: "connection refused" } : null,
    limit: n % 4 === 1 ? 6 : 10, max_sessions: 10, max_sessions_total: n % 10 ? null : 8, granted: n % 10 ? null : 3,
    deferred: n % 40 === 7 ? 892 : 0, sessions: { idle: n % 3, busy: n % 7, connecting: n % 2 },
    tasks: { waiting: n * 3, delayed: n % 2, in_flight: n % 7 }, totals: totals(n, tick) });
  const transfer = (n, tick) => ({ task_id: `task-${n}`, connection: "server-001",
    operation: n % 2 ? "upload" : "download", remote_path: `/pub/2026/a-rather-long-name-without-any-blank-${n}.csv`,
    local_path: `/in/${n}.csv`, attempt: 1 + (n % 3), phase: ["transfer", "finish"][n % 2], since: iso(begun - 1000 * (20000 - n)),
    bytes: 1e5 * (1 + (tick % 50)), size: n % 10 === 3 ? null : 1e7, bytes_per_second: 1e5 });
  const failure = (n) => ({ at: iso(begun - 1000 * n), task_id: n % 9 === 4 ? null : `failed-${n}`, connection: "server-007",
    operation: "download", remote_path: `/pub/${n}.csv`, local_path: `/in/${n}.csv`, code: "connect_failed",
    message: "cannot connect to ftp7.example.com:21: connection refused", advice: "Look whether the server is up.",
    attempts: 4, ftp_code: null });
  const partition = (n) => ({ topic: "ftp-tasks", partition: n, committed: 5, position: 9, end: 12, lag: 7, unanswered: 4,
    paused: n === 1 || n === 3, paused_for: { 1: "pod_full", 3: "not_due" }[n] ?? null, halted: n === 2 ? "offset 5 is out of range: the partition holds 7 to 12" : null });
  const tunnel = (n) => ({ name: `tunnel-${n}`, servers: ["frps.example.com:7000"], state: n ? "disconnected" : "connected",
    since: iso(begun), address: "127.77.0.9:2121", leads_to: "ports", connects: n, connections: ["server-001"],
    error: n ? { class: "server_unreachable", message: "connection refused", advice: "check that frps runs" } : null });
  const listedFeed = (n) => ({ state: n ? "failing" : "waiting", feed: `feed-${n}`, pod: "pod-0", from: `server-00${n}:/outbox/`,
    to: "local:/in/", schedule: "30s", known_since: iso(begun), listed_at: iso(begun), listed_until: iso(begun),
    next_at: n ? null : iso(begun), is_listing: false, paused_by: null, files: 9, chosen: 7, directories: 1, passed_over: 0, new: 2,
    settling: 1, known: 5, tasks: 1000, error: n ? "server-001: connection refused" : null, failures: n });
  const pod = (n, tick) => ({ pod: `pod-${n}`, is_this_pod: n === 0, state: ["up", "gone", "not_ready", "stopped", "stuck"][n % 5],
    heard_seconds_ago: n, api: n === 3 ? null : `10.0.0.${n}:8080`, version: "0.1.0", started_at: begun / 1000 - 900,
    reasons: n % 5 === 2 ? ["ftp-tasks 2 halted: offset 5 is out of range"] : [], partitions: "ftp-tasks[0-5]", assigned_partitions: 6,
    paused_partitions: 0, halted_partitions: 0, lag_records: 28, held_tasks: 3, tasks: { waiting: 9, delayed: 2, in_flight: tick },
    sessions: { idle: 1, busy: 4, connecting: 1 },
    per_second: { completed: 10, failed: n % 2, downloaded_bytes: 1e6, uploaded_bytes: 1e5 } });
  const pooled = (n) => ({ name: `server-${String(n).padStart(3, "0")}`, breaker: breakers(n), pods_down: breakers(n) === "closed" ? 0 : 2,
    tasks: { waiting: n, delayed: 0, in_flight: n % 7 }, sessions: { idle: 1, busy: 2, connecting: 0 }, tasks_per_second: n / 3,
    deferred: n % 7 ? 0 : 5, error: breakers(n) === "closed" ? null : "connect_failed: connection refused",
    max_sessions_total: n % 10 ? null : 8, granted: n % 10 ? null : 7,
    holders: n % 10 ? [] : [{ pod: "pod-0", granted: 4, sessions: 3 }, { pod: "pod-2", granted: 3, sessions: 0 }] });
  const batch = (n) => ({ batch: `20260131T11${String(59 - n).padStart(2, "0")}00Z-1a2b3c4d`, at: iso(begun - 60000 * n), by: "alice@ops",
    what: `server-001:/pub/${n}/ → local:/in/`, tasks: 1000, completed: 400 + n, failed: n, open: 600 - 2 * n, is_exact: n !== 1 });
  const source = (n) => ({ state: ["waiting", "failing", "paused"][n], feed: `orders-${n}`, pod: n === 2 ? "" : `pod-${n}`,
    from: `server-00${n}:/out/`, to: "local:/in/", schedule: "every 1m", known_since: iso(begun - 1e7), listed_at: iso(begun - 1e4),
    listed_until: iso(begun - 9e3), next_at: n === 2 ? null : iso(begun + 5e4), is_listing: false, paused_by: n === 2 ? "alice" : null,
    files: 120, chosen: n ? 120 : 100, directories: 2, passed_over: 0, new: n, settling: 0, known: 99, tasks: 500,
    error: n === 1 ? "server-001: 550 /out: no such directory" : null, failures: n === 1 ? 4 : 0 });
  const many = (n, of, tick) => Array.from({ length: n }, (_, at) => of(at, tick));

  // The second that is drawn now, by what the page shows of `totals(1000, tick)`.
  window.shownAt = () => {
    const answered = document.querySelector("#now > div:nth-child(7) dd")?.textContent.replaceAll(",", "");
    return (Number(answered) - 100000) / 3;
  };

  window.feed = {
    last: {},
    prefix: "",
    push(name, data) {
      this.last[name] = data;
      const text = encoder.encode(`event: ${name}\ndata: ${JSON.stringify(data)}\n\n`);
      streams = streams.filter((stream) => { try { stream.enqueue(text); return true; } catch { return false; } });
      return streams.length;
    },
    close() { streams.forEach((stream) => stream.close()); streams = []; },
    // A pod lists the 50 longest transfers; `listed` is for one that lists more.
    snapshot(tick, connections, transfers, listed = 50) {
      const status = { version: "0.1.0", pod: "pod-0", group: "pool", now: iso(begun + 1000 * tick), healthy: true,
        stuck: [], loops: [], ready: false, reasons: ["ftp-tasks 2 halted: offset 5 is out of range"],
        notes: [], draining: true,
        configuration: { result: "applied", at: iso(begun), reason: null, in_force_since: iso(begun) },
        started_at: begun / 1000 - 9000, held_tasks: 11, held_bytes: 2222, assigned_partitions: 4, paused_partitions: 1,
        lag_records: 28, committed_answers: 5, tasks: { waiting: 9, delayed: 2, in_flight: transfers },
        sessions: { idle: 1, busy: transfers, connecting: 1 }, totals: totals(1000, tick), connections: [] };
      return this.push("snapshot", { status, connections: many(connections, connection, tick),
        transfers: { total: transfers, transfers: many(Math.min(transfers, listed), transfer, tick) },
        failures: many(20, failure), partitions: many(4, partition), tunnels: many(2, tunnel),
        feeds: many(2, listedFeed) });
    },
    // So many pods and connections over them; `sharing` is how the sessions' totals are.
    pool(tick, pods, connections, sharing = { state: "live", reason: null }, unavailable = null) {
      return this.push("pool", { now: iso(begun + 1000 * tick), group: "pool", session_sharing: sharing, unavailable,
        feeds: many(3, source),
        batches: { total: 60, batches: many(50, batch) },
        open_failures: { since: begun / 1000 - 900, answered: 15, sent_again: 3, open: 12 },
        pods: many(pods, pod, tick), connections: many(connections, pooled) });
    },
    history() {
      const line = (top) => Array.from({ length: 200 }, (_, n) => Math.round(top * (1 + Math.sin(n / 20))));
      return this.push("history", { step_seconds: 10, end: iso(begun), bytes_down: line(5e7), bytes_up: line(2e7),
        completed: line(200), failed: line(3) });
    },
  };
})();
