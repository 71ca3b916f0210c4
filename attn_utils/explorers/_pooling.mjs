// Kernel pooling in JavaScript: the same arithmetic as attn_utils.kernels, one query at a time.
// Every function here is pure; the tests run it beside the Python version on the same inputs.

/** Kernel functions of the scaled distance u = distance / width. */
export const kernels = {
  gaussian: (u) => Math.exp((-u * u) / 2) / Math.sqrt(2 * Math.PI),
  boxcar: (u) => (Math.abs(u) < 1 ? 0.5 : 0),
  epanechnikov: (u) => 0.75 * Math.max(1 - u * u, 0),
  triangular: (u) => Math.max(1 - Math.abs(u), 0),
  constant: () => 1,
};

/** Attention weights of one query over the keys: non-negative, sum 1. `leftOut` names a key to leave out. */
export function weights(query, keys, width, kernel, leftOut = -1) {
  const row = keys.map((key, s) => (s === leftOut ? Infinity : Math.abs(query - key))); // distances, first
  const nearest = Math.min(...row);
  const height = kernels[kernel];
  let total = 0;
  for (let s = 0; s < row.length; s++) {
    const distance = row[s];
    if (distance === Infinity) row[s] = 0;
    // The Gaussian relative to the nearest key: the ratio is the same and cannot underflow to 0/0.
    else if (kernel === "gaussian") row[s] = Math.exp(-(((distance - nearest) / width) * ((distance + nearest) / width)) / 2);
    else row[s] = height(distance / width);
    total += row[s];
  }
  if (total > 0) return row.map((weight) => weight / total);
  const listens = keys.map((key, s) => s !== leftOut && Math.abs(query - key) === nearest);
  const ties = listens.filter(Boolean).length;
  return listens.map((listening) => (listening ? 1 / ties : 0));
}

export function mix(row, values) {
  let sum = 0;
  for (let s = 0; s < row.length; s++) sum += row[s] * values[s];
  return sum;
}

/** How many keys a row of weights listens to: exp of its entropy (1 = one key, S = all keys alike). */
export function effectiveKeys(row) {
  let entropy = 0;
  for (const weight of row) if (weight > 0) entropy -= weight * Math.log(weight);
  return Math.exp(entropy);
}

/** Mean squared error of every value estimated from the others (or, with leaveOneOut false, from all of them). */
export function poolingError(keys, values, width, kernel, leaveOneOut = true) {
  const errors = keys.map((key, s) => mix(weights(key, keys, width, kernel, leaveOneOut ? s : -1), values) - values[s]);
  return errors.reduce((sum, e) => sum + e * e, 0) / keys.length;
}

/**
 * Derivative of the Gaussian's poolingError with respect to log(width).
 * With u = distance / width, d log k / d log width = u², so each estimate moves by the covariance of u² and value.
 */
export function poolingErrorSlope(keys, values, width, leaveOneOut = true) {
  const slopes = keys.map((key, s) => {
    const row = weights(key, keys, width, "gaussian", leaveOneOut ? s : -1);
    const squares = keys.map((other) => ((key - other) / width) ** 2);
    const [meanSquare, estimate] = [mix(row, squares), mix(row, values)];
    const covariance = row.reduce((sum, w, t) => sum + (w > 0 ? w * (squares[t] - meanSquare) * values[t] : 0), 0);
    return 2 * (estimate - values[s]) * covariance;
  });
  return slopes.reduce((a, b) => a + b, 0) / keys.length;
}

export const KERNEL_LABELS = {
  gaussian: "Gaussian", boxcar: "boxcar", epanechnikov: "Epanechnikov", triangular: "triangular", constant: "constant",
};
export const FIT_NOTE = "solid: estimate · dashed: true function";
