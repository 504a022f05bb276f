
// The map: the drawings of the first evaluation where the model's features place them. A drawing
// that is pointed at is shown; a click shows those around it, a rectangle that is drawn those in it.
const NOWHERE = 65535; // the place of a drawing that is not on the map
const NEAR = 12; // CSS pixels to a drawing that is pointed at
const DOT = 3;
const PADDING = 8;

class DrawingMap {
  constructor(root) {
    const { evaluations } = explorers.find((each) => each.name === root.dataset.run);
    this.root = root;
    this.evaluation = evaluations[0];
    this.packed = holderOf(root.querySelector("script"));
    this.canvas = make("canvas", { ariaLabel: root.getAttribute("aria-label") });
    this.canvas.setAttribute("role", "img");
    root.removeAttribute("aria-label");
    this.mark = make("div", { className: "mark", hidden: true });
    this.tip = make("div", { className: "tip", hidden: true });
    this.frame = make("div", { className: "map" }, this.canvas, this.mark, this.tip);
    this.chosen = make("div", { className: "chosen" });
    this.build();
    // Nothing is unpacked before the map is in sight.
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        this.load();
      }
    });
    observer.observe(this.frame);
  }

  build() {
    const labels = this.evaluation.labels.map((label, index) => [index, label]);
    labels.sort((a, b) => collator.compare(a[1], b[1]));
    this.category = this.select("Category", [[-1, "Every category"], ...labels]);
    this.only = this.select("Drawings", Object.entries(FILTERS));
    this.root.append(make("div", { className: "tools" }, this.category, this.only), this.frame, this.chosen);
  }

  select(name, options) {
    const made = make("select", { ariaLabel: name }, ...options.map(([value, text]) => make("option", { value }, text)));
    made.addEventListener("change", () => {
      this.filter();
      this.draw();
    });
    return made;
  }

  async load() {
    const [places, held] = await Promise.all([inflate(this.packed), readHeld(this.evaluation)]);
    if (!held) return; // why is told beside the matrix
    const numbers = new Uint16Array(places.buffer);
    const count = numbers.length / 2;
    this.held = held;
    this.places = [numbers.subarray(0, count), numbers.subarray(count)];
    const [xs, ys] = this.places.map((each) => each.filter((place) => place !== NOWHERE));
    this.ends = [xs, ys].map((each) => Math.max(1, each.reduce((most, place) => Math.max(most, place), 0)));
    this.filter();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // The drawings that the choices leave, and the others on the map.
  filter() {
    if (!this.held) return;
    const { truth, predicted } = this.held;
    const category = Number(this.category.value);
    const isLeft = (i) =>
      (category < 0 || truth[i] === category) &&
      (this.only.value === EVERY || (this.only.value === "correct") === (truth[i] === predicted[i]));
    [this.left, this.others] = [[], []];
    truth.forEach((_, i) => {
      if (this.places[0][i] !== NOWHERE) (isLeft(i) ? this.left : this.others).push(i);
    });
    this.chosen.replaceChildren();
    this.point(null);
  }

  at(drawing) {
    return [this.x[drawing], this.y[drawing]];
  }

  draw() {
    const width = Math.min(this.frame.clientWidth, 820);
    if (!width || !this.held) return;
    this.scale = (width - 2 * PADDING) / this.ends[0];
    const height = Math.ceil(this.ends[1] * this.scale) + 2 * PADDING;
    const pixels = devicePixelRatio;
    Object.assign(this.canvas, { width: width * pixels, height: height * pixels });
    Object.assign(this.canvas.style, { width: `${width}px`, height: `${height}px` });
    const context = this.canvas.getContext("2d");
    context.scale(pixels, pixels);
    [this.x, this.y] = this.places.map((each) => Float32Array.from(each, (place) => PADDING + place * this.scale));
    const dot = (drawing) => context.fillRect(this.x[drawing] - DOT / 2, this.y[drawing] - DOT / 2, DOT, DOT);
    const { truth, predicted } = this.held;
    context.fillStyle = colourOf("--line");
    this.others.forEach(dot);
    for (const [colour, isCorrect] of [["--colour-0", true], ["--colour-1", false]]) {
      context.fillStyle = colourOf(colour);
      for (const drawing of this.left) {
        if ((truth[drawing] === predicted[drawing]) === isCorrect) dot(drawing);
      }
    }
  }

  distance(drawing, x, y) {
    return Math.hypot(this.x[drawing] - x, this.y[drawing] - y);
  }

  // The drawings that are left, those next to a point first.
  around(x, y) {
    const distances = new Map(this.left.map((drawing) => [drawing, this.distance(drawing, x, y)]));
    return [...this.left].sort((a, b) => distances.get(a) - distances.get(b)).slice(0, FEW);
  }

  listen() {
    let from = null;
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "mouse" && !event.button) from = [event.offsetX, event.offsetY];
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (from) this.outline(from, [event.offsetX, event.offsetY]);
      else this.point(this.closest(event.offsetX, event.offsetY));
    });
    this.canvas.addEventListener("pointerleave", () => {
      from = null;
      this.point(null);
    });
    this.canvas.addEventListener("click", (event) => {
      const to = [event.offsetX, event.offsetY];
      const isDrag = from && Math.hypot(to[0] - from[0], to[1] - from[1]) > 4;
      const [title, found] = isDrag ? ["In the rectangle", this.inside(from, to)] : ["The nearest", this.around(...to)];
      this.chosen.replaceChildren(...gallery(title, found, this.held, this.evaluation.labels, "h4"));
      from = null;
      this.point(null);
    });
  }

  closest(x, y) {
    let [best, least] = [null, NEAR];
    for (const drawing of this.left) {
      const distance = this.distance(drawing, x, y);
      if (distance < least) [best, least] = [drawing, distance];
    }
    return best;
  }

  inside(from, to) {
    const [low, high] = [Math.min, Math.max].map((end) => from.map((at, i) => end(at, to[i])));
    return this.left.filter((drawing) => this.at(drawing).every((at, i) => low[i] <= at && at <= high[i]));
  }

  outline(from, to) {
    const [x, y] = from.map((at, i) => Math.min(at, to[i]));
    const [width, height] = from.map((at, i) => Math.abs(at - to[i]));
    this.tip.hidden = true;
    this.mark.hidden = false;
    this.mark.style.cssText = `translate: ${x}px ${y}px; width: ${width}px; height: ${height}px`;
  }

  // Shows a drawing beside its place; null: none.
  point(drawing) {
    this.mark.hidden = this.tip.hidden = drawing === null;
    if (drawing === this.pointed) return;
    this.pointed = drawing;
    if (drawing === null) return;
    const { labels } = this.evaluation;
    const [truth, predicted] = [this.held.truth, this.held.predicted].map((each) => labels[each[drawing]]);
    const text = truth === predicted ? truth : `${truth}, taken for ${predicted}`;
    this.tip.replaceChildren(inkCanvas(this.held, drawing, `A drawing of ${truth}`), make("p", {}, text));
    const [x, y] = this.at(drawing);
    this.mark.style.cssText = `translate: ${x - 5}px ${y - 5}px; width: 10px; height: 10px`;
    const right = x + 12 + this.tip.offsetWidth < this.frame.clientWidth;
    const tipX = right ? x + 12 : Math.max(0, x - 12 - this.tip.offsetWidth);
    const tipY = Math.max(0, Math.min(y, this.canvas.clientHeight - this.tip.offsetHeight));
    this.tip.style.translate = `${tipX}px ${tipY}px`;
  }
}

const maps = [...document.querySelectorAll(".drawing-map")].map((root) => new DrawingMap(root));
