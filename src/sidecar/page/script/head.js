// The head: whose page this is, how the pod is, and the figures of now.
function mark(id, is_good, yes, no) {
  const node = byId(id);
  show(node, true);
  say(node, is_good ? yes : no);
  look(node, `mark ${is_good ? "good" : "bad"}`);
}

const FIGURES = ["tasks a second", "download", "upload", "in flight", "sessions", "lag", "answered", "held"];
const figures = new Map();

function buildFigures() {
  for (const name of FIGURES) {
    const main = make("dd"), digits = document.createTextNode(""), unit = make("span", { class: "unit" });
    const more = make("dd");
    main.append(digits, unit);
    byId("now").append(make("div", {}, make("dt", {}, name), main, more));
    figures.set(name, (text, of, words) => {
      if (digits.data !== text) digits.data = text;
      say(unit, of ? ` ${of}` : "");
      say(more, words);
    });
  }
}

const flow = (rate) => { const [digits, unit] = scaled(rate); return [digits, `${unit}/s`]; };

function showFigures({ status, transfers }) {
  const { totals, tasks, sessions } = status;
  const set = (name, ...words) => figures.get(name)(...words);
  set("tasks a second", perSecond(podRate(answered)), "", `${perSecond(podRate((t) => t.failed))} failed`);
  set("download", ...flow(podRate((t) => t.downloaded_bytes)), `${bytes(totals.downloaded_bytes)} so far`);
  set("upload", ...flow(podRate((t) => t.uploaded_bytes)), `${bytes(totals.uploaded_bytes)} so far`);
  set("in flight", count(transfers.total), "", `${count(tasks.waiting)} waiting${tasks.delayed ? `, ${count(tasks.delayed)} delayed` : ""}`);
  set("sessions", count(sessions.busy + sessions.idle + sessions.connecting), "",
    `${count(sessions.busy)} busy, ${count(sessions.idle)} idle`);
  set("lag", count(status.lag_records), "", plural(status.assigned_partitions, "partition", "partitions") +
    (status.paused_partitions ? `, ${count(status.paused_partitions)} paused` : ""));
  set("answered", count(answered(totals)), "", `${count(totals.failed)} failed`);
  set("held", count(status.held_tasks), "", bytes(status.held_bytes));
}

// What stands in the configuration's files is wrong: the pod goes on with what it had.
const isRefused = (status) => status.configuration?.result === "refused";

function showHead({ status }, broken) {
  const pod = status.pod || "FTP Pooler";
  say(byId("pod"), pod);
  say(byId("about"), [`FTP Pooler ${status.version}`, status.group && `group ${status.group}`,
    `up ${span(Date.parse(status.now) / 1000 - status.started_at)}`].filter(Boolean).join(" · "));
  mark("health", status.healthy, "healthy", "stuck");
  mark("ready", status.ready, "ready", "not ready");
  show(byId("draining"), status.draining);
  const stuck = status.stuck.map((loop) => `The loop “${loop}” is stuck.`);
  const mistakes = isRefused(status) ? status.configuration.reason.split("\n") : [];
  const reasons = [...stuck, ...status.reasons.map((reason) => `Not ready: ${reason}.`),
    ...(status.notes ?? []).map((note) => `Note: ${note}.`),
    ...(mistakes.length ? ["Configuration rejected; the previous settings stay active:", ...mistakes] : [])];
  if (reasons.join("\n") !== showHead.reasons) {
    showHead.reasons = reasons.join("\n");
    byId("reasons").replaceChildren(...reasons.map((reason) => make("li", {}, reason)));
    show(byId("reasons"), reasons.length > 0);
  }
  const trouble = !status.healthy ? "stuck: " : broken ? `${count(broken)} down: ` : "";
  const title = `${trouble}${pod} – FTP Pooler`;
  if (document.title !== title) document.title = title;
}

// What somebody who does not see the page is told: changes, and nothing that moves each second.
function announce(text) {
  say(byId("news"), text);
}

const told = { ready: null, healthy: null, refused: null, breakers: new Map() };

function announceChanges({ status, connections }) {
  const news = [];
  if (status.healthy !== told.healthy) news.push(status.healthy ? "The pod is healthy." : "The pod is stuck.");
  if (status.ready !== told.ready) news.push(status.ready ? "The pod is ready." : "The pod is not ready.");
  if (isRefused(status) !== told.refused) {
    if (told.refused !== null || isRefused(status)) news.push(`The configuration's files are ${isRefused(status) ? "wrong" : "right again"}.`);
  }
  for (const { name, breaker } of connections) {
    const before = told.breakers.get(name) ?? "closed";
    if (breaker !== "closed" && before === "closed") news.push(`Connection ${name} is down.`);
    if (breaker === "closed" && before !== "closed") news.push(`Connection ${name} is back.`);
    told.breakers.set(name, breaker);
  }
  Object.assign(told, { ready: status.ready, healthy: status.healthy, refused: isRefused(status) });
  if (news.length > 3) news.splice(3, news.length, `And ${news.length - 3} more changes.`);
  if (news.length) announce(news.join(" "));
}
