// Raw strokes → simplified ones, number for number as of pipeline/drawings/simplify.py, which has
// the rules and their reasons: fit to 0..255, resample at every pixel, Ramer–Douglas–Peucker.
import { extremes, fusedSquareAdd, roundToEven } from "./numbers.js";

const MAX_COORDINATE = 255;
const EPSILON = 2; // pixels
const MAX_SAMPLES = 50_000; // pixels of ink after scaling
const MAX_DISTANCES = 500_000; // of a point from a line
const ALMOST = 1 - 1e-9; // far more than rounding errors are

// `strokes`: each [xs, ys, …], finite numbers. Returns [xs, ys] for each, whole numbers in 0..255,
// at least two. Throws an Error, whose message is the reason, for a drawing over a limit.
export function simplify(strokes) {
  const paths = fit(strokes).map(([xs, ys]) => new Path(xs, ys));
  if (paths.reduce((sum, path) => sum + path.count, 0) > MAX_SAMPLES) {
    throw new Error(`more than ${MAX_SAMPLES} pixels of ink`);
  }
  const budget = new Budget();
  return paths.map((path) => {
    const corners = findCorners(path, budget);
    return [0, 1].map((axis) => corners.map((corner) => roundToEven(corner[axis])));
  });
}

// Moves a drawing to minima of 0 and scales it to a common maximum of 255.
function fit(strokes) {
  const small = (v) => v * 2 ** -10; // the extent of the largest numbers is finite
  const axes = [0, 1].map((axis) => strokes.map((stroke) => stroke[axis].map(small)));
  const moved = axes.map((lists) => {
    const [least] = extremes(lists);
    return lists.map((list) => list.map((v) => v - least));
  });
  const extent = extremes(moved.flat())[1] || 1;
  const scale = (list) => list.map((v) => (v * MAX_COORDINATE) / extent);
  const [xs, ys] = moved.map((lists) => lists.map(scale));
  return xs.map((x, i) => [x, ys[i]]);
}

// A stroke resampled: at every pixel along it, and its last point. Its `count` samples have numbers
// from 0 on; only those asked for are computed.
class Path {
  #xs;
  #ys;
  #lengths; // from each point to the next
  #travelled; // along the stroke, up to each point
  starts; // the number of the first sample at or after each point
  count;

  constructor(xs, ys) {
    this.#xs = xs;
    this.#ys = ys;
    this.#lengths = xs.slice(1).map((x, i) => norm(x - xs[i], ys[i + 1] - ys[i]));
    this.#travelled = [0];
    this.#lengths.forEach((length, i) => this.#travelled.push(this.#travelled[i] + length));
    this.starts = this.#travelled.map(Math.ceil);
    const last = this.starts.at(-1);
    this.count = last + 1 + (last === 0 ? 1 : 0);
  }

  // The sample of a number, at or after a point and before the next: [x, y].
  at(number, point) {
    if (point === this.#lengths.length) {
      return [this.#xs[point], this.#ys[point]];
    }
    const weight = (number - this.#travelled[point]) / this.#lengths[point];
    return [this.#xs, this.#ys].map((v) => v[point] * (1 - weight) + v[point + 1] * weight);
  }

  // Samples of consecutive numbers.
  range(first, last) {
    const samples = [];
    let point = this.starts.findLastIndex((start) => start <= first);
    for (let number = first; number <= last; number++) {
      while (this.starts[point + 1] <= number) {
        point += 1;
      }
      samples.push({ number, place: this.at(number, point) });
    }
    return samples;
  }

  // The first and the last sample from each point on: at one of them the straight part after it is
  // farthest from any line.
  ends() {
    return this.starts.flatMap((first, point) => {
      const last = (this.starts[point + 1] ?? this.count) - 1;
      const numbers = last < first ? [] : [...new Set([first, last])];
      return numbers.map((number) => ({ number, place: this.at(number, point) }));
    });
  }
}

// Number of distances that may still be computed.
class Budget {
  #left = MAX_DISTANCES;

  spend(distances) {
    this.#left -= distances;
    if (this.#left < 0) {
      throw new Error(`more than ${MAX_DISTANCES} distances to simplify`);
    }
  }
}

// Returns the places of the samples to keep.
function findCorners(path, budget) {
  const samples = path.ends();
  const [first, last] = [samples[0], samples.at(-1)];
  const between = splitSpan(path, { first, last, samples }, budget);
  return [first, ...between, last].map(({ place }) => place);
}

// Ramer–Douglas–Peucker between two samples; returns those to keep. `samples`: the ends of straight
// parts from the first on, and before the last unless the stroke ends there.
function splitSpan(path, { first, last, samples }, budget) {
  if (!samples.length) {
    return [];
  }
  const middle = findFarthest(path, { first, last, samples }, budget);
  if (!middle) {
    return [];
  }
  const after = samples.findIndex(({ number }) => number >= middle.number);
  const count = after < 0 ? samples.length : after;
  return [
    ...splitSpan(path, { first, last: middle, samples: samples.slice(0, count) }, budget),
    middle,
    ...splitSpan(path, { first: middle, last, samples: samples.slice(count) }, budget),
  ];
}

// Returns the sample farthest from the line through the ends, if it is farther than EPSILON.
function findFarthest(path, { first, last, samples }, budget) {
  budget.spend(samples.length);
  const line = [0, 1].map((axis) => last.place[axis] - first.place[axis]);
  const length = norm(...line) || 1;
  const areas = samples.map(({ place }) => area(first.place, line, place));
  const [, largest] = extremes([areas]);
  const enough = Math.max(largest, EPSILON * length) * ALMOST;
  const candidates = samples.filter((_, i) => areas[i] > enough);
  if (!candidates.length) {
    return null;
  }
  if (candidates.length === 1) {
    return largest / length > EPSILON ? candidates[0] : null;
  }
  // Rounding errors decide: all samples between, and exactly.
  budget.spend(candidates.at(-1).number - candidates[0].number + 1);
  const all = path.range(candidates[0].number, candidates.at(-1).number);
  // So did upstream's processor or library: x² is not rounded before y², which is, is added.
  const exact = Math.sqrt(fusedSquareAdd(line[0], line[1] * line[1])) || 1;
  const distances = all.map(({ place }) => area(first.place, line, place) / exact);
  const [, farthest] = extremes([distances]);
  return farthest > EPSILON ? all[distances.indexOf(farthest)] : null;
}

// The distance of a place from the line through `start`, times its length; of a line without any,
// the distance from `start`.
function area(start, [dx, dy], place) {
  const [x, y] = [start[0] - place[0], start[1] - place[1]];
  return dx === 0 && dy === 0 ? norm(x, y) : Math.abs(dx * y - dy * x);
}

// As the pipeline computes it; Math.hypot rounds otherwise.
function norm(x, y) {
  return Math.sqrt(x * x + y * y);
}
