
// What the page holds compressed: drawings with their keys, predictions, tables to save. It is
// unpacked when it is first needed, and once for all runs that share it.
const SIDE = 85; // pixels of a drawing
const ROW_BYTES = 11; // of packed pixels, the first one in the highest bit
const [INK, PAPER] = [20, 255];
const NEWLINE = 10;
const FEW = 12; // drawings of a kind that are shown at first
const count = (value) => value.toLocaleString("en");

const make = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

// Once for all: what a function returns for each argument.
const remember = (compute) => {
  const known = new Map();
  return (argument) => {
    if (!known.has(argument)) known.set(argument, compute(argument));
    return known.get(argument);
  };
};

const holderOf = (script) => document.getElementById(script.dataset.same) ?? script;

async function inflate(script) {
  const text = atob(script.textContent);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Of each drawing its true category, key and bitmap; of each category the file of its strokes.
const readDrawings = remember(async (script) => {
  const bytes = await inflate(script);
  const end = bytes.indexOf(NEWLINE);
  const fields = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  return { ...fields, bitmaps: bytes.subarray(end + 1) };
});

// Of each drawing the prediction, the probability of the true category and of the predicted one.
const readPredictions = remember(async (script) => {
  const numbers = new Uint16Array((await inflate(script)).buffer);
  const count = numbers.length / 3;
  const [predicted, own, first] = [0, 1, 2].map((i) => numbers.subarray(i * count, (i + 1) * count));
  return { predicted, own, first };
});

// Both of an evaluation; null if the page holds none of its drawings.
async function readHeld({ count, packed }) {
  if (!count) return null;
  const held = await Promise.all([readDrawings(packed[0]), readPredictions(packed[1])]);
  return Object.assign({}, ...held);
}

// A canvas with a drawing, dark on white.
function inkCanvas(drawings, index, label) {
  const canvas = make("canvas", { className: "ink", width: SIDE, height: SIDE, ariaLabel: label });
  canvas.setAttribute("role", "img");
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(SIDE, SIDE);
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const byte = drawings.bitmaps[(index * SIDE + y) * ROW_BYTES + (x >> 3)];
      const value = (byte >> (7 - (x & 7))) & 1 ? INK : PAPER;
      pixels.data.set([value, value, value, 255], 4 * (y * SIDE + x));
    }
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// A drawing between its true category and the prediction, with their probabilities.
function drawingTile(drawing, held, labels) {
  const { truth, predicted, keys, files } = held;
  const label = labels[truth[drawing]];
  const canvas = inkCanvas(held, drawing, `A drawing of ${label}`);
  const guess = (node, probability) => {
    const text = (probability / 1000).toFixed(2);
    return make("p", {}, make("span", {}, node), make("span", {}, text));
  };
  const above = guess(make("strong", {}, label), held.own[drawing]);
  const below = make("div", {}, guess(labels[predicted[drawing]], held.first[drawing]));
  const file = files[truth[drawing]];
  const key = file ? make("a", { href: file }, keys[drawing]) : keys[drawing];
  below.append(make("p", { className: "key" }, key));
  return make("li", {}, above, canvas, below);
}

// A heading, if there is a name, the first drawings, and a button that shows the others.
function gallery(name, drawings, held, labels, heading = "h5") {
  const list = make("ul", { className: "gallery" });
  const more = make("button", { type: "button", textContent: `Show all ${count(drawings.length)}` });
  const add = (some) => list.append(...some.map((drawing) => drawingTile(drawing, held, labels)));
  add(drawings.slice(0, FEW));
  more.addEventListener("click", () => {
    add(drawings.slice(FEW));
    more.remove();
  });
  const title = name ? [make(heading, {}, `${name} (${count(drawings.length)})`)] : [];
  return [...title, list, ...(drawings.length > FEW ? [more] : [])];
}

// Tables to save: the button before a packed file writes it.
for (const button of document.querySelectorAll("button[data-file]")) {
  button.addEventListener("click", async () => {
    const table = new Blob([await inflate(holderOf(button.nextElementSibling))], { type: "text/csv" });
    const link = make("a", { href: URL.createObjectURL(table), download: button.dataset.file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  });
}
