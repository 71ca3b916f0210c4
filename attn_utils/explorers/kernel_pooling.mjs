// Explorer 1: drag the query, choose the kernel, see who is listened to.

function render({ model, el }) {
  const [keys, values, queries, truth] = ["key", "value", "queries", "truth"].map((name) => model.get(name));
  const xRange = extent(queries);
  const yRange = extent([...values, ...truth], 0.05);
  const WIDTHS = [0.05, 5];

  const fit = panel({ x: xRange, y: yRange, xLabel: "x (key)", yLabel: "y (value)", note: FIT_NOTE,
    label: "Keys and values, each drawn as large as its weight; the curve of estimates; the query." });
  const bars = panel({ x: xRange, y: [0, 1.1], height: 130, xLabel: "x (key)", yLabel: "weight",
    yTicks: [0], label: "The weight of each key for this query." });
  const map = panel({ x: [-0.5, keys.length - 0.5], y: extent(queries).reverse(), height: 430, canvas: true,
    xLabel: "key number (from left to right)", yLabel: "query", xTicks: ticks(0, keys.length - 1),
    label: "Attention weights: one row a query, one column a key. The frame marks the current query's row." });

  const truthLine = element("svg:path", { class: "attn-truth", d: path(queries, truth, fit.x, fit.y) });
  const hill = element("svg:path", { class: "attn-hill" });
  const curve = element("svg:path", { class: "attn-curve" });
  const guide = element("svg:line", { class: "attn-guide", y1: fit.frame.top, y2: fit.frame.bottom });
  const dots = keys.map((key, s) => element("svg:circle", { class: "attn-key", cx: fit.x(key), cy: fit.y(values[s]) }));
  const answer = element("svg:path", { class: "attn-answer", d: "M0,-8L8,0L0,8L-8,0Z" });
  fit.marks.append(hill, truthLine, curve, guide, ...dots, answer);
  const stems = keys.map((key) => element("svg:line", { class: "attn-stem", x1: bars.x(key), x2: bars.x(key), y1: bars.y(0) }));
  const barGuide = element("svg:line", { class: "attn-guide", y1: bars.frame.top, y2: bars.frame.bottom });
  // The axis of the weights follows the largest one, which is written on it.
  const largestTick = element("svg:text", { class: "attn-tick", x: bars.frame.left - 7, y: bars.y(1) + 4, "text-anchor": "end" });
  bars.marks.append(barGuide, ...stems);
  bars.svg.append(largestTick);
  const frame = element("svg:rect", { class: "attn-row", x: map.frame.left, width: map.frame.right - map.frame.left, height: 7 });
  map.marks.append(frame);

  let matrix = [];
  let drawn = "";
  function drawKernel({ kernel, width }) {
    if (drawn === `${kernel} ${width}`) return;
    drawn = `${kernel} ${width}`;
    matrix = queries.map((query) => weights(query, keys, width, kernel));
    paintHeatmap(map.canvas, matrix);
    update(curve, { d: path(queries, matrix.map((row) => mix(row, values)), fit.x, fit.y) });
  }
  function drawHill({ query, kernel, width }) {
    const height = 60 / kernels[kernel](0);
    const steps = Array.from({ length: 161 }, (_, i) => xRange[0] + (i / 160) * (xRange[1] - xRange[0]));
    const top = steps.map((x) => fit.frame.bottom - height * kernels[kernel]((x - query) / width));
    const ridge = path(steps, top, fit.x, (pixel) => pixel);
    update(hill, { d: `${ridge}L${fit.x(xRange[1])},${fit.frame.bottom}L${fit.x(xRange[0])},${fit.frame.bottom}Z` });
  }
  function draw(state) {
    const { query, kernel, width } = state;
    drawKernel(state);
    drawHill(state);
    const row = weights(query, keys, width, kernel);
    const estimate = mix(row, values);
    const largest = Math.max(...row);
    dots.forEach((dot, s) => {
      update(dot, { r: 2 + 9 * Math.sqrt(row[s] / largest) });
      dot.classList.toggle("attn-heard", row[s] > 0.001);
    });
    stems.forEach((stem, s) => update(stem, { y2: bars.y(row[s] / largest) }));
    largestTick.textContent = format(largest);
    update(guide, { x1: fit.x(query), x2: fit.x(query) });
    update(barGuide, { x1: bars.x(query), x2: bars.x(query) });
    update(answer, { transform: `translate(${fit.x(query)},${fit.y(estimate)})` });
    update(frame, { y: map.y(query) - 3.5 });
    queryInput.show(query);
    widthInput.show(Math.log10(width));
    kernelInput.show(kernel);
    const best = row.indexOf(largest);
    const reach = kernel !== "constant" && keys.every((key) => kernels[kernel]((key - query) / width) === 0)
      && kernel !== "gaussian" ? " No key is in reach, so the nearest one answers." : "";
    return `At query ${format(query)} the ${KERNEL_LABELS[kernel]} kernel of width ${format(width)} estimates ` +
      `${format(estimate)}. It listens to about ${format(effectiveKeys(row))} of ${keys.length} keys; ` +
      `the largest weight is ${format(largest)}, at x = ${format(keys[best])}.${reach}`;
  }

  const queryInput = slider({ label: "Query", min: xRange[0], max: xRange[1], step: 0.01,
    onInput: (query) => shown.set({ query }) });
  const widthInput = slider({ label: "Width", min: Math.log10(WIDTHS[0]), max: Math.log10(WIDTHS[1]), step: 0.01,
    toText: (log) => format(10 ** log), onInput: (log) => shown.set({ width: 10 ** log }) });
  const kernelInput = choice({ label: "Kernel", options: KERNEL_LABELS, onInput: (kernel) => shown.set({ kernel }) });
  const left = { root: element("div", { class: "attn-column" }, fit.root, bars.root) };
  const shown = explorer({ model, el, draw, panels: [left, map], controls: [queryInput, widthInput, kernelInput],
    state: { query: numberBetween(...xRange), width: numberBetween(...WIDTHS), kernel: oneOf(Object.keys(kernels)) } });
  for (const axes of [fit, bars]) draggable(axes, (x) => shown.set({ query: x }));
  draggable(map, (_, y) => shown.set({ query: y }));
  return shown.cleanup;
}

export default { render };
