// Explorer 5: what the number of features, the scaling and a temperature do to the softmax.

/** The softmax of scores / divisor, its largest weight, its entropy, and the Frobenius norm of its Jacobian. */
export function saturation(scores, divisor) {
  const weights = softmax(scores.map((score) => score / divisor));
  const entropy = -weights.reduce((sum, w) => sum + (w > 0 ? w * Math.log(w) : 0), 0);
  // The Jacobian is diag(a) - a aᵀ: a_s (1 - a_s) on its diagonal, -a_s a_t elsewhere.
  const squares = weights.reduce((sum, w) => sum + w * w, 0);
  const diagonal = weights.reduce((sum, w) => sum + (w * (1 - w)) ** 2 - w ** 4, 0);
  const jacobian = Math.sqrt(Math.max(diagonal + squares * squares, 0));
  return { weights, largest: Math.max(...weights), entropy, jacobian };
}

export function median(numbers) {
  const sorted = [...numbers].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(half)] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The medians over the draws of one number of features; scores: a list of draws, each a list of scores. */
export function medians(draws, divisor) {
  const all = draws.map((scores) => saturation(scores, divisor));
  return Object.fromEntries(["largest", "entropy", "jacobian"].map((name) => [name, median(all.map((a) => a[name]))]));
}

function render({ model, el }) {
  const [scores, dims] = [model.get("scores"), model.get("dims")]; // scores[i]: the draws for dims[i] features
  const size = scores[0][0].length;
  const heights = panel({ x: [0.5, size + 0.5], y: [0, 1.02], xLabel: "key", yLabel: "weight", yTicks: [0, 0.5, 1], height: 320,
    label: "The attention weights of the first draw." });
  const curves = panel({ x: [0, dims.length - 1], y: [0, 1.02], xLabel: "features d", yLabel: "median over the draws", height: 320,
    xTicks: dims.map((_, i) => i).filter((i) => i % 2 === 0), xFormat: (i) => String(dims[i]), yTicks: [0, 0.5, 1],
    note: "blue: largest weight · orange: norm of the Jacobian",
    label: "Largest weight and norm of the Jacobian against the number of features." });
  const blocks = bars(heights, size, 16);
  const largestLine = element("svg:path", { class: "attn-curve" });
  const jacobianLine = element("svg:path", { class: "attn-trail attn-second" });
  const guide = element("svg:line", { class: "attn-guide", y1: curves.frame.top, y2: curves.frame.bottom });
  curves.marks.append(guide, largestLine, jacobianLine);

  const divisor = (d, temperature, scaled) => temperature * (scaled === "yes" ? Math.sqrt(d) : 1);
  function draw({ d, temperature, scaled }) {
    const at = dims.indexOf(d);
    const { weights } = saturation(scores[at][0], divisor(d, temperature, scaled));
    blocks.show(weights);
    const all = dims.map((n, i) => medians(scores[i], divisor(n, temperature, scaled)));
    const places = dims.map((_, i) => i);
    update(largestLine, { d: path(places, all.map((a) => a.largest), curves.x, curves.y) });
    update(jacobianLine, { d: path(places, all.map((a) => a.jacobian), curves.x, curves.y) });
    update(guide, { x1: curves.x(at), x2: curves.x(at) });
    dInput.show(at);
    temperatureInput.show(Math.log10(temperature));
    scaledInput.show(scaled);
    const { largest, entropy, jacobian } = all[at];
    return `${d} features, temperature ${format(temperature)}, scores ${scaled === "yes" ? "divided by √d" : "not divided by √d"}: ` +
      `over ${scores[at].length} draws the median of the largest of ${size} weights is ${format(largest)}, of the entropy ` +
      `${format(entropy)} (at most ${format(Math.log(size))}), of the Jacobian's norm ${format(jacobian)}.`;
  }
  const dInput = slider({ label: "Features d", min: 0, max: dims.length - 1, step: 1, toText: (i) => String(dims[i]),
    onInput: (i) => frame.set({ d: dims[i] }) });
  const temperatureInput = slider({ label: "Temperature (log scale)", min: -1, max: 1, step: 0.02, toText: (log) => format(10 ** log),
    onInput: (log) => frame.set({ temperature: 10 ** log }) });
  const scaledInput = choice({ label: "Divide by √d", options: { no: "no", yes: "yes" }, onInput: (scaled) => frame.set({ scaled }) });
  const frame = explorer({ model, el, draw, panels: [heights, curves], controls: [dInput, temperatureInput, scaledInput],
    state: { d: (given) => oneOf(dims)(Number(given)), temperature: numberBetween(0.1, 10), scaled: oneOf(["yes", "no"]) } });
  return frame.cleanup;
}

export default { render };
