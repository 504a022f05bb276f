// The model. This module asks the server; a page without one has another with the same exports.
const SIDE = 85; // pixels of the bitmap

// The model has too much to do; it can be asked again in `seconds`.
export class Busy extends Error {
  constructor(seconds) {
    super("The model is busy.");
    this.seconds = seconds;
  }
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
    throw new Busy(Number(response.headers.get("Retry-After")) || 1);
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
