
// The explorer: a confusion matrix on a canvas, and the drawings of the cell or category that is
// chosen. An address #/run/category or #/run/category/predicted chooses it, too.
const BANDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]; // shares of a row where the colour changes
const SIDE = 85; // pixels of a drawing
const ROW_BYTES = 11;
const FEW = 12; // drawings of a kind that are shown at first
const NAMED_CELL = 11; // CSS pixels of a cell from which on rows and columns have names
const NUMBERED_CELL = 30;

const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const share = (value) => (value < 0.0005 && value > 0 ? "<0.001" : value.toFixed(3));
const count = (value) => value.toLocaleString("en");

class Explorer {
  constructor(root) {
    this.root = root;
    const [json, bitmaps] = root.querySelectorAll("script");
    Object.assign(this, JSON.parse(json.textContent));
    const same = bitmaps.dataset.same; // another run's, on the same drawings
    this.packed = (same ? document.getElementById(same) : bitmaps).textContent;
    this.numbers = new Map();
    this.totals = this.labels.map(() => 0);
    this.predicted = this.labels.map(() => 0);
    for (let i = 0; i < this.cells.length; i += 3) {
      const [row, column, number] = this.cells.slice(i, i + 3);
      this.numbers.set(row * this.labels.length + column, number);
      this.totals[row] += number;
      this.predicted[column] += number;
    }
    this.zoom = 1;
    this.left = this.top = 0; // the first column and row that are shown, in cells
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  number(row, column) {
    return this.numbers.get(row * this.labels.length + column) ?? 0;
  }

  address(...indices) {
    return "#/" + [this.name, ...indices.map((i) => this.labels[i])].map(encodeURIComponent).join("/");
  }

  build() {
    this.canvas = make("canvas", { tabIndex: 0 });
    this.canvas.setAttribute("role", "application");
    const help = "arrow keys move, Enter selects, plus and minus zoom";
    this.canvas.setAttribute("aria-label", `${this.root.getAttribute("aria-label")}: ${help}`);
    this.root.removeAttribute("aria-label");
    this.mark = make("div", { className: "mark", hidden: true });
    this.tip = make("p", { className: "tip", hidden: true, role: "status" });
    this.frame = make("div", { className: "matrix" }, this.canvas, this.mark, this.tip);
    this.chosen = make("div", { className: "chosen" });
    const button = (text, title, action) => {
      const made = make("button", { type: "button", textContent: text, title, ariaLabel: title });
      made.addEventListener("click", action);
      return made;
    };
    const list = make("datalist", { id: `categories-${explorers.length}` });
    list.append(...[...this.labels].sort().map((value) => make("option", { value })));
    const search = make("input", { type: "search", placeholder: "Find a category" });
    search.setAttribute("list", list.id);
    search.ariaLabel = "Find a category";
    search.addEventListener("change", () => {
      const index = this.labels.indexOf(search.value.trim());
      if (index >= 0) location.hash = this.address(index);
    });
    const tools = make(
      "div",
      { className: "tools" },
      search,
      list,
      button("+", "Zoom in", () => this.scale(2)),
      button("−", "Zoom out", () => this.scale(0.5)),
      button("Whole", "Show the whole matrix", () => this.scale(0)),
      this.key(),
    );
    this.root.append(tools, this.frame, this.chosen);
    this.listen();
  }

  key() {
    const key = make("span", { className: "scale" }, "0 ");
    ["none", 1, 2, 3, 4, 5, 6, 7, 8].forEach((band) => {
      const swatch = make("i");
      swatch.style.background = band === "none" ? "var(--paper)" : `var(--band-${band})`;
      swatch.title = band === "none" ? "none" : `from ${band === 1 ? 0 : BANDS[band - 2]}`;
      key.append(swatch);
    });
    key.append(" 1 of the true category's drawings");
    return key;
  }

  listen() {
    const canvas = this.canvas;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.offsetX, y: event.offsetY, left: this.left, top: this.top, moved: false };
    });
    canvas.addEventListener("pointermove", (event) => {
      const [dx, dy] = from ? [event.offsetX - from.x, event.offsetY - from.y] : [0, 0];
      if (from && this.zoom > 1 && (from.moved || Math.hypot(dx, dy) > 4)) {
        from.moved = true;
        this.left = from.left - dx / this.size;
        this.top = from.top - dy / this.size;
        this.draw();
      } else {
        this.hover(this.cellAt(event.offsetX, event.offsetY));
      }
    });
    canvas.addEventListener("pointerleave", () => {
      from = null;
      this.hover(null);
    });
    canvas.addEventListener("click", (event) => {
      const cell = from?.moved ? null : this.cellAt(event.offsetX, event.offsetY);
      from = null;
      if (cell) this.choose(...cell);
    });
    canvas.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const last = this.labels.length - 1;
    const place = this.place ?? [0, 0];
    if (event.key in steps) {
      const next = place.map((at, i) => Math.max(0, Math.min(last, at + steps[event.key][i])));
      this.left = Math.min(this.left, next[1]);
      this.top = Math.min(this.top, next[0]);
      const shown = this.labels.length / this.zoom;
      this.left = Math.max(this.left, next[1] + 1 - shown);
      this.top = Math.max(this.top, next[0] + 1 - shown);
      this.draw();
      this.hover([this.order[next[0]], this.order[next[1]]]);
    } else if (event.key === "Enter" && this.place) {
      this.choose(this.order[place[0]], this.order[place[1]]);
    } else if (event.key === "+" || event.key === "-") {
      this.scale(event.key === "+" ? 2 : 0.5);
    } else {
      return;
    }
    event.preventDefault();
  }

  // The true and the predicted category at a point; of a name only the true one.
  cellAt(x, y) {
    const row = Math.floor((y - this.margin) / this.size + this.top);
    const column = Math.floor((x - this.margin) / this.size + this.left);
    const isIn = (place) => place >= 0 && place < this.labels.length;
    if (y >= this.margin && isIn(row)) {
      return x < this.margin ? [this.order[row]] : isIn(column) ? [this.order[row], this.order[column]] : null;
    }
    return y < this.margin && x >= this.margin && isIn(column) ? [this.order[column]] : null;
  }

  hover(cell) {
    this.tip.hidden = !cell;
    this.mark.hidden = !cell || cell.length < 2;
    this.canvas.style.cursor = cell ? "pointer" : "";
    if (!cell) return;
    if (cell.length < 2) {
      this.tip.textContent = this.labels[cell[0]];
      this.tip.style.translate = `${this.margin}px 0`;
      return;
    }
    const [row, column] = cell;
    const number = this.number(row, column);
    const verb = row === column ? "recognized" : `taken for ${this.labels[column]}`;
    const part = this.totals[row] ? ` (${share(number / this.totals[row])})` : "";
    this.tip.textContent = `${this.labels[row]} ${verb}: ${count(number)} of ${count(this.totals[row])}${part}`;
    this.place = [this.order.indexOf(row), this.order.indexOf(column)];
    const x = this.margin + (this.place[1] - this.left) * this.size;
    const y = this.margin + (this.place[0] - this.top) * this.size;
    this.mark.style.cssText = `translate: ${x}px ${y}px; width: ${this.size}px; height: ${this.size}px`;
    const room = this.side - this.tip.offsetWidth;
    const below = y + this.size + 8 + this.tip.offsetHeight < this.side;
    const tipY = below ? y + this.size + 8 : y - this.tip.offsetHeight - 8;
    this.tip.style.translate = `${Math.max(0, Math.min(room, x))}px ${Math.max(0, tipY)}px`;
  }

  scale(factor) {
    const middle = this.labels.length / this.zoom / 2;
    const [row, column] = this.place ?? [this.top + middle, this.left + middle];
    const most = Math.max(1, (this.labels.length * 40) / this.side);
    this.zoom = factor ? Math.max(1, Math.min(most, this.zoom * factor)) : 1;
    const half = this.labels.length / this.zoom / 2;
    this.left = column + 0.5 - half;
    this.top = row + 0.5 - half;
    this.hover(null);
    this.draw();
  }

  draw() {
    const side = Math.min(this.frame.clientWidth, 820);
    if (!side) return; // folded up
    const pixels = devicePixelRatio;
    Object.assign(this.canvas, { width: side * pixels, height: side * pixels });
    this.canvas.style.width = this.canvas.style.height = `${side}px`;
    const context = this.canvas.getContext("2d");
    context.scale(pixels, pixels);
    const font = getComputedStyle(document.body).fontFamily;
    context.font = `12px ${font}`;
    const widest = Math.max(...this.labels.map((label) => context.measureText(label).width));
    const named = Math.min(widest + 10, side * 0.3);
    const margin = ((side - named) * this.zoom) / this.labels.length < NAMED_CELL ? 6 : named;
    const size = ((side - margin) * this.zoom) / this.labels.length;
    const most = this.labels.length * (1 - 1 / this.zoom);
    this.left = Math.max(0, Math.min(most, this.left));
    this.top = Math.max(0, Math.min(most, this.top));
    Object.assign(this, { side, margin, size });
    this.canvas.style.touchAction = this.zoom > 1 ? "none" : "";
    this.drawCells(context);
    if (margin === named) this.drawNames(context, font);
  }

  drawCells(context) {
    const { margin, size, side, order, left, top } = this;
    const bands = ["", 1, 2, 3, 4, 5, 6, 7, 8].map((band) => band && colourOf(`--band-${band}`));
    const [line, ink, light] = ["--line", "--band-ink", "--band-light"].map(colourOf);
    const [first, end] = [Math.floor(left), Math.min(order.length, Math.ceil(left + (side - margin) / size))];
    const [firstRow, endRow] = [Math.floor(top), Math.min(order.length, Math.ceil(top + (side - margin) / size))];
    context.save();
    context.beginPath();
    context.rect(margin, margin, side - margin, side - margin);
    context.clip();
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let i = firstRow; i < endRow; i++) {
      for (let j = first; j < end; j++) {
        const number = this.number(order[i], order[j]);
        const [x, y] = [margin + (j - left) * size, margin + (i - top) * size];
        if (number) {
          const part = number / this.totals[order[i]];
          const band = 1 + BANDS.filter((from) => part >= from).length;
          context.fillStyle = bands[band];
          context.fillRect(x, y, size + 0.3, size + 0.3);
          if (size >= NUMBERED_CELL) {
            context.fillStyle = band > 4 ? light : ink;
            context.fillText(count(number), x + size / 2, y + size / 2);
          }
        }
      }
    }
    context.strokeStyle = line;
    context.lineWidth = 1;
    context.beginPath();
    for (let i = 0; i <= order.length && size > 4; i++) {
      const [x, y] = [margin + (i - left) * size, margin + (i - top) * size];
      context.moveTo(x, margin);
      context.lineTo(x, side);
      context.moveTo(margin, y);
      context.lineTo(side, y);
    }
    context.rect(margin + 0.5, margin + 0.5, side - margin - 1, side - margin - 1);
    context.stroke();
    context.restore();
  }

  drawNames(context, font) {
    const { margin, size, side, order, left, top } = this;
    context.fillStyle = colourOf("--text");
    context.font = `${Math.min(12, size)}px ${font}`;
    context.textBaseline = "middle";
    const elide = (label) => {
      let text = label;
      while (text.length > 3 && context.measureText(text).width > margin - 8) {
        text = `${text.replace(/…$/, "").slice(0, -1)}…`;
      }
      return text;
    };
    order.forEach((index, place) => {
      const [x, y] = [left, top].map((start) => margin + (place + 0.5 - start) * size);
      if (y > margin && y < side) {
        context.textAlign = "right";
        context.fillText(elide(this.labels[index]), margin - 6, y);
      }
      if (x > margin && x < side) {
        context.save();
        context.translate(x, margin - 6);
        context.rotate(-Math.PI / 2);
        context.textAlign = "left";
        context.fillText(elide(this.labels[index]), 0, 0);
        context.restore();
      }
    });
  }

  choose(...indices) {
    history.pushState(null, "", this.address(...indices));
    this.show(...indices);
  }

  // The drawings of a cell, or the page of a category.
  async show(row, column) {
    const drawings = this.truth ? this.truth.map((_, i) => i) : [];
    if (this.truth && !this.bitmaps) this.bitmaps = await unpack(this.packed);
    this.chosen.replaceChildren(
      ...(column === undefined
        ? this.categoryPage(row, drawings)
        : this.cellPage(row, column, drawings)),
    );
  }

  cellPage(row, column, drawings) {
    const number = this.number(row, column);
    const title = make("h4", {}, this.link(row));
    title.append(row === column ? " recognized" : " taken for ", row === column ? "" : this.link(column));
    title.append(`: ${count(number)} of ${count(this.totals[row])}`);
    const found = drawings.filter((i) => this.truth[i] === row && this.guesses[3 * i] === column);
    return [title, ...this.gallery("", found.sort((a, b) => this.first(b) - this.first(a)))];
  }

  categoryPage(row, drawings) {
    const correct = this.number(row, row);
    const [recall, precision] = [this.totals, this.predicted].map((of) => (of[row] ? share(correct / of[row]) : "–"));
    const title = make("h4", {}, `${this.labels[row]}: accuracy ${recall}, precision ${precision}`);
    const own = drawings.filter((i) => this.truth[i] === row);
    const right = own.filter((i) => this.guesses[3 * i] === row);
    const wrong = own.filter((i) => this.guesses[3 * i] !== row);
    const byFirst = (a, b) => this.first(a) - this.first(b);
    return [
      title,
      this.others("Taken for", (other) => this.number(row, other), (other) => [row, other], row),
      this.others("Taken for it", (other) => this.number(other, row), (other) => [other, row], row),
      ...this.gallery("Wrong", wrong.sort((a, b) => this.own(a) - this.own(b))),
      ...this.gallery("Typical", [...right].sort(byFirst).reverse()),
      ...this.gallery("Uncertain", [...own].sort(byFirst)),
    ];
  }

  others(name, numberOf, cellOf, row) {
    const found = this.labels.map((_, i) => i).filter((i) => i !== row && numberOf(i));
    found.sort((a, b) => numberOf(b) - numberOf(a));
    const paragraph = make("p", {}, `${name}: `, found.length ? "" : "none");
    found.slice(0, FEW).forEach((other, i) => {
      const link = make("a", { href: this.address(...cellOf(other)) }, this.labels[other]);
      paragraph.append(i ? ", " : "", link, ` ${count(numberOf(other))}`);
    });
    return paragraph;
  }

  link(index) {
    return make("a", { href: this.address(index) }, this.labels[index]);
  }

  own(drawing) {
    return this.probabilities[4 * drawing];
  }

  first(drawing) {
    return this.probabilities[4 * drawing + 1];
  }

  gallery(name, drawings) {
    if (!this.truth) return [];
    const list = make("ul", { className: "gallery" });
    const more = make("button", { type: "button", textContent: `Show all ${count(drawings.length)}` });
    const add = (some) => list.append(...some.map((drawing) => this.tile(drawing)));
    add(drawings.slice(0, FEW));
    more.addEventListener("click", () => {
      add(drawings.slice(FEW));
      more.remove();
    });
    const title = name ? [make("h5", {}, `${name} (${count(drawings.length)})`)] : [];
    return [...title, list, ...(drawings.length > FEW ? [more] : [])];
  }

  tile(drawing) {
    const canvas = make("canvas", { className: "ink", width: SIDE, height: SIDE });
    canvas.setAttribute("role", "img");
    canvas.ariaLabel = `A drawing of ${this.labels[this.truth[drawing]]}`;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(SIDE, SIDE);
    for (let y = 0; y < SIDE; y++) {
      for (let x = 0; x < SIDE; x++) {
        const byte = this.bitmaps[(drawing * SIDE + y) * ROW_BYTES + (x >> 3)];
        const value = (byte >> (7 - (x & 7))) & 1 ? 20 : 255;
        pixels.data.set([value, value, value, 255], 4 * (y * SIDE + x));
      }
    }
    context.putImageData(pixels, 0, 0);
    const guess = (label, probability) => {
      const text = (probability / 1000).toFixed(2);
      return make("p", {}, make("span", {}, label), make("span", {}, text));
    };
    const truth = this.truth[drawing];
    const above = guess("", this.own(drawing));
    above.firstChild.append(make("strong", {}, this.labels[truth]));
    const below = make("div", {}, guess(this.labels[this.guesses[3 * drawing]], this.first(drawing)));
    const key = this.keys[drawing];
    const file = this.files[truth];
    below.append(make("p", { className: "key" }, file ? make("a", { href: file }, key) : key));
    return make("li", {}, above, canvas, below);
  }
}

async function unpack(base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const explorers = [];
for (const root of document.querySelectorAll(".explorer")) {
  explorers.push(new Explorer(root));
}

async function follow() {
  if (!location.hash.startsWith("#/")) return;
  const [name, ...labels] = location.hash.slice(2).split("/").map(decodeURIComponent);
  const explorer = explorers.find((each) => each.name === name);
  const indices = labels.map((label) => explorer?.labels.indexOf(label) ?? -1);
  if (indices.length && indices.every((index) => index >= 0)) {
    await explorer.show(...indices);
    explorer.chosen.scrollIntoView({ block: "start" });
  }
}
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
follow();
