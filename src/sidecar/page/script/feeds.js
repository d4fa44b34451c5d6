// The feeds that this pod lists for: each a tbody of its row and, where something is wrong, what.
// A feed's state in the words and colours of a breaker.
const FEED_LOOKS = { waiting: "closed", listing: "closed", settling: "closed", paused: "half-open", failing: "open" };

function feedRow() {
  const name = document.createTextNode(""), way = make("span", { class: "sub" });
  const state = make("span", { class: "state" }), status = cell("State", "text");
  status.append(state);
  const listed = cell("Listed, UTC", "text"), next = cell("Next, UTC", "text");
  const files = cell("Files"), settling = cell("Settling"), tasks = cell("Tasks");
  const error = make("td", { role: "cell", colspan: 7, class: "whole" });
  const note = make("tr", { role: "row", class: "note" }, error);
  note.hidden = true;
  const node = make("tbody", { role: "rowgroup" },
    make("tr", { role: "row" }, make("th", { role: "rowheader", scope: "row" }, name, way), status, listed, next, files,
      settling, tasks), note);
  return { node, update(feed) {
    if (name.data !== feed.feed) name.data = feed.feed;
    say(way, `${feed.from} → ${feed.to}, ${feed.schedule}`);
    say(state, feed.state);
    look(state, `state ${FEED_LOOKS[feed.state] ?? "open"}`);
    look(node, FEED_LOOKS[feed.state] ?? "open");
    say(listed, feed.listed_at ? clock(feed.listed_at) : "–");
    say(next, feed.next_at ? clock(feed.next_at) : "–");
    tally(files, feed.chosen);
    tally(settling, feed.settling);
    tally(tasks, feed.tasks);
    show(note, feed.error !== null);
    say(error, feed.error ?? "");
  } };
}

const feedRows = new Rows(byId("feed-table"), feedRow, byId("feed-table").tHead);

function showFeeds({ feeds = [] }) {
  const failing = feeds.filter(({ failures }) => failures > 0).length;
  show(byId("feeds"), feeds.length > 0);
  show(byId("to-feeds"), feeds.length > 0);
  say(byId("n-feeds"), failing ? `${count(feeds.length)}, ${count(failing)} failing` : count(feeds.length));
  look(byId("n-feeds"), failing ? "n bad" : "n");
  feedRows.show(feeds, ({ feed }) => feed);
}
