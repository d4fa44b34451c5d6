// Touching the page as little as may be: what is there already is not written again, and a row that stays is not
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

// What is said instead of rows where there are none.
function emptiness(body, columns, text) {
  const cellOf = make("td", { role: "cell", class: "nothing whole", colspan: columns }, text);
  const row = make("tr", { role: "row" }, cellOf);
  body.before(make("tbody", { role: "rowgroup" }, row));
  return (is_empty) => show(row, is_empty);
}

// A list is cut before it is long enough to slow the browser down, and says what it leaves out.
function rest(node, shown, total) {
  say(node, total > shown ? `and ${count(total - shown)} more` : "");
}
