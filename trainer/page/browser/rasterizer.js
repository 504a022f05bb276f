// Simplified strokes → the bitmap of 85 × 85 that pipeline.rasterize draws, pixel for pixel: OpenCV's
// polylines of thickness 5 on a canvas of 262 × 262, and its bilinear resize, both in its own
// fixed-point numbers (OpenCV: modules/imgproc/src/drawing.cpp and resize.cpp).
import { extremes, roundToEven } from "./numbers.js";

export const SIDE = 85; // pixels of the bitmap
const CANVAS = 262; // pixels: the 256 of a drawing and the pen's width
const SHIFT = 16; // bits of a fraction
const ONE = 1 << SHIFT;
const HALF = ONE >> 1;
const RADIUS = 3 * ONE; // half the width that OpenCV gives a line of thickness 5
const DISC = [3, 2, 2, 0]; // half the width of each row of its disc, from the middle row on
const MARGIN = 5; // around the canvas; what lies beyond is cut off
const COLUMNS = Array.from({ length: SIDE }, (_, i) => interpolation(i));

const canvas = new Uint8Array(CANVAS * CANVAS);

// `strokes`: each [xs, ys], whole numbers in 0..255. Returns 85 × 85 of 0 and 1, row by row.
export function rasterize(strokes) {
  canvas.fill(0);
  const [left, top] = [0, 1].map((axis) => margin(strokes.map((stroke) => stroke[axis])));
  for (const [xs, ys] of strokes) {
    drawStroke(
      xs.map((x) => x + left),
      ys.map((y) => y + top),
    );
  }
  return shrink();
}

// How far a drawing is moved along an axis: to the middle, as if it began at 0.
function margin(axes) {
  const [least, most] = extremes(axes);
  return Math.floor((CANVAS - (most - least)) / 2);
}

function drawStroke(xs, ys) {
  fillDisc(xs[0], ys[0]);
  for (let i = 1; i < xs.length; i++) {
    const ends = clip([xs[i - 1], ys[i - 1], xs[i], ys[i]], -MARGIN, CANVAS - 1 + MARGIN);
    if (ends) {
      fillBand(...ends.map((each) => each * ONE));
    }
    fillDisc(xs[i], ys[i]);
  }
}

function fillDisc(x, y) {
  for (let row = -3; row <= 3; row++) {
    const half = DISC[Math.abs(row)];
    fillRow(y + row, x - half, x + half);
  }
}

// Fills the rectangle around a segment, whose corners are fixed-point numbers.
function fillBand(x0, y0, x1, y1) {
  const dx = (x0 - x1) / ONE;
  const dy = (y1 - y0) / ONE;
  const square = dx * dx + dy * dy;
  if (square === 0) {
    return;
  }
  const ratio = RADIUS / Math.sqrt(square);
  const sideX = roundToEven(dy * ratio);
  const sideY = roundToEven(dx * ratio);
  fillConvex(
    [x0 + sideX, x0 - sideX, x1 - sideX, x1 + sideX],
    [y0 + sideY, y0 - sideY, y1 - sideY, y1 + sideY],
  );
}

// Draws the outline of a convex polygon, and fills it row by row between the two edges that go down
// from its topmost corner.
function fillConvex(xs, ys) {
  const count = xs.length;
  for (let i = 0; i < count; i++) {
    const before = (i + count - 1) % count;
    drawLine(xs[before], ys[before], xs[i], ys[i]);
  }
  const first = ys.indexOf(Math.min(...ys));
  const last = Math.min(toPixel(Math.max(...ys)), CANVAS - 1);
  let y = toPixel(ys[first]);
  const edges = [1, count - 1].map((step) => ({ step, corner: first, end: y, x: -ONE, slope: 0 }));
  let unused = count;
  do {
    for (const edge of edges) {
      while (y >= edge.end) {
        if (unused === 0) {
          return;
        }
        unused -= 1;
        followEdge(edge, xs, ys, y);
      }
    }
    const [left, right] = edges[0].x > edges[1].x ? [edges[1], edges[0]] : edges;
    fillRow(y, toPixel(left.x), toPixel(right.x));
    for (const edge of edges) {
      edge.x += edge.slope;
    }
    y += 1;
  } while (y <= last);
}

// Goes on to the edge's next corner, which may lie in the same row.
function followEdge(edge, xs, ys, y) {
  const next = (edge.corner + edge.step) % xs.length;
  const end = toPixel(ys[next]);
  if (end > y) {
    edge.end = end;
    edge.x = xs[edge.corner];
    edge.slope = Math.trunc((2 * (xs[next] - edge.x) + end - y) / (2 * (end - y)));
  }
  edge.corner = next;
}

// A line of one pixel between fixed-point coordinates.
function drawLine(...ends) {
  const clipped = clip(ends, 0, CANVAS * ONE - 1);
  if (!clipped) {
    return;
  }
  const [x0, y0, x1, y1] = clipped;
  const isFlat = Math.abs(x1 - x0) > Math.abs(y1 - y0);
  // Along the axis on which it is longer, upwards in coordinates; across, step by step.
  let [along, across, alongEnd, acrossEnd] = isFlat ? [x0, y0, x1, y1] : [y0, x0, y1, x1];
  if (along > alongEnd) {
    [along, across, alongEnd, acrossEnd] = [alongEnd, acrossEnd, along, across];
  }
  const step = Math.trunc(((acrossEnd - across) * ONE) / ((alongEnd - along) | 1));
  const put = isFlat ? (a, b) => putPixel(a, b) : (a, b) => putPixel(b, a);
  put(toPixel(alongEnd), toPixel(acrossEnd));
  const count = (alongEnd - along) >> SHIFT;
  const start = toPixel(along);
  across += HALF;
  for (let i = 0; i <= count; i++) {
    put(start + i, across >> SHIFT);
    across += step;
  }
}

// Cuts off the parts of a line that lie beyond two borders, the same on both axes. Returns its
// ends, or null if nothing is left.
function clip([x0, y0, x1, y1], low, high) {
  const isBeyond = (a, b) => (a < low && b < low) || (a > high && b > high);
  // Moves an end to the border that it is beyond on the axis of `a`.
  const cut = (a, b, otherA, otherB) => {
    const border = Math.min(Math.max(a, low), high);
    const share = border === a ? 0 : Math.trunc(((border - a) * (otherB - b)) / (otherA - a));
    return [border, b + share];
  };
  if (isBeyond(x0, x1) || isBeyond(y0, y1)) {
    return null;
  }
  [y0, x0] = cut(y0, x0, y1, x1);
  [y1, x1] = cut(y1, x1, y0, x0);
  if (isBeyond(x0, x1)) {
    return null;
  }
  [x0, y0] = cut(x0, y0, x1, y1);
  [x1, y1] = cut(x1, y1, x0, y0);
  return [x0, y0, x1, y1];
}

function toPixel(value) {
  return (value + HALF) >> SHIFT;
}

function putPixel(x, y) {
  if (x >= 0 && x < CANVAS && y >= 0 && y < CANVAS) {
    canvas[y * CANVAS + x] = 1;
  }
}

function fillRow(y, left, right) {
  if (y >= 0 && y < CANVAS && right >= 0 && left < CANVAS) {
    canvas.fill(1, y * CANVAS + Math.max(left, 0), y * CANVAS + Math.min(right, CANVAS - 1) + 1);
  }
}

// ---- Resize ----

// Where pixel `i` of the bitmap lies on the canvas: between `at` and the next pixel, with their
// weights, which are 2048 together.
function interpolation(i) {
  const place = Math.fround((i + 0.5) * (CANVAS / SIDE) - 0.5);
  const at = Math.floor(place);
  const share = Math.fround(place - at);
  return { at, weights: [1 - share, share].map((each) => roundToEven(2048 * Math.fround(each))) };
}

function shrink() {
  const bitmap = new Uint8Array(SIDE * SIDE);
  COLUMNS.forEach(({ at: y, weights: [upper, lower] }, row) => {
    COLUMNS.forEach(({ at: x, weights: [left, right] }, column) => {
      const [above, below] = [y * CANVAS + x, (y + 1) * CANVAS + x].map(
        (i) => canvas[i] * left + canvas[i + 1] * right,
      );
      const sum = ((upper * (above >> 4)) >> 16) + ((lower * (below >> 4)) >> 16);
      bitmap[row * SIDE + column] = (sum + 2) >> 2;
    });
  });
  return bitmap;
}
