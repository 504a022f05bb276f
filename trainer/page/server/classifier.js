// The model, on a server. In the page without one, another module has the same exports.
import { Busy } from "./busy.js";

const SIDE = 85; // pixels of the bitmap

// Returns what becomes of the strokes, for the foot of the page: texts and elements.
export function footnote() {
  const link = document.createElement("a");
  link.href = "api";
  link.textContent = "Use it from a program";
  return ["The server looks at your strokes and does not store them. ", link];
}

// Returns {model, labels}: its name, and its categories.
export async function describe() {
  return (await ask("model")).json();
}

// Returns the likeliest categories, [{label, probability}], and the bitmap: 85 × 85 booleans, row by
// row. `strokes`: at least one, each [xs, ys, ts].
export async function classify(strokes, top) {
  const response = await ask(`predict?top=${top}&bitmap=true`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ drawing: strokes }),
  });
  const { predictions, bitmap } = await response.json();
  return { predictions, bitmap: unpack(bitmap) };
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
  if (response.status === 429 || response.status === 503) {
    throw new Busy("The model is busy.", Number(response.headers.get("Retry-After")) || 1);
  }
  if (!response.ok) {
    const { error } = await response.json().catch(() => ({ error: `status ${response.status}` }));
    throw new Error(`The server refused the drawing: ${error}.`);
  }
  return response;
}

// Eight pixels to a byte, the first in its highest bit.
function unpack(text) {
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  return Array.from({ length: SIDE * SIDE }, (_, i) => ((bytes[i >> 3] >> (7 - (i & 7))) & 1) === 1);
}
