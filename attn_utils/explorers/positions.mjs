// Explorer 8: the dot product of two encodings knows their distance only; shuffled words, with and without them.

const FARTHEST = 50; // the first position lies below it, the second at most so far ahead
const DIMS = [8, 16, 24, 32, 48, 64, 96, 128];

/** Speed of each hand: the angle it turns at one step. */
export const speeds = (embedDim) => Array.from({ length: Math.ceil(embedDim / 2) }, (_, i) => 10000 ** ((-2 * i) / embedDim));

/** The encoding of a position: sine and cosine of each hand's angle; an odd length ends in a sine. */
export const encoding = (position, embedDim) =>
  speeds(embedDim).flatMap((w) => [Math.sin(w * position), Math.cos(w * position)]).slice(0, embedDim);

/** The dot product of two encodings that are `distance` apart, embedDim even. */
export const dotAt = (distance, embedDim) => speeds(embedDim).reduce((sum, w) => sum + Math.cos(w * distance), 0);

/** Permutation number `index` of 0 … count − 1, counted as Python's itertools.permutations does. */
export function permutation(index, count) {
  const left = Array.from({ length: count }, (_, i) => i);
  return Array.from({ length: count }, (_, i) => {
    const blocks = factorial(count - 1 - i);
    const [at, rest] = [Math.floor(index / blocks), index % blocks];
    index = rest;
    return left.splice(at, 1)[0];
  });
}
export const factorial = (n) => (n < 2 ? 1 : n * factorial(n - 1));

/** What self-attention without maps gives each row: softmax(x xᵀ / √E) x. */
export function selfAttention(rows) {
  const dot = (a, b) => a.reduce((sum, value, c) => sum + value * b[c], 0);
  return rows.map((query) => {
    const weights = softmax(rows.map((key) => dot(query, key) / Math.sqrt(query.length)));
    return query.map((_, c) => weights.reduce((sum, weight, s) => sum + weight * rows[s][c], 0));
  });
}

/** The output of one word with the words in an order, with or without encodings added. */
export function outputOf(features, order, word, encoded) {
  const places = permutation(order, features.length);
  const rows = places.map((i, p) => {
    const pe = encoding(p, features[i].length);
    return features[i].map((value, c) => value + (encoded ? pe[c] : 0));
  });
  return selfAttention(rows)[places.indexOf(word)];
}

export function describe(words, features, { view, position, distance, embed_dim, order, word }) {
  if (view === "distance") {
    return `Positions ${position} and ${position + distance}: the dot product of their encodings is ${dotAt(distance, embed_dim).toFixed(2)}, ` +
      `as for every pair that is ${distance} apart; the largest possible is ${embed_dim / 2}.`;
  }
  const moved = [false, true].map((encoded) => {
    const [now, first] = [order, 0].map((o) => outputOf(features, o, word, encoded));
    return Math.hypot(...now.map((value, c) => value - first[c])).toFixed(2);
  });
  return `The output of “${words[word]}” has moved by ${moved[0]} without encodings and by ${moved[1]} with them, against the first order of the words.`;
}

function render({ model, el }) {
  const [words, features] = [model.get("words"), model.get("features")];
  const orders = factorial(words.length);

  // ---- Two positions
  const map = panel({ x: [-0.5, 2 * FARTHEST - 0.5], y: [1, 0], canvas: true, xLabel: "position", yLabel: "column of the encoding", yTicks: [], height: 240,
    note: "red: p · white: p′ · drag p and both move, drag p′ and the distance changes",
    label: "The encodings as a heatmap, one column of colours a position, with two positions marked." });
  const clocks = panel({ x: [0, 4], y: [0, 1], xLabel: "", yLabel: "", xTicks: [], yTicks: [], height: 140, margins: { left: 10, bottom: 10 },
    note: "four of the hands · orange: at p · blue: at p′", label: "Four clocks of different speeds, each with its hand at both positions." });
  const curve = panel({ x: [0, FARTHEST], y: [-0.5, 1.05], xLabel: "distance p′ − p", yLabel: "dot product / largest", height: 300, yTicks: [-0.5, 0, 0.5, 1],
    label: "The dot product of two encodings against their distance, with the present distance marked." });
  const marker = (style) => element("svg:line", { class: "attn-guide", style: `stroke-width: 3; ${style}`, y1: map.frame.top, y2: map.frame.bottom });
  const [second, first] = [marker("stroke: white"), marker("stroke: #ff5e5e")];
  map.marks.append(second, first);
  const hands = [0, 1, 2, 3].map((c) => {
    const [cx, cy] = [clocks.x(c + 0.5), clocks.y(0.58)];
    const pair = ["attn-stem", "attn-arrow"].map((cls) => element("svg:line", { class: cls, x1: cx, y1: cy }));
    const name = element("svg:text", { x: cx, y: clocks.y(0.04), "text-anchor": "middle", "aria-hidden": "true" });
    clocks.marks.append(element("svg:circle", { class: "attn-key", cx, cy, r: 44 }), ...pair, name);
    return { cx, cy, pair, name };
  });
  const line = element("svg:path", { class: "attn-curve" });
  const dot = element("svg:circle", { class: "attn-answer", r: 7 });
  curve.marks.append(line, dot);
  let painted;
  function drawDistance({ position, distance, embed_dim }) {
    if (painted !== embed_dim) {
      const rows = Array.from({ length: 2 * FARTHEST }, (_, p) => encoding(p, embed_dim));
      paintHeatmap(map.canvas, rows[0].map((_, c) => rows.map((row) => (row[c] + 1) / 2)), 1);
      painted = embed_dim;
    }
    update(first, { x1: map.x(position), x2: map.x(position) });
    update(second, { x1: map.x(position + distance), x2: map.x(position + distance) });
    hands.forEach(({ cx, cy, pair, name }, c) => {
      const speed = speeds(embed_dim)[(c * embed_dim) / 8];
      [position + distance, position].forEach((p, i) => {
        const long = i ? 30 : 40;
        update(pair[i], { x2: cx + long * Math.sin(speed * p), y2: cy - long * Math.cos(speed * p) });
      });
      name.textContent = `a turn: ${format((2 * Math.PI) / speed)}`;
    });
    const all = Array.from({ length: FARTHEST + 1 }, (_, d) => (2 * dotAt(d, embed_dim)) / embed_dim);
    update(line, { d: path(all.map((_, d) => d), all, curve.x, curve.y) });
    update(dot, { cx: curve.x(distance), cy: curve.y(all[distance]) });
  }

  // ---- Shuffled words
  const sentence = element("p", { class: "attn-lines" });
  const every = Array.from({ length: orders }, (_, o) => words.map((_, w) => [false, true].map((e) => outputOf(features, o, w, e))));
  const range = extent(every.flat(4), 0.1);
  const [without, withThem] = ["without encodings", "with encodings"].map((name) => {
    const axes = panel({ x: [0.5, features[0].length + 0.5], y: range, xLabel: `feature of the word's output, ${name}`, yLabel: "output", height: 240,
      note: "dashed: in the first order · blue: in this order", label: `The output of the chosen word, ${name}, in the first order and in this one.` });
    const [before, now] = ["attn-curve", "attn-truth"].map((cls) => element("svg:path", { class: cls })).reverse();
    axes.marks.append(now, before);
    return { ...axes, show(start, end) {
      const xs = start.map((_, c) => c + 1);
      update(before, { d: path(xs, start, axes.x, axes.y) });
      update(now, { d: path(xs, end, axes.x, axes.y) });
    } };
  });
  function drawShuffle({ order, word }) {
    sentence.replaceChildren(...permutation(order, words.length).flatMap((w) => [element(w === word ? "strong" : "span", {}, words[w]), " "]));
    [without, withThem].forEach((axes, e) => axes.show(every[0][word][e], every[order][word][e]));
  }

  function draw(state) {
    const shuffle = state.view === "shuffle";
    if (stage.dataset.view !== state.view) {
      stage.dataset.view = state.view;
      stage.replaceChildren(...(shuffle ? [sentence, without.root, withThem.root] : [left, curve.root]));
      knobs.replaceChildren(...(shuffle ? [order, word] : [position, distance, dims]).map((input) => input.root));
    }
    (shuffle ? drawShuffle : drawDistance)(state);
    view.show(state.view);
    position.show(state.position);
    distance.show(state.distance);
    dims.show(DIMS.indexOf(state.embed_dim));
    order.show(state.order);
    word.show(state.word);
    return describe(words, features, state);
  }
  const whole = { step: 1, min: 0, toText: String };
  const view = choice({ label: "Look at", options: { distance: "two positions", shuffle: "shuffled words" }, onInput: (v) => frame.set({ view: v }) });
  const position = slider({ ...whole, label: "Position p (both move)", max: FARTHEST - 1, onInput: (p) => frame.set({ position: p }) });
  const distance = slider({ ...whole, label: "Distance p′ − p", max: FARTHEST, onInput: (d) => frame.set({ distance: d }) });
  const dims = slider({ ...whole, label: "Columns E", max: DIMS.length - 1, toText: (i) => String(DIMS[i]), onInput: (i) => frame.set({ embed_dim: DIMS[i] }) });
  const order = slider({ ...whole, label: "Order of the words", max: orders - 1, toText: (o) => `${o + 1} of ${orders}`, onInput: (o) => frame.set({ order: o }) });
  const word = slider({ ...whole, label: "Word whose output is shown", max: words.length - 1, toText: (w) => words[w], onInput: (w) => frame.set({ word: w }) });
  const left = element("div", { class: "attn-column" }, map.root, clocks.root);
  const stage = element("div", { class: "attn-panels attn-lines" });
  const knobs = element("div", { class: "attn-controls attn-lines" });
  const frame = explorer({ model, el, draw, panels: [{ root: stage }], controls: [view, knobs],
    state: { view: oneOf(["distance", "shuffle"]), position: wholeBetween(0, FARTHEST - 1), distance: wholeBetween(0, FARTHEST),
      embed_dim: (given) => oneOf(DIMS)(Number(given)), order: wholeBetween(0, orders - 1), word: wholeBetween(0, words.length - 1) } });
  // A press takes the nearer of the two marks.
  let taken = "position";
  update(map.svg, { pointerdown: (event) => {
    const [p, d, at] = [model.get("position"), model.get("distance"), map.locate(event)[0]];
    taken = Math.abs(at - p) < Math.abs(at - p - d) ? "position" : "distance";
  } });
  draggable(map, (at) => frame.set({ [taken]: at - (taken === "distance" ? model.get("position") : 0) }));
  return frame.cleanup;
}

export default { render };
