// Explorer 9: what do the heads of a Transformer look at?

const KINDS = { encoder_self: "encoder self", decoder_self: "decoder self", cross: "cross" };
const QUERIES = { encoder_self: "source (queries)", decoder_self: "token said (queries)", cross: "token said (queries)" };
const KEYS = { encoder_self: "source (keys)", decoder_self: "token read (keys)", cross: "source (keys)" };
const HERE = { encoder_self: "on the token itself", decoder_self: "on the token just read" };

/** The maps of one layer (head × row × column) with their mean behind them. */
export const withMean = (maps) => [...maps, maps[0].map((row, l) => row.map((_, s) =>
  maps.reduce((sum, map) => sum + map[l][s], 0) / maps.length))];

/**
 * What one map does, as means over its rows: over how many tokens a row spreads (exp of its entropy), how far away the tokens
 * are that it looks at, and the weight back (on columns before the row's own), here and ahead.
 */
export function measures(weights) {
  const sums = { tokens: 0, away: 0, back: 0, here: 0, ahead: 0 };
  weights.forEach((row, l) => {
    sums.tokens += Math.exp(row.reduce((entropy, w) => entropy - (w > 0 ? w * Math.log(w) : 0), 0));
    row.forEach((w, s) => {
      sums.away += w * Math.abs(l - s);
      sums[s < l ? "back" : s > l ? "ahead" : "here"] += w;
    });
  });
  return Object.fromEntries(Object.entries(sums).map(([name, sum]) => [name, sum / weights.length]));
}

const layerAndHead = (layer, head, heads) => `layer ${layer + 1}, ${head < heads ? `head ${head + 1}` : "mean over heads"}`;

/** The token at which the chosen one looks most, in words. */
export function describe(example, { kind, layer, head, token }) {
  const { rows, columns, weights } = example[kind];
  const row = withMean(weights[layer])[head][token];
  const s = row.indexOf(Math.max(...row));
  const who = kind === "encoder_self" ? `“${rows[token]}”` : `to say “${rows[token]}” it`;
  const where = `${KINDS[kind]}-attention, ${layerAndHead(layer, head, weights[layer].length)}`;
  return `${where[0].toUpperCase()}${where.slice(1)}: ${who} looks at “${columns[s]}” (${row[s].toFixed(2)}).`;
}

/** What one map does on the whole, in words. */
export function summary(weights, kind) {
  const { tokens, away, back, here, ahead } = measures(weights);
  const wide = `On average a query spreads over ${tokens.toFixed(1)} tokens (exp of the entropy)`;
  return kind === "cross" ? `${wide}.` : `${wide} and looks ${away.toFixed(1)} tokens away: ` +
    `${back.toFixed(2)} of its weight back, ${here.toFixed(2)} ${HERE[kind]}, ${ahead.toFixed(2)} ahead.`;
}

/** Call `onRow` with the row that a mouse passes, or that a finger or pen touches; `rowAt(event)` finds it. */
function listen(svg, rowAt, count, onRow) {
  const under = (event) => {
    const row = rowAt(event);
    if (row >= 0 && row < count) onRow(row);
  };
  update(svg, { pointermove: (event) => { if (event.pointerType === "mouse") under(event); }, pointerdown: under });
}

/** Queries on the left, keys on the right, an arc for each weight; those of the chosen query stand out. */
function arcs({ rows, columns }, kind, onRow) {
  const size = Math.max(rows.length, columns.length);
  const inner = size * clamp(280 / size, 12.5, 34);
  const fan = panel({ x: [0, 1], y: [1, 0], xTicks: [], yTicks: [], xLabel: `${QUERIES[kind]} → ${KEYS[kind]}`, yLabel: "",
    margins: { left: 106, right: 144, top: 4, bottom: 30 }, height: inner + 34,
    label: "Queries on the left, keys on the right; the stronger an arc between two tokens, the more weight." });
  fan.root.classList.add("attn-arcs");
  fan.legend.textContent = "stronger arc: more weight · orange: the chosen token";
  const { left, right } = fan.frame;
  const [from, to] = [rows, columns].map(({ length }) => (i) => fan.y((i + 0.5) / length));
  const text = (x, y, anchor, content = "") => element("svg:text", { class: "attn-token", x, y: y + 4, "text-anchor": anchor, "aria-hidden": "true",
    style: `font-size: ${clamp(inner / size, 10, 12)}px` }, content);
  const queries = rows.map((token, l) => text(left - 6, from(l), "end", short(token)));
  const grounds = columns.map((_, s) => element("svg:rect", { class: "attn-ring", x: right + 2, y: to(s) - 6.5, width: 142, height: 13 }));
  const written = columns.map((_, s) => text(416, to(s), "end"));
  fan.svg.append(...queries, ...grounds, ...columns.map((token, s) => text(right + 8, to(s), "start", short(token))), ...written);
  listen(fan.svg, (event) => Math.floor(fan.locate(event)[1] * rows.length), rows.length, onRow);
  const middle = (left + right) / 2;
  let bundles = [];
  return { root: fan.root,
    paint(weights) {
      bundles = weights.map((row, l) => element("svg:g", { class: "attn-fan" }, ...row.flatMap((w, s) => (w < 0.005 ? [] :
        element("svg:path", { class: "attn-arc", "stroke-opacity": w.toFixed(2),
          d: `M${left},${from(l)}C${middle},${from(l)} ${middle},${to(s)} ${right},${to(s)}` })))));
      fan.marks.replaceChildren(...bundles);
    },
    show(token, row) {
      [queries, bundles].forEach((parts) => parts.forEach((part, l) => part.classList.toggle("attn-chosen", l === token)));
      fan.marks.replaceChildren(...bundles.filter((_, l) => l !== token), bundles[token]); // the chosen one above the others
      row.forEach((w, s) => {
        update(grounds[s], { opacity: w });
        written[s].textContent = w >= 0.005 ? w.toFixed(2) : "";
      });
    } };
}

/** One map with its tokens; `paint` shows a head, `show` outlines a row. */
function heatmap(view, kind, onRow) {
  const map = wordMap({ ...view, weights: view.weights[0][0], xLabel: KEYS[kind], yLabel: QUERIES[kind],
    label: "Attention weights of the chosen head: one row a query, one column a key; brighter is more." });
  const row = element("svg:rect", { class: "attn-row", x: map.frame.left, width: map.frame.right - map.frame.left, height: map.cell[1] });
  map.svg.append(row);
  listen(map.svg, (event) => Math.round(map.locate(event)[1]), view.rows.length, onRow);
  return { root: map.root,
    paint(weights, largest) { map.legend.replaceChildren(...ramp(paintHeatmap(map.canvas, weights, largest))); },
    show(token) { update(row, { y: map.y(token - 0.5) }); } };
}

/** All heads, small, as radio buttons: the browser brings arrow keys and one stop for the tab key. */
function thumbnails(layers, heads, onHead) {
  const places = Array.from({ length: layers * (heads + 1) }, (_, i) => [Math.floor(i / (heads + 1)), i % (heads + 1)]);
  const grid = choice({ label: "Layers and heads (the number: over how many tokens a query spreads)", onInput: (at) => onHead(...at.split("/").map(Number)),
    options: Object.fromEntries(places.map((place) => [place.join("/"), ""])) });
  grid.root.classList.add("attn-heads");
  update(grid.root, { style: `grid-template-columns: auto repeat(${heads + 1}, minmax(0, 72px))` });
  const labels = [...grid.root.querySelectorAll("label")];
  const name = (text) => element("span", { "aria-hidden": "true" }, text);
  labels[0].before(...["head", ...labels.slice(0, heads).map((_, head) => head + 1), "mean"].map(name));
  const canvases = labels.map((label, i) => {
    const [layer, head] = places[i];
    if (!head) label.before(name(`layer ${layer + 1}`));
    const canvas = element("canvas", { "aria-hidden": "true" });
    update(label.querySelector("input"), { "aria-label": layerAndHead(layer, head, heads) });
    label.append(canvas, name(""));
    return canvas;
  });
  return { root: grid.root,
    paint(maps, largest) {
      maps.flat().forEach((weights, i) => {
        paintHeatmap(canvases[i], weights, largest);
        canvases[i].nextSibling.textContent = measures(weights).tokens.toFixed(1);
      });
    },
    show(layer, head) { grid.show(`${layer}/${head}`); } };
}

function render({ model, el }) {
  const examples = model.get("examples");
  const [layers, heads] = [examples[0].cross.weights.length, examples[0].cross.weights[0].length];
  const count = () => examples[model.get("sentence")][model.get("kind")].rows.length;
  const choose = (token) => { if (token !== model.get("token")) frame.set({ token }); };
  const [left, right, words] = [element("div"), element("div"), element("p", { class: "attn-summary" })];
  const menu = element("select", { change: () => frame.set({ sentence: menu.selectedIndex, token: 0 }) },
    ...examples.map(({ label }, i) => element("option", {}, `${i + 1}: ${label}`)));
  const kinds = choice({ label: "Attention", options: KINDS, onInput: (kind) => frame.set({ kind, token: model.get("token") }) });
  const grid = thumbnails(layers, heads, (layer, head) => frame.set({ layer, head }));

  let built; // the parts that show one kind of attention on one sentence
  function build(sentence, kind) {
    const view = examples[sentence][kind];
    const maps = view.weights.map(withMean);
    const largest = Math.max(...maps.flat(3));
    const pair = [arcs(view, kind, choose), heatmap(view, kind, choose)];
    left.replaceChildren(pair[0].root);
    right.replaceChildren(pair[1].root);
    grid.paint(maps, largest);
    update(token.input, { max: view.rows.length - 1 });
    return { sentence, kind, maps, pair, largest, rows: view.rows };
  }
  function draw(state) {
    const { sentence, kind, layer, head } = state;
    if (built?.sentence !== sentence || built.kind !== kind) built = build(sentence, kind);
    const weights = built.maps[layer][head];
    if (built.weights !== weights) {
      built.weights = weights;
      for (const part of built.pair) part.paint(weights, built.largest);
      words.textContent = summary(weights, kind);
    }
    const at = Math.min(state.token, weights.length - 1);
    for (const part of built.pair) part.show(at, weights[at]);
    menu.selectedIndex = sentence;
    kinds.show(kind);
    grid.show(layer, head);
    token.show(at);
    return describe(examples[sentence], { ...state, token: at });
  }
  const token = slider({ label: "Token (query)", min: 0, max: 1, step: 1, toText: (at) => built.rows[at], onInput: choose });
  const frame = explorer({ model, el, draw, panels: [{ root: element("div", { class: "attn-lines" }, grid.root, words) }, { root: left }, { root: right }],
    controls: [element("label", { class: "attn-menu" }, "Sentence", menu), kinds, token],
    state: { sentence: wholeBetween(0, examples.length - 1), kind: oneOf(Object.keys(KINDS)), layer: wholeBetween(0, layers - 1),
      head: wholeBetween(0, heads), token: (value) => wholeBetween(0, count() - 1)(value) } });
  return frame.cleanup;
}

export default { render };
