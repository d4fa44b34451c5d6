// Feeds over all pods: each a tbody of its row and, where its last listing failed, why.
const FEED_LOOKS = { failing: "open", paused: "off", settling: "closed", listing: "closed", waiting: "closed" };
const FEW_FEEDS = 10, MANY_FEEDS = 1000;

function feedRow() {
  const name = make("span", { class: "clip" }), way = make("span", { class: "sub wraps" });
  const state = make("span", { class: "state" }), next = make("span", { class: "sub" }), status = cell("State", "text");
  status.append(state, next);
  const pod = cell("Pod", "text"), labels = ["Listed, UTC", "Files", "New", "Settling", "Known", "Tasks"];
  const cells = labels.map((label) => cell(label));
  const error = make("td", { role: "cell", colspan: labels.length + 3, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, error);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, way), status, pod, ...cells), note);
  return { node, update(feed) {
    const how = FEED_LOOKS[feed.state] ?? "closed";
    say(name, feed.feed);
    put(name, "title", feed.feed);
    say(way, `${feed.from} → ${feed.to} · ${feed.schedule}`);
    say(state, feed.state);
    look(state, `state ${how}`);
    look(node, how);
    say(next, feed.paused_by ? `by ${feed.paused_by}` : feed.next_at ? `next at ${clock(feed.next_at)}` : "");
    say(pod, feed.pod || NONE);
    say(cells[0], feed.listed_at ? clock(feed.listed_at) : NONE);
    say(cells[1], feed.chosen === feed.files ? count(feed.files) : `${count(feed.chosen)} of ${count(feed.files)}`);
    [feed.new, feed.settling, feed.known, feed.tasks].forEach((n, at) => tally(cells[2 + at], n));
    show(note, feed.error !== null);
    say(error, feed.error ?? "");
  } };
}

let allFeeds = [];
const feedRows = new Rows(byId("feed-table"), feedRow, byId("feed-table").tHead);
const feedCut = new Cut("more-feeds", FEW_FEEDS, MANY_FEEDS, listFeeds);

// Those that fail come first.
function showFeeds({ feeds }) {
  const rank = ({ state }) => (state === "failing" ? 0 : 1);
  allFeeds = [...feeds].sort((a, b) => rank(a) - rank(b));
  const failing = feeds.filter(({ state }) => state === "failing").length;
  show(byId("feeds"), feeds.length > 0);
  show(byId("to-feeds"), feeds.length > 0);
  say(byId("n-feeds"), failing ? `${count(feeds.length)}, ${count(failing)} failing` : count(feeds.length));
  look(byId("n-feeds"), failing ? "n bad" : "n");
  listFeeds();
}

function listFeeds() {
  feedRows.show(feedCut.of(allFeeds), ({ feed }) => feed);
}
