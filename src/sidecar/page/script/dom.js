// Touching the page as little as may be: what exists already is not written again, and a row that stays is not
// made anew. Text goes in as text, never as markup: names and messages come from strangers.
const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function look(node, classes) {
  if (node.className !== classes) node.className = classes;
}

function put(node, attribute, value) {
  if (node.getAttribute(attribute) !== value) node.setAttribute(attribute, value);
}

function show(node, is_there) {
  if (node.hidden === is_there) node.hidden = !is_there;
}

// A cell, with its column's name for where the table is shown as cards.
const cell = (label, classes = "") => make("td", { role: "cell", "data-label": label, class: classes });

// A count: a zero is quiet, so that the others are seen.
function tally(node, n, written = count(n)) {
  say(node, written);
  node.classList.toggle("zero", !n);
}

// Rows by key. `build()` makes {node, update(item)}; `after` is the child behind which they stand.
class Rows {
  constructor(parent, build, after = null) {
    Object.assign(this, { parent, build, after, byKey: new Map() });
  }

  show(items, keyOf) {
    const before = this.byKey, next = new Map();
    const keys = items.map((item) => {
      let key = keyOf(item);
      while (next.has(key)) key += "+";
      next.set(key, before.get(key) ?? this.build());
      return key;
    });
    for (const [key, row] of before) if (!next.has(key)) row.node.remove();
    let place = this.after ? this.after.nextElementSibling : this.parent.firstElementChild;
    keys.forEach((key, n) => {
      const row = next.get(key);
      row.update(items[n]);
      if (row.node === place) place = place.nextElementSibling;
      else this.parent.insertBefore(row.node, place);
    });
    this.byKey = next;
  }
}

// What a table says where it has no rows.
function emptiness(table, columns, text) {
  const said = make("td", { role: "cell", class: "nothing whole", colspan: columns }, text);
  const body = make("tbody", { role: "rowgroup" }, make("tr", { role: "row" }, said));
  table.tHead.after(body);
  return (is_empty) => show(body, is_empty);
}

// A list is cut before it is long enough to slow the browser down, or to push the next one out of sight. What is
// left out is counted, and shown on demand as far as `many`.
class Cut {
  constructor(id, few, many, changed) {
    Object.assign(this, { few, many, is_open: false, left_out: make("span"), button: make("button", { type: "button" }) });
    this.button.addEventListener("click", () => { this.is_open = !this.is_open; changed(); });
    (this.node = byId(id)).append(this.left_out, " ", this.button);
  }

  // Of `total`, of which `items` are known here.
  of(items, total = items.length) {
    const shown = items.slice(0, this.is_open ? this.many : this.few);
    say(this.left_out, total > shown.length ? `and ${count(total - shown.length)} more` : "");
    show(this.button, items.length > this.few);
    show(this.node, items.length > this.few || total > shown.length);
    say(this.button, this.is_open ? `Show ${this.few}` : `Show ${count(Math.min(items.length, this.many))}`);
    put(this.button, "aria-expanded", String(this.is_open));
    return shown;
  }
}
