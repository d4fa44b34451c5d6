// The figures come as Server-Sent Events through fetch(), since EventSource can send no token. Whatever ends the
// stream, it is begun again: at once where it had been heard, else after a wait that doubles.
const SILENCE_MS = 6000;       // events come each second; after so long without one the pod is gone
const AT_ONCE_MS = 250, FIRST_WAIT_MS = 1000, LONGEST_WAIT_MS = 15000;
const HIDDEN_MS = 60000;       // a tab that nobody looks at gives its stream back
const MAX_EVENT = 32 << 20;    // characters
const TOKEN = "ftp-pooler-token";

// In the tab's storage, so that a reload needs no second time; in memory alone where the browser has none to give.
let heldToken = null;
function token() {
  try { return sessionStorage.getItem(TOKEN); } catch { return heldToken; }
}
function keepToken(given) {
  heldToken = given;
  try {
    if (given === null) sessionStorage.removeItem(TOKEN);
    else sessionStorage.setItem(TOKEN, given);
  } catch { /* kept in memory */ }
}
const authorization = () => (token() ? { Authorization: `Bearer ${token()}` } : {});

// The events in a body: {name, data}. A comment (as kept-alive connections have) is an event without a name.
async function* eventsIn(body) {
  const decoder = new TextDecoder(), reader = body.getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += decoder.decode(value, { stream: true }).replaceAll("\r", "");
    if (text.length > MAX_EVENT) throw new Error("an event without an end");
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) yield eventOf(block);
  }
}

function eventOf(block) {
  const event = { name: "", data: "" };
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    const field = line.slice(0, colon), value = line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event.name = value;
    if (field === "data") event.data += event.data ? `\n${value}` : value;
  }
  return event;
}

// Until then, or until there is a reason to try earlier: the network is back, the tab is looked at.
function pause(ms) {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      document.removeEventListener("visibilitychange", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    addEventListener("online", done);
    document.addEventListener("visibilitychange", done);
  });
}

async function seen() {
  while (document.hidden) await pause(LONGEST_WAIT_MS);
}

// Follows the stream for ever. `on` has event(name, data), lost(reason), and an async refused().
async function follow(path, on) {
  let wait = FIRST_WAIT_MS;
  for (;;) {
    let was_heard = false, reason = null, at_least = 0;
    try {
      const reply = await listen(path, (event) => {
        was_heard = true;
        if (event.name) on.event(event.name, JSON.parse(event.data));
      });
      if (reply.status === 401) { await on.refused(); continue; }
      if (!reply.ok) reason = reply.status === 503 ? "too many pages are open on this pod" : `it answers with ${reply.status}`;
      else if (!was_heard) reason = "its stream is empty";
      at_least = Math.min(60, Number(reply.headers.get("Retry-After")) || 0) * 1000;
    } catch (error) {
      reason = error.name === "AbortError" ? "its stream has fallen silent" : error.name === "TypeError" ? "it is unreachable" : error.message;
    }
    if (document.hidden) { await seen(); continue; }
    // A stream that was well ends by itself from time to time: nothing is lost then.
    if (reason !== null) on.lost(reason);
    if (was_heard) wait = FIRST_WAIT_MS;
    await pause(reason === null ? AT_ONCE_MS : Math.max(at_least, wait * (0.8 + 0.4 * Math.random())));
    wait = Math.min(2 * wait, LONGEST_WAIT_MS);
  }
}

// What cannot be read is told as that: it is no fault of the network.
function heed(event, take) {
  try { take(event); } catch (error) { throw new Error(`this page cannot read what it says (${error.message})`); }
}

// One stream, to its end. Ends it where nothing comes, and where nobody looks.
async function listen(path, take) {
  const end = new AbortController();
  let silence, hidden;
  const alive = () => { clearTimeout(silence); silence = setTimeout(() => end.abort(), SILENCE_MS); };
  const looked = () => {
    clearTimeout(hidden);
    if (document.hidden) hidden = setTimeout(() => end.abort(), HIDDEN_MS);
  };
  document.addEventListener("visibilitychange", looked);
  try {
    alive();
    const reply = await fetch(path, { headers: authorization(), cache: "no-store", signal: end.signal });
    if (!reply.ok) return reply;
    for await (const event of eventsIn(reply.body)) { alive(); heed(event, take); }
    return reply;
  } finally {
    end.abort();
    clearTimeout(silence);
    clearTimeout(hidden);
    document.removeEventListener("visibilitychange", looked);
  }
}
