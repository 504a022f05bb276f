// Arithmetic that JavaScript lacks.
const bits = new DataView(new ArrayBuffer(8));

// Returns the least and the greatest of all values in some lists, of any length.
export function extremes(lists) {
  let [low, high] = [Infinity, -Infinity];
  for (const list of lists) {
    for (const value of list) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
  }
  return [low, high];
}

// Rounds to the nearest whole number, halves to the even one.
export function roundToEven(value) {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

// Returns x² + z, rounded once: a fused multiply-add. The errors are summed and rounded to odd before
// the last step (S. Boldo, G. Melquiond, 2008).
export function fusedSquareAdd(x, z) {
  const [square, squareError] = squareParts(x);
  const [low, lowError] = sumParts(z, squareError);
  const [high, highError] = sumParts(square, low);
  return high + sumToOdd(highError, lowError);
}

// x² as the nearest number and its error (T. J. Dekker, 1971).
function squareParts(x) {
  const scaled = x * (2 ** 27 + 1);
  const high = scaled - (scaled - x);
  const low = x - high;
  const square = x * x;
  return [square, high * high - square + 2 * high * low + low * low];
}

// a + b as the nearest number and its error (D. E. Knuth).
function sumParts(a, b) {
  const sum = a + b;
  const part = sum - a;
  return [sum, a - (sum - part) + (b - part)];
}

// a + b; where that is no number exactly, of its two neighbours the one whose last bit is 1.
function sumToOdd(a, b) {
  const [sum, error] = sumParts(a, b);
  bits.setFloat64(0, sum);
  const whole = bits.getBigInt64(0);
  if (error !== 0 && (whole & 1n) === 0n) {
    bits.setBigInt64(0, whole + (error > 0 === sum > 0 ? 1n : -1n));
  }
  return bits.getFloat64(0);
}
