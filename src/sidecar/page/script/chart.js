// A chart of the last hour: two rates, drawn as SVG at the size it has. Pointer and arrow keys read single moments.
// While the pod is young it shows less, since an hour that is empty tells nothing: seconds shown, and between marks.
const SPANS = [[600, 120], [1200, 300], [1800, 300], [3600, 900]];
const LEFT = 64, RIGHT = 8, TOP = 8, BOTTOM = 22;

// At most five round steps from zero to at least `most`.
function steps(most) {
  const rough = Math.max(most, 1e-9) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.9999);
  return Array.from({ length: Math.ceil(most / step - 1e-9) + 1 }, (_, n) => n * step);
}

class Chart {
  // `least` is the top of an empty chart; `write` gives a rate its unit; `axis` the same, shorter.
  constructor(id, { first, second, least, write, axis }) {
    Object.assign(this, { first, second, least, write, axis, figure: byId(id), at: null, history: null });
    this.plot = this.figure.querySelector(".plot");
    this.svg = this.figure.querySelector("svg");
    this.when = this.figure.querySelector(".when");
    this.values = this.figure.querySelectorAll(".key b");
    new ResizeObserver(() => this.draw()).observe(this.plot);
    this.plot.addEventListener("pointermove", (event) => this.pointAt(event));
    this.plot.addEventListener("pointerdown", (event) => this.pointAt(event));
    this.plot.addEventListener("pointerleave", () => this.read(null));
    this.plot.addEventListener("blur", () => this.read(null));
    this.plot.addEventListener("keydown", (event) => this.step(event));
  }

  take(history) {
    const rates = (amounts) => amounts.map((n) => n / history.step_seconds);
    this.history = { end: Date.parse(history.end), step: history.step_seconds,
      lines: [rates(history[this.first]), rates(history[this.second])] };
    const known = this.length * history.step_seconds;
    [this.span, this.between] = SPANS.find(([seconds]) => seconds >= known) ?? SPANS[SPANS.length - 1];
    this.draw();
  }

  get length() { return this.history ? this.history.lines[0].length : 0; }
  time(n) { return this.history.end - (this.length - 1 - n) * this.history.step * 1000; }
  x(n) { return this.across(this.time(n)); }
  across(time) { return LEFT + Math.max(0, 1 - (this.history.end - time) / 1000 / this.span) * (this.width - LEFT - RIGHT); }

  pieces(tag, attributes, text) {
    const made = document.createElementNS(this.svg.namespaceURI, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  draw() {
    this.width = this.plot.clientWidth;
    this.height = this.plot.clientHeight;
    if (!this.history || this.width < LEFT + RIGHT) return;
    const marks = steps(Math.max(this.least, ...this.history.lines.flat()));
    const top = marks[marks.length - 1], base = this.height - BOTTOM;
    const y = (rate) => base - (rate / top) * (base - TOP);
    this.svg.replaceChildren(
      ...marks.flatMap((mark) => this.mark(mark, y(mark))), ...this.times(base),
      ...(this.length ? this.lines(y, base) : []));
    this.cursor = this.pieces("line", { class: "cursor", y1: TOP, y2: base, visibility: "hidden" });
    this.svg.append(this.cursor);
    this.read(this.at);
  }

  mark(rate, y) {
    return [this.pieces("line", { class: "grid", x1: LEFT, x2: this.width - RIGHT, y1: y, y2: y }),
      this.pieces("text", { class: "axis", x: LEFT - 8, y: y + 4, "text-anchor": "end" }, this.axis(rate))];
  }

  // Round times of the clock.
  times(base) {
    const between = this.between * 1000, begin = this.history.end - this.span * 1000, made = [];
    for (let time = Math.ceil(begin / between) * between; time <= this.history.end; time += between) {
      const x = this.across(time);
      made.push(this.pieces("line", { class: "grid", x1: x, x2: x, y1: base, y2: base + 4 }));
      const anchor = x > this.width - RIGHT - 16 ? "end" : x < LEFT + 16 ? "start" : "middle";
      const at = anchor === "end" ? this.width - RIGHT : anchor === "start" ? LEFT : x;
      made.push(this.pieces("text", { class: "axis", x: at, y: base + 17, "text-anchor": anchor },
        clock(time).slice(0, 5)));
    }
    return made;
  }

  // Each step's rate stands at its end; the first one's at its begin as well, so that a single one is seen.
  lines(y, base) {
    const [first, second] = this.history.lines.map((line) =>
      [line[0], ...line].map((rate, n) => `${this.x(n - 1).toFixed(1)} ${y(rate).toFixed(1)}`).join("L"));
    const from = this.x(-1).toFixed(1), to = this.x(this.length - 1).toFixed(1);
    return [this.pieces("path", { class: "area", d: `M${from} ${base}L${first}L${to} ${base}Z` }),
      this.pieces("path", { class: "line first", d: `M${first}` }),
      this.pieces("path", { class: "line second", d: `M${second}` })];
  }

  pointAt(event) {
    if (!this.length) return;
    const share = (event.clientX - this.plot.getBoundingClientRect().left - LEFT) / (this.width - LEFT - RIGHT);
    const back = Math.round(((1 - share) * this.span) / this.history.step);
    this.read(Math.min(this.length - 1, Math.max(0, this.length - 1 - back)));
  }

  step(event) {
    const last = this.length - 1, at = this.at ?? last;
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - 30,
      PageUp: at + 30, Home: 0, End: last, Escape: null }[event.key];
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.read(to === null ? null : Math.min(last, Math.max(0, to)));
  }

  // Says what was at step `n`; null is the newest one, and follows it.
  read(n) {
    if (!this.length) return;
    this.at = n === null ? null : Math.min(n, this.length - 1);
    const at = this.at ?? this.length - 1, values = this.history.lines.map((line) => this.write(line[at]));
    this.values.forEach((node, line) => say(node, values[line]));
    say(this.when, this.at === null ? "" : `at ${clock(this.time(at))}`);
    this.cursor?.setAttribute("visibility", this.at === null ? "hidden" : "visible");
    this.cursor?.setAttribute("x1", this.x(at));
    this.cursor?.setAttribute("x2", this.x(at));
    put(this.plot, "aria-valuemax", String(this.length - 1));
    put(this.plot, "aria-valuenow", String(at));
    const names = [...this.figure.querySelectorAll(".key")].map((key) => key.firstChild.data.trim());
    put(this.plot, "aria-valuetext", `${clock(this.time(at))}: ${names[0]} ${values[0]}, ${names[1]} ${values[1]}`);
  }
}
