// The explorer: a confusion matrix on a canvas, and the drawings of the cell or category that is
// chosen. An address #/run/category or #/run/category/predicted chooses it, too; after a question
// mark it says which evaluation is shown, and whether only mistakes or only correct predictions.
const BANDS = [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5]; // shares of a row where the colour changes
const NAMED_CELL = 11; // CSS pixels of a cell from which on rows and columns have names
const NUMBERED_CELL = 30;
const EVERY = "all"; // the filter that leaves all drawings
const FILTERS = { [EVERY]: "All drawings", correct: "Correct", mistakes: "Mistakes" };

const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const share = (value) => (value < 0.0005 && value > 0 ? "<0.001" : value.toFixed(3));

class Explorer {
  constructor(root) {
    this.root = root;
    const [json, ...packed] = root.querySelectorAll("script");
    Object.assign(this, JSON.parse(json.textContent));
    this.evaluations.forEach((each, i) => {
      each.packed = packed.slice(2 * i, 2 * i + 2).map(holderOf);
    });
    this.only = EVERY;
    this.chosenCell = [];
    this.use(this.evaluations[0]);
    this.build();
    new ResizeObserver(() => this.draw()).observe(this.frame);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // Shows another evaluation; of other categories from the whole matrix on.
  use(evaluation) {
    const isOfOthers = this.labels?.length !== evaluation.labels.length;
    this.evaluation = evaluation;
    const { labels, order, cells } = evaluation;
    Object.assign(this, { labels, order, place: null });
    this.numbers = new Map();
    this.totals = labels.map(() => 0);
    this.predicted = labels.map(() => 0);
    for (let i = 0; i < cells.length; i += 3) {
      const [row, column, number] = cells.slice(i, i + 3);
      this.numbers.set(row * labels.length + column, number);
      this.totals[row] += number;
      this.predicted[column] += number;
    }
    // The first column and row that are shown, in cells.
    if (isOfOthers) Object.assign(this, { zoom: 1, left: 0, top: 0 });
  }

  number(row, column) {
    return this.numbers.get(row * this.labels.length + column) ?? 0;
  }

  address(...indices) {
    const path = [this.name, ...indices.map((i) => this.labels[i])].map(encodeURIComponent).join("/");
    const filters = new URLSearchParams();
    if (this.evaluation !== this.evaluations[0]) filters.set("evaluation", this.evaluation.title);
    if (this.only !== EVERY) filters.set("drawings", this.only);
    return `#/${path}${`${filters}` && `?${filters}`}`;
  }

  // What the filters of an address leave; those that it does not name leave all.
  filter(filters) {
    const title = filters.get("evaluation");
    this.use(this.evaluations.find((each) => each.title === title) ?? this.evaluations[0]);
    this.only = Object.hasOwn(FILTERS, filters.get("drawings") ?? "") ? filters.get("drawings") : EVERY;
    this.filters.forEach((each) => each.update());
    this.hover(null);
    this.draw();
  }

  isShown(truth, predicted) {
    return this.only === EVERY || (this.only === "correct") === (truth === predicted);
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
    const all = new Set(this.evaluations.flatMap((each) => each.labels));
    list.append(...[...all].sort().map((value) => make("option", { value })));
    const search = make("input", { type: "search", placeholder: "Find a category" });
    search.setAttribute("list", list.id);
    search.ariaLabel = "Find a category";
    search.addEventListener("change", () => {
      const index = this.labels.indexOf(search.value.trim());
      if (index >= 0) location.hash = this.address(index);
    });
    this.filters = [
      this.select("Evaluation", this.evaluations.map(({ title }) => [title, title]), "evaluation", () => this.evaluation.title),
      this.select("Drawings", Object.entries(FILTERS), "drawings", () => this.only),
    ];
    const tools = make(
      "div",
      { className: "tools" },
      search,
      list,
      ...this.filters.filter((each) => each.options.length > 1),
      button("+", "Zoom in", () => this.scale(2)),
      button("−", "Zoom out", () => this.scale(0.5)),
      button("Whole", "Show the whole matrix", () => this.scale(0)),
      this.key(),
    );
    this.root.append(tools, this.frame, this.chosen);
    this.listen();
  }

  // A choice that becomes a part of the address.
  select(name, options, filter, current) {
    const made = make("select", { ariaLabel: name }, ...options.map(([value, text]) => make("option", { value }, text)));
    made.update = () => (made.value = current());
    made.addEventListener("change", () => {
      const labels = this.chosenCell.map((i) => this.labels[i]);
      const filters = new URLSearchParams(this.address().split("?")[1]);
      filters.set(filter, made.value);
      this.filter(filters);
      const indices = labels.map((label) => this.labels.indexOf(label));
      this.choose(...(indices.includes(-1) ? [] : indices));
    });
    return made;
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
      if (event.button) return; // no click would follow
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
    const middle = this.labels.length / this.zoom / 2 - 0.5;
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
        if (number && this.isShown(order[i], order[j])) {
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

  // The drawings of a cell, or the page of a category; nothing without either.
  async show(row, column) {
    const newest = (this.newest = {});
    this.chosenCell = [row, column].filter((index) => index !== undefined);
    const held = await readHeld(this.evaluation);
    if (newest !== this.newest) return; // another choice was made meanwhile
    this.held = held;
    const all = held ? held.truth.map((_, i) => i) : [];
    const drawings = all.filter((i) => this.isShown(this.held.truth[i], this.held.predicted[i]));
    const shown = column === undefined ? this.categoryPage : this.cellPage;
    this.chosen.replaceChildren(...(row === undefined ? [] : shown.call(this, drawings, row, column)));
  }

  cellPage(drawings, row, column) {
    const number = this.number(row, column);
    const title = make("h4", {}, this.link(row));
    title.append(row === column ? " recognized" : " taken for ", row === column ? "" : this.link(column));
    title.append(`: ${count(number)} of ${count(this.totals[row])}`);
    if (!this.isShown(row, column)) {
      return [title, make("p", {}, `The filter hides them: ${FILTERS[this.only].toLowerCase()} only.`)];
    }
    const found = drawings.filter((i) => this.held.truth[i] === row && this.held.predicted[i] === column);
    found.sort((a, b) => this.held.first[b] - this.held.first[a]);
    return [title, ...this.gallery("", found)];
  }

  categoryPage(drawings, row) {
    const correct = this.number(row, row);
    const [recall, precision] = [this.totals, this.predicted].map((of) => (of[row] ? share(correct / of[row]) : "–"));
    const title = make("h4", {}, `${this.labels[row]}: accuracy ${recall}, precision ${precision}`);
    const own = drawings.filter((i) => this.held.truth[i] === row);
    const right = own.filter((i) => this.held.predicted[i] === row);
    const wrong = own.filter((i) => this.held.predicted[i] !== row);
    const by = (probabilities) => (a, b) => probabilities[a] - probabilities[b];
    const { first, own: ofTruth } = this.held ?? {};
    return [
      title,
      this.others("Taken for", (other) => this.number(row, other), (other) => [row, other], row),
      this.others("Taken for it", (other) => this.number(other, row), (other) => [other, row], row),
      ...this.gallery("Wrong", wrong.sort(by(ofTruth))),
      ...this.gallery("Typical", right.sort(by(first)).reverse()),
      ...this.gallery("Uncertain", own.sort(by(first))),
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

  // Drawings below a name; a filter leaves out what it empties.
  gallery(name, drawings) {
    const isLeftOut = !this.held || (this.only !== EVERY && !drawings.length);
    return isLeftOut ? [] : gallery(name, drawings, this.held, this.labels);
  }
}

const explorers = [];
for (const root of document.querySelectorAll(".explorer")) {
  explorers.push(new Explorer(root));
}

async function follow() {
  if (!location.hash.startsWith("#/")) return;
  const [path, filters] = location.hash.slice(2).split("?");
  const [name, ...labels] = path.split("/").map(decodeURIComponent);
  const explorer = explorers.find((each) => each.name === name);
  if (!explorer) return;
  explorer.filter(new URLSearchParams(filters));
  const indices = labels.map((label) => explorer.labels.indexOf(label));
  await explorer.show(...(indices.includes(-1) ? [] : indices));
  (indices.length ? explorer.chosen : explorer.root).scrollIntoView({ block: "start" });
}
addEventListener("hashchange", follow);
addEventListener("popstate", follow);
follow();
