// A drawing → where the pipeline draws it: in the frame of Quick, Draw!'s simplified drawings, as
// pipeline/drawings/drawing.py and frame.py put it there with --frame=auto.
import { extremes } from "./numbers.js";
import { simplify } from "./simplify.js";

const MAX_COORDINATE = 255;
const MAX_STROKES = 2000;
const MAX_POINTS = 50_000;
const LARGEST_MINIMUM = 7;
const RARE_MINIMA = [1, 46];
const RARE_MAXIMUM = 248;

// `strokes`: each [xs, ys], or [xs, ys, times] of a raw drawing. Returns [xs, ys] for each, whole
// numbers in 0..255. Throws an Error, whose message is the reason, for a drawing over a limit.
export function normalise(strokes) {
  if (strokes.length > MAX_STROKES) {
    throw new Error(`more than ${MAX_STROKES} strokes`);
  }
  if (strokes.reduce((sum, [xs]) => sum + xs.length, 0) > MAX_POINTS) {
    throw new Error(`more than ${MAX_POINTS} points`);
  }
  const isSimplified = strokes.every((stroke) => stroke.length === 2 && stroke.every(areBytes));
  return isSimplified && liesInFrame(strokes) ? strokes : simplify(strokes);
}

function areBytes(values) {
  return values.every((v) => Number.isInteger(v) && v >= 0 && v <= MAX_COORDINATE);
}

function liesInFrame(strokes) {
  const axes = [0, 1].map((axis) => extremes(strokes.map((stroke) => stroke[axis])));
  const [smaller, larger] = axes.map(([least]) => least).sort((a, b) => a - b);
  const most = Math.max(...axes.map(([, greatest]) => greatest));
  const isRare = smaller <= RARE_MINIMA[0] && larger <= RARE_MINIMA[1] && most >= RARE_MAXIMUM;
  return larger <= LARGEST_MINIMUM || isRare;
}
