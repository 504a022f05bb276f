// A drawing as a small SVG picture.
import { SIDE } from "./sheet.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const MARGIN = 40; // units

// `strokes` as of a Sheet; the picture shows all of the drawing, as large as it can.
export function thumbnail(strokes, name) {
  const [xs, ys] = [0, 1].map((axis) => strokes.flatMap((stroke) => stroke[axis]));
  const [left, top] = [xs, ys].map((axis) => axis.reduce((a, b) => Math.min(a, b)));
  const [right, bottom] = [xs, ys].map((axis) => axis.reduce((a, b) => Math.max(a, b)));
  const side = Math.max(right - left, bottom - top, SIDE / 10) + 2 * MARGIN;
  const [x, y] = [(left + right - side) / 2, (top + bottom - side) / 2];
  const picture = document.createElementNS(NAMESPACE, "svg");
  const path = document.createElementNS(NAMESPACE, "path");
  const lines = strokes.map(([strokeX, strokeY]) => {
    const points = strokeX.map((each, i) => `${each} ${strokeY[i]}`);
    return `M${points[0]}L${points.join(" ")}`;
  });
  picture.setAttribute("viewBox", `${x} ${y} ${side} ${side}`);
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", name);
  path.setAttribute("d", lines.join(""));
  path.setAttribute("vector-effect", "non-scaling-stroke");
  picture.append(path);
  return picture;
}
