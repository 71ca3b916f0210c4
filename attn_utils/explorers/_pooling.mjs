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
  const distances = keys.map((key, s) => (s === leftOut ? Infinity : Math.abs(query - key)));
  const nearest = Math.min(...distances);
  // The Gaussian relative to the nearest key: the ratio is the same and cannot underflow to 0/0.
  const raw = distances.map((distance) => {
    if (distance === Infinity) return 0;
    if (kernel === "gaussian") {
      return Math.exp(-(((distance - nearest) / width) * ((distance + nearest) / width)) / 2);
    }
    return kernels[kernel](distance / width);
  });
  const total = raw.reduce((a, b) => a + b, 0);
  if (total > 0) return raw.map((weight) => weight / total);
  const ties = distances.filter((distance) => distance === nearest).length;
  return distances.map((distance) => (distance === nearest ? 1 / ties : 0));
}

export const mix = (row, values) => row.reduce((sum, weight, s) => sum + weight * values[s], 0);

/** How many keys a row of weights listens to: exp of its entropy (1 = one key, S = all keys alike). */
export function effectiveKeys(row) {
  return Math.exp(-row.reduce((sum, w) => sum + (w > 0 ? w * Math.log(w) : 0), 0));
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
