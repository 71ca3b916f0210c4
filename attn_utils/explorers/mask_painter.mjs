// Explorer 6: who may attend to whom, and what happens when the mask comes too late.

/** Which keys each query may attend to: the first `real`, up to itself if causal, and single cells turned over. */
export function maskOf(size, real, causal, flipped) {
  return Array.from({ length: size }, (_, l) => Array.from({ length: size }, (_, s) => {
    const open = s < real && (causal === "no" || s <= l);
    return flipped[l * size + s] ? !open : open;
  }));
}

/** Weights of each row: masked before the softmax (closed keys get none), or after it (their weight is lost). */
export function maskedWeights(scores, mask, when) {
  return scores.map((row, l) => {
    const weights = softmax(row.map((score, s) => (when === "after" || mask[l][s] ? score : -Infinity)));
    return weights.map((weight, s) => (mask[l][s] ? weight : 0));
  });
}

function render({ model, el }) {
  const [scores, words] = [model.get("scores"), model.get("words")];
  const size = scores.length;
  const [places, name] = [words.map((_, i) => i), (i) => words[i]];
  const map = panel({ x: [-0.5, size - 0.5], y: [size - 0.5, -0.5], canvas: true, xLabel: "key", yLabel: "", height: 380,
    xTicks: places, xFormat: name, yTicks: places, yFormat: name,
    label: "Attention weights: one row a query, one column a key; brighter is more." });
  const written = scores.map((row, l) => row.map((_, s) => element("svg:text",
    { class: "attn-number", "aria-hidden": "true", x: map.x(s), y: map.y(l) + 4, "text-anchor": "middle" })));
  map.marks.append(...written.flat());
  const cells = scores.map((row, l) => row.map((_, s) => element("button", { type: "button", class: "attn-cell",
    "aria-label": `${words[l]} may attend to ${words[s]}`, click: () => flip(l * size + s) })));
  const grid = element("div", { class: "attn-mask", role: "group", "aria-label": "Mask: one row a query, one column a key",
    style: `grid-template-columns: auto repeat(${size}, 1fr)` },
    element("span", {}), ...words.map((word) => element("span", { "aria-hidden": "true" }, word)),
    ...cells.flatMap((row, l) => [element("span", { class: "attn-word", "aria-hidden": "true" }, words[l]), ...row]));
  const note = element("p", { class: "attn-legend", "aria-hidden": "true" }, "filled: may attend · click a cell to turn it over");

  function flip(at) {
    const flipped = [...model.get("flipped")];
    flipped[at] = 1 - flipped[at];
    frame.set({ flipped });
  }
  function draw({ real, causal, flipped, when }) {
    const mask = maskOf(size, real, causal, flipped);
    const weights = maskedWeights(scores, mask, when);
    const largest = paintHeatmap(map.canvas, weights);
    weights.forEach((row, l) => row.forEach((weight, s) => {
      written[l][s].textContent = weight.toFixed(2);
      update(written[l][s], { style: `fill: ${weight > 0.6 * largest ? "black" : "white"}` });
      update(cells[l][s], { "aria-pressed": String(mask[l][s]) });
    }));
    const sums = weights.map((row) => row.reduce((a, b) => a + b, 0));
    map.legend.textContent = `row sums: ${sums.map((sum) => sum.toFixed(2)).join(" ")}`;
    realInput.show(real);
    causalInput.show(causal);
    whenInput.show(when);
    const open = mask.flat().filter(Boolean).length;
    const silent = mask.filter((row) => !row.some(Boolean)).length;
    const empty = silent ? ` ${silent} of ${size} queries may attend to nobody: all their weights are 0.` : "";
    return `${open} of ${size * size} pairs are open. Masked ${when} the softmax, the weights of a query sum to between ` +
      `${Math.min(...sums).toFixed(2)} and ${Math.max(...sums).toFixed(2)}.${empty}`;
  }
  const realInput = slider({ label: "Real keys (the rest is padding)", min: 1, max: size, step: 1, toText: String, onInput: (real) => frame.set({ real }) });
  const causalInput = choice({ label: "Causal", options: { no: "no", yes: "yes" }, onInput: (causal) => frame.set({ causal }) });
  const whenInput = choice({ label: "Mask", options: { before: "before the softmax", after: "after it (a mistake)" }, onInput: (when) => frame.set({ when }) });
  const bits = (given) => {
    const list = numbers(size * size)(given);
    return list?.every((bit) => bit === 0 || bit === 1) ? list : undefined;
  };
  const left = { root: element("div", { class: "attn-column" }, grid, note) };
  const frame = explorer({ model, el, draw, panels: [left, map], controls: [realInput, causalInput, whenInput],
    state: { real: wholeBetween(1, size), causal: oneOf(["no", "yes"]), flipped: bits, when: oneOf(["before", "after"]) } });
  return frame.cleanup;
}

export default { render };
