// What is asked for beside the stream, and what holds all together.
const DEADLINE_MS = 10000;

// The configuration is read when it is looked at: it may have changed by a reload.
byId("config").addEventListener("toggle", async () => {
  if (!byId("config").open) return;
  const state = byId("config-state");
  say(state, "reading…");
  try {
    const reply = await fetch("/api/v1/config",
      { headers: authorization(), cache: "no-store", signal: AbortSignal.timeout(DEADLINE_MS) });
    if (!reply.ok) throw new Error(`the pod answers with ${reply.status}`);
    say(byId("yaml"), (await reply.json()).yaml);
    show(byId("yaml"), true);
    say(state, "");
  } catch (error) {
    say(state, `It could not be read: ${error.message}.`);
  }
});

// Asks for a token until one is given; the stream says whether it is right.
let asked = false;
function askForToken() {
  const refused = token() !== null;
  keepToken(null);
  asked = true;
  contact("token required", "");
  showToken();
  show(byId("figures"), false);
  show(byId("sections"), false);
  show(byId("gate"), true);
  say(byId("gate-error"), refused ? "Token rejected. Check that you copied all of it." : "");
  put(byId("token"), "aria-invalid", String(refused));
  byId("token").value = "";
  byId("token").focus();
  return new Promise((resolve) => { given = resolve; });
}

let given = () => {};
byId("gate").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("token").value.trim();
  // No other can be sent in a header (RFC 6750, section 2.1).
  if (!/^[\w\-.~+/]+=*$/.test(text)) {
    say(byId("gate-error"), "A token consists of letters, digits and -._~+/, with = at its end at most.");
    return;
  }
  keepToken(text);
  say(byId("gate-error"), "");
  contact("connecting…", "");
  given();
});

function showToken() {
  show(byId("forget"), token() !== null);
  document.body.classList.toggle("with-token", token() !== null || asked);
}

byId("forget").addEventListener("click", () => { keepToken(null); location.reload(); });

function contact(text, how) {
  say(byId("contact"), text);
  look(byId("contact"), `mark ${how}`);
}

let lastHeard = null, isLost = false, latest = null;

function lost(reason) {
  const when = lastHeard === null ? "no answer yet" : `no answer since ${clock(lastHeard)}`;
  contact(`${when}: ${reason}; trying again`, "bad");
  byId("figures").classList.add("old");
  for (const id of ["health", "ready", "draining"]) show(byId(id), false);
  if (!isLost) announce(lastHeard === null ? "The pod does not answer." : `No answer since ${clock(lastHeard)}.`);
  if (lastHeard !== null) document.title = `no answer: ${byId("pod").textContent} – FTP Pooler`;
  isLost = true;
}

// Drawn when the browser draws next; of several snapshots only the last.
function draw() {
  const snapshot = latest;
  latest = null;
  const was_lost = isLost;
  isLost = false;
  byId("figures").classList.remove("old");
  const had_form = !byId("gate").hidden;
  show(byId("gate"), false);
  show(byId("figures"), true);
  show(byId("sections"), true);
  if (had_form) byId("main").focus({ preventScroll: true }); // where the form's focus would be lost
  contact("live", "");
  showToken();
  const broken = showConnections(snapshot);
  showHead(snapshot, broken);
  showFigures(snapshot);
  showTransfers(snapshot);
  showFailures(snapshot);
  showPartitions(snapshot);
  showTunnels(snapshot);
  announceChanges(snapshot);
  if (was_lost) announce("The pod answers again.");
}

function take(name, data) {
  if (name === "history") showHistory(data);
  if (name === "pool") { showPool(data); showFeeds(data); showBatches(data); }
  if (name !== "snapshot") return;
  lastHeard = Date.now();
  sample(data);
  if (latest === null) requestAnimationFrame(draw);
  latest = data;
}

buildFigures();
show(byId("sections"), false);
follow("/api/v1/events", { event: take, lost, refused: askForToken });
