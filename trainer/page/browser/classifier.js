// The model, in this browser, run by LiteRT.js. In the page that asks a server, another module has
// the same exports.
import { Busy } from "./busy.js";
import { normalise } from "./drawing.js";
import { roundToEven } from "./numbers.js";
import { rasterize, SIDE } from "./rasterizer.js";

const WAIT_SECONDS = 0.2; // until a model that is loading is asked again
let litert = null; // the library, when it is loaded
let model = null; // when it can be asked
let trouble = ""; // why it never can

const description = read("model.json"); // {model, labels}
load();

// Returns what becomes of the strokes, for the foot of the page: texts and elements.
export function footnote() {
  return ["The model runs in this browser; your strokes stay in it."];
}

// Returns {model, labels}: its name, and its categories.
export function describe() {
  return description;
}

// Returns the likeliest categories, [{label, probability}], and the bitmap: 85 × 85 of 0 and 1, row
// by row. `strokes`: at least one, each [xs, ys], or [xs, ys, ts] of a raw drawing.
export async function classify(strokes, top) {
  if (trouble) {
    throw new Error(trouble);
  }
  if (!model) {
    throw new Busy("The model is loading.", WAIT_SECONDS);
  }
  const bitmap = rasterize(normaliseOrRefuse(strokes));
  const [{ labels }, probabilities] = [await description, await run(bitmap)];
  // Of equal ones the category of lower index comes first: sort() keeps their order.
  const best = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const predictions = best.slice(0, top).map((i) => ({
    label: labels[i],
    probability: roundToEven(1e4 * probabilities[i]) / 1e4,
  }));
  return { predictions, bitmap };
}

function normaliseOrRefuse(strokes) {
  try {
    return normalise(strokes);
  } catch (error) {
    throw new Error(`The page refused the drawing: ${error.message}.`);
  }
}

async function run(bitmap) {
  const image = new litert.Tensor(Float32Array.from(bitmap), [1, SIDE, SIDE, 1]);
  try {
    const [output] = await model.run([image]);
    const probabilities = await output.data();
    output.delete();
    return probabilities;
  } finally {
    image.delete();
  }
}

async function load() {
  try {
    litert = await import("@litertjs/core");
    await litert.loadLiteRt("litertjs/core/wasm/");
    model = await litert.loadAndCompile("model.tflite", { accelerator: "wasm" });
  } catch (error) {
    const reason = error.message ?? "LiteRT.js cannot be loaded"; // of a script there is no reason
    trouble = `The model cannot run in this browser: ${reason}`;
  }
}

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) {
    throw new Error(`${path} cannot be read: status ${response.status}.`);
  }
  return response.json();
}
