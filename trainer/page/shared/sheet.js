// The sheet of paper: mouse, pen, finger and keys → strokes, each [xs, ys, ts], as in raw drawings of
// Quick, Draw!: whole units, of which the sheet is SIDE wide, and ms since the first point.
export const SIDE = 1000;
const PEN = 9; // units
const STEP = 20; // units that an arrow key moves the pen; with Shift a quarter
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const clamp = (value) => Math.min(SIDE, Math.max(0, Math.round(value)));

// Events: "draw", whenever a stroke has changed; "pen", when a key puts the pen down or lifts it;
// "lock", when the sheet is locked or unlocked.
export class Sheet extends EventTarget {
  strokes = [];
  #canvas;
  #context;
  #pointer = null; // that draws
  #isPenDown = false; // by key
  #cursor = null; // [x, y] of the pen that keys move
  #held = new Set(); // arrow keys
  #start = 0; // ms
  #isLocked = false;
  #isStale = false;

  constructor(canvas) {
    super();
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d");
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, (event) => this.#up(event));
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("keyup", (event) => this.#held.delete(event.key));
    canvas.addEventListener("blur", () => this.#leaveKeys());
    new ResizeObserver(() => this.#fit()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#repaint());
  }

  undo() {
    this.#endStroke();
    this.strokes.pop();
    this.#changed();
  }

  clear() {
    this.#endStroke();
    this.strokes = [];
    this.#changed();
  }

  // A locked sheet shows its drawing and takes no strokes.
  set isLocked(value) {
    this.#isLocked = value;
    this.#endStroke();
    this.#canvas.tabIndex = value ? -1 : 0;
    this.dispatchEvent(new CustomEvent("lock"));
  }

  get isLocked() {
    return this.#isLocked;
  }

  #down(event) {
    if (this.#isLocked || this.#pointer !== null || event.button !== 0) {
      return;
    }
    this.#leaveKeys();
    this.#pointer = event.pointerId;
    // A pointer that a program makes up cannot be captured.
    if (event.isTrusted) {
      this.#canvas.setPointerCapture(event.pointerId);
    }
    this.#begin(...this.#place(event), event.timeStamp);
  }

  #move(event) {
    if (event.pointerId !== this.#pointer) {
      return;
    }
    const all = event.getCoalescedEvents();
    for (const each of all.length ? all : [event]) {
      this.#extend(...this.#place(each), each.timeStamp);
    }
    this.#changed();
  }

  #up(event) {
    if (event.pointerId === this.#pointer) {
      this.#pointer = null;
    }
  }

  #place(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [
      clamp(((event.clientX - left) / width) * SIDE),
      clamp(((event.clientY - top) / height) * SIDE),
    ];
  }

  #begin(x, y, time) {
    if (!this.strokes.length) {
      this.#start = time;
    }
    this.strokes.push([[x], [y], [this.#since(time)]]);
    this.#changed();
  }

  #extend(x, y, time) {
    const [xs, ys, ts] = this.strokes.at(-1);
    if (x !== xs.at(-1) || y !== ys.at(-1)) {
      xs.push(x);
      ys.push(y);
      ts.push(Math.max(ts.at(-1), this.#since(time)));
    }
  }

  #since(time) {
    return Math.max(0, Math.round(time - this.#start));
  }

  #endStroke() {
    this.#pointer = null;
    this.#isPenDown = false;
  }

  // ---- Keys ----

  #key(event) {
    if (this.#isLocked || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (event.key in ARROWS) {
      this.#held.add(event.key);
      this.#moveCursor(event.shiftKey ? STEP / 4 : STEP, event.timeStamp);
    } else if ((event.key === " " || event.key === "Enter") && !event.repeat) {
      this.#togglePen(event.timeStamp);
    } else if (event.key === "Backspace") {
      this.undo();
    } else if (event.key === "Delete") {
      this.clear();
    } else {
      return;
    }
    event.preventDefault();
  }

  // Two arrows together move it aslant.
  #moveCursor(step, time) {
    let [x, y] = this.#cursor ?? [SIDE / 2, SIDE / 2];
    for (const key of this.#held) {
      x = clamp(x + step * ARROWS[key][0]);
      y = clamp(y + step * ARROWS[key][1]);
    }
    this.#cursor = [x, y];
    if (this.#isPenDown) {
      this.#extend(x, y, time);
      this.#changed();
    }
    this.#repaint();
  }

  #togglePen(time) {
    this.#cursor ??= [SIDE / 2, SIDE / 2];
    this.#isPenDown = !this.#isPenDown;
    if (this.#isPenDown) {
      this.#begin(...this.#cursor, time);
    }
    this.#repaint();
    this.dispatchEvent(new CustomEvent("pen", { detail: this.#isPenDown }));
  }

  #leaveKeys() {
    this.#held.clear();
    this.#isPenDown = false;
    this.#cursor = null;
    this.#repaint();
  }

  // ---- Painting ----

  #changed() {
    this.#repaint();
    this.dispatchEvent(new CustomEvent("draw"));
  }

  #fit() {
    const side = Math.round(this.#canvas.clientWidth * devicePixelRatio);
    this.#canvas.width = this.#canvas.height = side;
    this.#paint();
  }

  // Once a frame, however many points came.
  #repaint() {
    if (!this.#isStale) {
      this.#isStale = true;
      requestAnimationFrame(() => this.#paint());
    }
  }

  #paint() {
    this.#isStale = false;
    const context = this.#context;
    const scale = this.#canvas.width / SIDE;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    context.strokeStyle = getComputedStyle(this.#canvas).color;
    context.lineWidth = PEN;
    context.lineCap = context.lineJoin = "round";
    context.beginPath();
    for (const [xs, ys] of this.strokes) {
      context.moveTo(xs[0], ys[0]);
      xs.forEach((x, i) => context.lineTo(x, ys[i]));
    }
    context.stroke();
    if (this.#cursor) {
      this.#paintCursor(...this.#cursor);
    }
  }

  #paintCursor(x, y) {
    const context = this.#context;
    context.lineWidth = PEN / 2;
    context.beginPath();
    context.arc(x, y, this.#isPenDown ? PEN : 2 * PEN, 0, 2 * Math.PI);
    for (const [dx, dy] of Object.values(ARROWS)) {
      context.moveTo(x + 2 * PEN * dx, y + 2 * PEN * dy);
      context.lineTo(x + 4 * PEN * dx, y + 4 * PEN * dy);
    }
    context.stroke();
  }
}
