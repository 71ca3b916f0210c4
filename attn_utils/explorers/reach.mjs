// Explorer 10: how far does a layer reach, and what does it cost?

const KINDS = { recurrent: "LSTM", convolution: "convolution", dilated: "dilated convolution", attention: "self-attention" };
const DRAWN = 64; // so many positions are drawn at most, the last ones

/** 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, … 8192: the stops of the sliders of n and d. */
export const STOPS = Array.from({ length: 45 }, (_, i) => (4 + (i % 4)) * 2 ** Math.floor(i / 4));
const stopAt = (x) => STOPS.findLastIndex((stop) => stop <= x);

/** How many d × d matrices one position is multiplied with. */
const matrices = (kind, k) => ({ recurrent: 8, attention: 4 })[kind] ?? k;

/** One layer: multiply-adds with d × d matrices and for mixing, sequential steps, path from end to end, numbers kept for learning. */
export function costs(kind, { n, d, kernel_size: k }) {
  const attention = kind === "attention" ? 1 : 0;
  let dilated = 1;
  while (k ** dilated < n) dilated++;
  return {
    matrices: matrices(kind, k) * n * d * d,
    mixing: 2 * n * n * d * attention,
    steps: kind === "recurrent" ? n : 1,
    path: { recurrent: n, convolution: Math.ceil((n - 1) / (k - 1)), dilated }[kind] ?? 1,
    kept: ({ recurrent: 7, attention: 5 }[kind] ?? 1) * n * d + n * n * attention,
  };
}

/** The n beyond which attention takes more multiply-adds than this kind, or its mixing more than its projections. */
export const crossing = (kind, { d, kernel_size: k }) => (((kind === "attention" ? 8 : matrices(kind, k)) - 4) * d) / 2;

/** The first position that is drawn, and the chosen output. */
const place = ({ n, back }) => [Math.max(n - DRAWN, 0), Math.max(n - 1 - back, 0)];
const span = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** The positions from `start` on of the level below that one of this layer (1, 2, …) reads. */
export function reads({ kind, kernel_size: k }, layer, position, start) {
  if (kind === "attention") return span(start, position);
  const gap = kind === "dilated" ? k ** (layer - 1) : 1;
  const taps = kind === "recurrent" ? 1 : k;
  return span(0, taps - 1).map((i) => position - (taps - 1 - i) * gap).filter((tap) => tap >= start);
}

/** For each level, inputs first, the drawn positions on which the chosen output depends. */
export function seen(state) {
  const [first, output] = place(state);
  const rows = [state.kind === "recurrent" ? span(first, output) : [output]];
  for (let layer = state.layers; layer > 0; layer--) {
    if (state.kind === "attention") rows.unshift(span(first, output)); // the same in less time
    else rows.unshift([...new Set(rows[0].flatMap((p) => reads(state, layer, p, first)))].sort((a, b) => a - b));
  }
  return rows;
}

/** Corners [position, level] of the path from the chosen output to the farthest input that it sees. */
export function route(state) {
  const { kind, n, kernel_size: k, layers } = state;
  let [, at] = place(state);
  const corners = [[at, layers]];
  const far = Math.max(at + 1 - ({ convolution: 1 + layers * (k - 1), dilated: k ** layers }[kind] ?? n), 0);
  if (kind === "recurrent") corners.push([at = far, layers]);
  for (let layer = layers; layer > 0; layer--) corners.push([at = reads(state, layer, at, far)[0], layer - 1]);
  return corners;
}

/** A count in three digits and a unit: 393 k, 1.05 M. */
export function short(x, unit = "") {
  const digits = (y) => String(Math.floor(y)).length;
  const power = Math.floor((Math.min(digits(x), 15) - 1) / 3);
  const scale = power ? 10 ** (3 - digits(x / 1000 ** power)) : 1;
  return `${Math.floor((x / 1000 ** power) * scale + 0.5) / scale} ${"kMGT"[power - 1] ?? ""}${unit}`.trim();
}
const comma = new Intl.NumberFormat("en").format;
const many = (count, name) => `${comma(count)} ${name}${count === 1 ? "" : "s"}`;
const upper = (text) => text[0].toUpperCase() + text.slice(1);

/** What the chosen output sees, and path and price beside those of attention, in words. */
export function describe(state) {
  const { kind, n, kernel_size: k, layers } = state;
  const corners = route(state);
  const [output, far] = [corners[0][0], corners.at(-1)[0]];
  const away = layers + (kind === "recurrent" ? output - far : 0);
  const [now, attention] = [kind, "attention"].map((one) => costs(one, state));
  const [price, its] = [now, attention].map((one) => short(one.matrices + one.mixing));
  const meet = crossing(kind, state);
  const [beside, more] = kind === "attention" ? ["", `${short(now.mixing)} of them for mixing, most`] : [", attention 1", `attention ${its}, more`];
  return `${upper(KINDS[kind])}${kind.match("convolution|dilated") ? `, kernel size ${k}` : ""}, ${many(layers, "layer")}: ` +
    `output ${comma(output)} sees ${comma(output - far + 1)} of ${comma(n)} inputs, the farthest ${many(away, "step")} away. ` +
    `From end to end it needs ${many(now.path, "step")}${beside}; one layer takes ${price} multiply-adds, ${more} ` +
    `${meet > 0 ? `beyond n = ${comma(meet)}` : "at every n"}.`;
}

/** Which inputs a chosen output depends on, layer by layer, and the path to the farthest. */
function wiring() {
  const net = panel({ x: [0, 1], y: [0, 1], xTicks: [], yTicks: [], xLabel: "position", yLabel: "", height: 320,
    margins: { left: 52, right: 12, top: 22, bottom: 40 },
    label: "Rows of positions, inputs below, layers above them, and lines from a chosen output down to all that it depends on." });
  net.root.classList.add("attn-arcs"); // no frame
  const { left, right, top, bottom } = net.frame;
  const shape = (style, cls = "attn-curve") => element("svg:path", { class: cls, style });
  const dots = "stroke-linecap: round; stroke-width:";
  const all = shape("");
  const block = shape("stroke: none", "attn-triangle");
  const wires = shape("");
  const reached = shape(`${dots} 6`);
  const line = shape("stroke-width: 3; stroke: var(--attn-orange); stroke-linejoin: round");
  const chosen = element("svg:circle", { class: "attn-answer", r: 6.5 });
  const names = element("svg:g", { "aria-hidden": "true" });
  net.marks.append(all, block, wires, reached, line);
  net.svg.append(chosen, names);
  const text = (x, y, anchor, content) => element("svg:text", { x, y, "text-anchor": anchor }, content);
  let x; // from positions to places in the figure
  let drawn; // the state that it shows
  return { ...net,
    positionAt: (share) => Math.round(x.invert(net.x(share))),
    show(state) {
      const { kind, n, layers } = state;
      if (drawn === (drawn = JSON.stringify({ ...state, d: 0 }))) return;
      const [first, output] = place(state);
      x = linear([first - 0.5, n - 0.5], [left, right]);
      const y = linear([0, layers], [bottom - 8, top + 8]);
      const xs = span(first, n - 1).map((p) => x(p).toFixed(1));
      const ys = span(0, layers).map((level) => y(level).toFixed(1));
      const dot = (p, level) => `M${xs[p - first]},${ys[level]}h0`;
      const wire = (p, level, q, below) => `M${xs[p - first]},${ys[level]}L${xs[q - first]},${ys[below]}`;
      const rows = seen(state);
      update(all, { d: ys.map((at) => `M${xs[0]},${at}H${xs.at(-1)}`).join(""), // dashes of no length, with round ends
        style: `stroke: var(--attn-line); stroke-width: 4; stroke-linecap: round; stroke-dasharray: 0 ${(xs.at(-1) - xs[0]) / (xs.length - 1)}` });
      update(reached, { d: rows.flatMap((row, level) => row.map((p) => dot(p, level))).join("") });
      const lines = span(kind === "attention" ? layers : 1, layers).flatMap((level) => rows[level].flatMap((p) => reads(state, level, p, first).map((q) => wire(p, level, q, level - 1))));
      if (kind === "recurrent") lines.push(...span(1, layers).map((level) => wire(first, level, output, level)));
      update(wires, { d: lines.join(""), style: `stroke-width: 1; opacity: ${lines.length > 600 ? 0.25 : 0.6}` });
      update(block, { d: kind === "attention" ? `M${x(first)},${y(0)}V${y(layers - 1)}H${x(output)}V${y(0)}Z` : "" });
      const corners = route(state);
      update(line, { d: path(corners.map(([p]) => p), corners.map(([, level]) => level), x, y) });
      update(chosen, { cx: x(output), cy: y(layers) });
      names.replaceChildren(
        ...rows.map((_, level) => text(left - 6, y(level) + 4, "end", level ? `layer ${level}` : "inputs")),
        text(Math.min(x(output), right - 26), top - 8, "middle", `output ${comma(output)}`), text(x(first), bottom + 16, "middle", comma(first)), text(x(n - 1), bottom + 16, "middle", comma(n - 1)));
      net.legend.textContent = `${first ? `the last ${DRAWN} positions · ` : ""}blue: what the output sees · orange: path to the farthest input` +
        (kind === "attention" && layers > 1 ? " · shaded: all read all before" : "");
    } };
}

/** Multiply-adds of one position against n, and where the kinds meet. */
function prices() {
  const chart = panel({ x: [2, 13], y: [0, 6], xTicks: [2, 4, 6, 8, 10, 12], yTicks: [0, 1, 2, 3, 4, 5, 6], xFormat: (t) => comma(2 ** t), yFormat: (t) => String(2 ** t),
    xLabel: "positions n", yLabel: "multiply-adds per position ÷ d²", height: 320,
    label: "Multiply-adds of one position against the length n: level lines for LSTM and convolution, a rising curve for attention." });
  const { x, y } = chart;
  const guide = element("svg:line", { class: "attn-guide", y1: chart.frame.top, y2: chart.frame.bottom });
  const area = element("svg:path", { class: "attn-hill", style: "opacity: 0.15" });
  const lines = Object.fromEntries(["recurrent", "convolution", "attention"].map((kind) => [kind, element("svg:path", { class: "attn-curve" })]));
  const [marks, names] = [element("svg:g"), element("svg:g", { "aria-hidden": "true" })];
  chart.marks.append(area, guide, ...Object.values(lines), marks, names);
  const text = (at, up, anchor, content) => element("svg:text", { x: x(at), y: y(up), "text-anchor": anchor }, content);
  const ts = span(0, 55).map((i) => 2 + i / 5);
  return { ...chart,
    show(state) {
      const { kind, n, d, kernel_size: k } = state;
      const heights = { recurrent: ts.map(() => 3), convolution: ts.map(() => Math.log2(k)), attention: ts.map((t) => Math.log2(4 + (2 * 2 ** t) / d)) };
      for (const [name, line] of Object.entries(lines)) {
        const on = name === kind || (name === "convolution" && kind === "dilated");
        update(line, { d: path(ts, heights[name], x, y), style: on ? "" : "stroke: var(--attn-muted); stroke-width: 1.5" });
      }
      update(area, { d: `${path(ts, heights.attention, x, y)}L${x(13)},${y(2)}H${x(2)}Z` });
      update(guide, { x1: x(Math.log2(n)), x2: x(Math.log2(n)) });
      const meets = ["recurrent", "convolution"].map((one) => [one, crossing(one, state)]).filter(([, meet]) => meet > 4);
      marks.replaceChildren(...meets.flatMap(([one, meet]) => {
        const [cx, cy] = [x(Math.log2(meet)), y(Math.log2(matrices(one, k)))];
        const above = one === (k > 8 ? "convolution" : "recurrent"); // two numbers do not meet
        return [element("svg:circle", { class: "attn-answer", r: 5, cx, cy }),
          element("svg:text", { x: cx + (above ? -7 : 8), y: cy + (above ? -8 : 14), "text-anchor": above ? "end" : "start", "aria-hidden": "true" }, `n = ${comma(meet)}`)];
      }));
      const late = crossing("convolution", state) > 256; // names give way to the dots
      const side = Math.log2(Math.min(8 * d, 4096));
      names.replaceChildren(
        text(d < 32 ? 12.9 : 2.15, k > 8 ? 2.72 : 3.1, d < 32 ? "end" : "start", "LSTM"), text(late ? 2.15 : 12.9, Math.log2(k) + (k < 8 ? -0.3 : 0.1), late ? "start" : "end", `convolution, k = ${k}`),
        text(side - 0.2, Math.log2(4 + (2 * 2 ** side) / d), "end", "self-attention"));
      chart.legend.textContent = `shaded: mixing · dots: attention as dear as another · without constants, n² d = n d², at n = d = ${comma(d)}`;
    } };
}

const COLUMNS = { path: "Path", steps: "Serial", price: "Multiply-adds", kept: "Memory" };
const FORMULAS = {
  recurrent: { path: "n", steps: "n", price: "8 n d²", kept: "7 n d" },
  convolution: { path: "⌈(n−1) / (k−1)⌉", steps: "", price: "k n d²", kept: "n d" },
  dilated: { path: "⌈logₖ n⌉", steps: "", price: "k n d²", kept: "n d" },
  attention: { path: "", steps: "", price: "4 n d² + 2 n² d", kept: "5 n d + n²" },
};
const CAPTION = "Path: steps from the first input to the last output, through as many layers as that takes. Serial: steps of one layer that " +
  "wait for each other. Multiply-adds of one layer; orange: mixing. Memory: what the backward pass of one layer needs, 4 bytes a number.";

/** All kinds beside each other: numbers, formulas, and bars, each column on its own scale. */
function table() {
  const rows = Object.keys(KINDS).map((kind) => {
    const cells = Object.keys(COLUMNS).map((name) => {
      const [number, bar] = [element("strong"), element("i", { "aria-hidden": "true" })];
      return { name, number, bar, root: element("td", {}, number, element("small", {}, FORMULAS[kind][name]), bar) };
    });
    return { kind, cells, root: element("tr", {}, element("th", { scope: "row" }, upper(KINDS[kind])), ...cells.map((cell) => cell.root)) };
  });
  const head = element("tr", {}, element("td"), ...Object.values(COLUMNS).map((name) => element("th", { scope: "col" }, name)));
  return { root: element("table", { class: "attn-table attn-lines" },
    element("caption", {}, CAPTION), element("thead", {}, head), element("tbody", {}, ...rows.map((row) => row.root))),
    show(state) {
      const all = rows.map(({ kind }) => {
        const one = costs(kind, state);
        return { ...one, price: one.matrices + one.mixing };
      });
      rows.forEach(({ kind, cells, root }, r) => {
        root.classList.toggle("attn-chosen", kind === state.kind);
        for (const { name, number, bar } of cells) {
          const value = all[r][name];
          number.textContent = name === "price" ? short(value) : name === "kept" ? short(4 * value, "B") : comma(value);
          const share = name === "price" ? (100 * all[r].matrices) / value : 100;
          update(bar, { style: `width: ${(100 * value) / Math.max(...all.map((one) => one[name]))}%; --share: ${share}%` });
        }
      });
    } };
}

function render({ model, el }) {
  const [net, chart, sheet] = [wiring(), prices(), table()];
  function draw(state) {
    for (const part of [net, chart, sheet]) part.show(state);
    const [first, output] = place(state);
    kind.show(state.kind);
    n.show(stopAt(state.n));
    d.show(stopAt(state.d));
    size.show(state.kernel_size);
    layers.show(state.layers);
    update(at.input, { max: state.n - 1 - first });
    at.show(output - first);
    return describe(state);
  }
  const choose = (position) => frame.set({ back: model.get("n") - 1 - position });
  const whole = { step: 1, toText: String };
  const stops = (name) => ({ step: 1, toText: () => comma(model.get(name)), onInput: (i) => frame.set({ [name]: STOPS[i] }) });
  const kind = choice({ label: "Layer", options: KINDS, onInput: (value) => frame.set({ kind: value }) });
  const n = slider({ ...stops("n"), label: "Positions n", min: 0, max: STOPS.length - 1 });
  const d = slider({ ...stops("d"), label: "Features d", min: stopAt(8), max: stopAt(1024) });
  const size = slider({ ...whole, label: "Kernel size k", min: 2, max: 9, onInput: (k) => frame.set({ kernel_size: k }) });
  const layers = slider({ ...whole, label: "Layers", min: 1, max: 8, onInput: (value) => frame.set({ layers: value }) });
  const at = slider({ label: "Output position", min: 0, max: DRAWN - 1, step: 1, toText: (i) => comma(i + place({ n: model.get("n"), back: 0 })[0]),
    onInput: (i) => choose(i + place({ n: model.get("n"), back: 0 })[0]) });
  const frame = explorer({ model, el, draw, panels: [net, chart, sheet], controls: [kind, n, d, size, layers, at],
    state: { kind: oneOf(Object.keys(KINDS)), n: wholeBetween(4, 8192), d: wholeBetween(8, 1024), kernel_size: wholeBetween(2, 9),
      layers: wholeBetween(1, 8), back: wholeBetween(0, DRAWN - 1) } });
  draggable(net, (share) => choose(net.positionAt(share)));
  draggable(chart, (t) => frame.set({ n: 2 ** t }));
  return frame.cleanup;
}

export default { render };
