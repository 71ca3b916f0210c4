// Explorer 2: one slider, the width of the kernel, over the estimate and its heatmap.

/** Everything the figure shows for one width, from the arithmetic in _pooling.mjs. */
export function widthState(keys, values, queries, width, kernel) {
  const matrix = queries.map((query) => weights(query, keys, width, kernel));
  return {
    matrix,
    estimates: matrix.map((row) => mix(row, values)),
    effective: matrix.reduce((sum, row) => sum + effectiveKeys(row), 0) / queries.length,
    leaveOneOut: poolingError(keys, values, width, kernel),
  };
}

function render({ model, el }) {
  const [keys, values, queries, truth] = ["key", "value", "queries", "truth"].map((name) => model.get(name));
  const xRange = extent(queries);
  const WIDTHS = [0.01, 100];

  const fit = panel({ x: xRange, y: extent([...values, ...truth], 0.05), xLabel: "x", yLabel: "y", height: 330, note: FIT_NOTE,
    label: "The observations, the true function (dashed) and the estimate (solid)." });
  const map = panel({ x: [-0.5, keys.length - 0.5], y: [...xRange].reverse(), canvas: true, xLabel: "key number (from left to right)",
    yLabel: "query", xTicks: ticks(0, keys.length - 1), height: 330,
    label: "Attention weights: one row a query, one column a key; brighter is more." });
  const curve = element("svg:path", { class: "attn-curve" });
  fit.marks.append(
    element("svg:path", { class: "attn-truth", d: path(queries, truth, fit.x, fit.y) }),
    ...keys.map((key, s) => element("svg:circle", { class: "attn-key attn-heard", r: 3.5, cx: fit.x(key), cy: fit.y(values[s]) })),
    curve,
  );

  function draw({ width, kernel }) {
    const shown = widthState(keys, values, queries, width, kernel);
    const largest = paintHeatmap(map.canvas, shown.matrix);
    update(curve, { d: path(queries, shown.estimates, fit.x, fit.y) });
    map.legend.replaceChildren(...ramp(largest));
    widthInput.show(Math.log10(width));
    kernelInput.show(kernel);
    const name = shown.effective < 1.05 ? " This is the nearest neighbour."
      : shown.effective > 0.99 * keys.length ? " This is the plain mean." : "";
    return `Width ${format(width)}: a query listens to about ${format(shown.effective)} of ${keys.length} keys. ` +
      `Leave-one-out error ${format(shown.leaveOneOut)}.${name}`;
  }

  const widthInput = slider({ label: "Width (log scale)", min: Math.log10(WIDTHS[0]), max: Math.log10(WIDTHS[1]), step: 0.01,
    toText: (log) => format(10 ** log), marks: ["nearest neighbour", "plain mean"],
    onInput: (log) => frame.set({ width: 10 ** log }) });
  const kernelInput = choice({ label: "Kernel", options: KERNEL_LABELS, onInput: (kernel) => frame.set({ kernel }) });
  const frame = explorer({ model, el, draw, panels: [fit, map], controls: [widthInput, kernelInput],
    state: { width: numberBetween(...WIDTHS), kernel: oneOf(Object.keys(kernels)) } });
  return frame.cleanup;
}

export default { render };
