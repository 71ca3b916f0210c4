// Helpers that every explorer shares. This file is put in front of each explorer's own module,
// so nothing is imported at run time and the figures work offline, from disk and without a server.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

/** Create an element: element("p", {class: "note"}, "text"), element("svg:circle", {r: 3}). */
export function element(tag, attributes = {}, ...children) {
  const node = tag.startsWith("svg:")
    ? document.createElementNS(SVG_NAMESPACE, tag.slice(4))
    : document.createElement(tag);
  update(node, attributes);
  node.append(...children);
  return node;
}

/** Set attributes; a function becomes an event listener. */
export function update(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value);
  }
  return node;
}

/** A linear map from a domain to a range, with its inverse. */
export function linear([d0, d1], [r0, r1]) {
  const map = (x) => r0 + ((x - d0) / (d1 - d0)) * (r1 - r0);
  map.invert = (r) => d0 + ((r - r0) / (r1 - r0)) * (d1 - d0);
  return map;
}

/** Round numbers between lo and hi, about `count` of them. */
export function ticks(lo, hi, count = 5) {
  const raw = (hi - lo) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999);
  const values = [];
  for (let t = Math.ceil(lo / step - 1e-9); t * step <= hi + 1e-9 * step; t++) {
    values.push(Number((t * step).toPrecision(12)));
  }
  return values;
}

/** Smallest and largest value of a list, widened by a share of its span. */
export function extent(values, margin = 0) {
  const lo = Math.min(...values);
  const hi = Math.max(...values);
  const pad = (hi - lo || 1) * margin;
  return [lo - pad, hi + pad];
}

export const clamp = (x, lo, hi) => Math.min(Math.max(x, lo), hi);

/** Three significant digits: short enough to read while dragging. */
export function format(x) {
  if (!Number.isFinite(x)) return "undefined";
  const size = Math.abs(x);
  if (size !== 0 && (size < 0.001 || size >= 10000)) return x.toExponential(1);
  return size >= 100 ? x.toFixed(0) : x.toPrecision(3);
}

/** Softmax of a list of scores. -Infinity gets weight 0, even where there is nothing else. */
export function softmax(scores) {
  const top = Math.max(...scores);
  const raw = scores.map((score) => (score === -Infinity ? 0 : Math.exp(score - top)));
  const total = raw.reduce((a, b) => a + b, 0);
  return raw.map((r) => r / (total || 1));
}

/** An SVG path through points; the pen lifts where a value is not a number. */
export function path(xs, ys, x, y) {
  let pen = "M";
  let d = "";
  for (let i = 0; i < xs.length; i++) {
    if (!Number.isFinite(ys[i])) {
      pen = "M";
      continue;
    }
    d += `${pen}${x(xs[i]).toFixed(2)},${y(ys[i]).toFixed(2)}`;
    pen = "L";
  }
  return d;
}

// The viridis colour map (matplotlib's), at nine stops.
const VIRIDIS = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];

/** Colour of a share between 0 and 1, as [red, green, blue]. */
export function colour(share) {
  const t = clamp(share, 0, 1) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(t), VIRIDIS.length - 2);
  return VIRIDIS[i].map((low, c) => Math.round(low + (t - i) * (VIRIDIS[i + 1][c] - low)));
}

// The same in 256 steps, ready to be written as pixels (red in the lowest byte: browsers run on little-endian machines).
const PALETTE = Uint32Array.from({ length: 256 }, (_, i) => {
  const [red, green, blue] = colour(i / 255);
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
});

/** Black or white, whichever is read better on a colour [red, green, blue]. */
export function ink(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "black" : "white";
}

/**
 * A pair of axes in an SVG that scales with the page. `canvas: true` puts a canvas under the axes
 * (for heatmaps); `note` is a line below, such as what a dashed line means.
 */
export function panel({ x: xDomain, y: yDomain, xLabel, yLabel, label, width = 420, height = 300, canvas = false, note = "",
                        xTicks, yTicks, xFormat = String, yFormat = String, margins = {} }) {
  const margin = { left: 46, right: 10, top: 10, bottom: 40, ...margins };
  const x = linear(xDomain, [margin.left, width - margin.right]);
  const y = linear(yDomain, [height - margin.bottom, margin.top]);
  const svg = element("svg:svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  const plot = element("div", { class: "attn-plot" }, svg);
  const legend = element("p", { class: "attn-legend", "aria-hidden": "true" }, note);
  const root = element("div", { class: "attn-panel" }, plot, legend);
  const [left, right, bottom, top] = [margin.left, width - margin.right, height - margin.bottom, margin.top];
  const axes = element("svg:g", { class: "attn-axes", "aria-hidden": "true" });
  for (const t of xTicks ?? ticks(...xDomain)) {
    axes.append(
      element("svg:line", { x1: x(t), x2: x(t), y1: bottom, y2: bottom + 4 }),
      element("svg:text", { x: x(t), y: bottom + 16, "text-anchor": "middle" }, xFormat(t)),
    );
  }
  for (const t of yTicks ?? ticks(Math.min(...yDomain), Math.max(...yDomain))) {
    axes.append(
      element("svg:line", { x1: left - 4, x2: left, y1: y(t), y2: y(t) }),
      element("svg:text", { x: left - 7, y: y(t) + 4, "text-anchor": "end" }, yFormat(t)),
    );
  }
  axes.append(
    element("svg:rect", { x: left, y: top, width: right - left, height: bottom - top, class: "attn-frame" }),
    element("svg:text", { x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, xLabel),
    element("svg:text", { x: 12, y: (top + bottom) / 2, "text-anchor": "middle",
      transform: `rotate(-90 12 ${(top + bottom) / 2})` }, yLabel),
  );
  const clip = unique("clip");
  const marks = element("svg:g", { "clip-path": `url(#${clip})` });
  svg.append(
    element("svg:clipPath", { id: clip },
      element("svg:rect", { x: left, y: top, width: right - left, height: bottom - top })),
    axes, marks,
  );
  /** Where a pointer is, in data units. */
  const locate = (event) => {
    const box = svg.getBoundingClientRect();
    return [x.invert(((event.clientX - box.left) / box.width) * width), y.invert(((event.clientY - box.top) / box.height) * height)];
  };
  const axesPanel = { root, svg, legend, x, y, marks, locate, frame: { left, right, top, bottom } };
  if (canvas) {
    axesPanel.canvas = element("canvas", { "aria-hidden": "true", style:
      `left:${(100 * left) / width}%;top:${(100 * top) / height}%;` +
      `width:${(100 * (right - left)) / width}%;height:${(100 * (bottom - top)) / height}%` });
    plot.prepend(axesPanel.canvas);
  }
  return axesPanel;
}

/**
 * Paint a matrix (list of rows, the first on top) on a canvas, one pixel a cell. The brightest colour is its largest value, or
 * `largest` where that is more (one scale for several matrices). Returns what the brightest colour means.
 */
export function paintHeatmap(canvas, rows, largest = 0) {
  const [height, width] = [rows.length, rows[0].length];
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (const row of rows) for (const value of row) if (value > largest) largest = value;
  const pixels = new Uint32Array(image.data.buffer);
  rows.forEach((row, r) => row.forEach((value, c) => {
    pixels[r * width + c] = PALETTE[Math.round((255 * value) / (largest || 1))];
  }));
  context.putImageData(image, 0, 0);
  return largest;
}

/** Bars in a panel, at 1, 2, … of its x axis; `show(heights)` in data units. */
export function bars({ x, y, marks }, count, width) {
  const blocks = Array.from({ length: count }, (_, i) => element("svg:rect", { class: "attn-bar", x: x(i + 1) - width / 2, width }));
  marks.append(...blocks);
  return { show(heights) { heights.forEach((h, i) => update(blocks[i], { y: y(h), height: y(0) - y(h) })); } };
}

/** What stands under a heatmap: which colours mean 0 and the largest weight. */
export const ramp = (largest) => ["weight 0 ", element("span", { class: "attn-ramp" }), ` ${format(largest)}`];

/** Call `move(x, y)` in data units while a pointer (mouse, pen, finger) drags over a panel. */
export function draggable({ svg, locate }, move) {
  const toData = (event) => move(...locate(event));
  svg.classList.add("attn-draggable");
  update(svg, {
    pointerdown: (event) => { svg.setPointerCapture(event.pointerId); toData(event); },
    pointermove: (event) => { if (svg.hasPointerCapture(event.pointerId)) toData(event); },
  });
}

/** An id that no other explorer on the page has, not even one whose module is loaded apart. */
const unique = (name) => `attn-${name}-${Math.random().toString(36).slice(2)}`;

/** A labelled slider. `toText` writes the value beside it. `value` is read and set in the slider's own unit. */
export function slider({ label, min, max, step, toText = format, onInput, marks = [] }) {
  const id = unique("slider");
  const output = element("output", { for: id });
  const input = element("input", { id, type: "range", min, max, step, input: () => onInput(Number(input.value)) });
  const ends = element("div", { class: "attn-ends", "aria-hidden": "true" }, ...marks.map((m) => element("span", {}, m)));
  return {
    root: element("div", { class: "attn-control" }, element("label", { for: id }, label), output, input, ends),
    input,
    show(value) {
      input.value = value;
      output.textContent = toText(value);
      input.setAttribute("aria-valuetext", toText(value));
    },
  };
}

/** A group of radio buttons, one of which is chosen. `options` maps values to labels. */
export function choice({ label, options, onInput }) {
  const name = unique("choice");
  const inputs = Object.entries(options).map(([value, text]) => {
    const input = element("input", { type: "radio", name, value, change: () => onInput(value) });
    return [value, input, element("label", {}, input, text)];
  });
  return {
    root: element("fieldset", { class: "attn-choice" }, element("legend", {}, label), ...inputs.map((i) => i[2])),
    show(value) { for (const [v, input] of inputs) input.checked = v === value; },
  };
}

export function button(label, onClick) {
  return element("button", { type: "button", click: onClick }, label);
}

/**
 * The frame of an explorer: panels, controls, a sentence that says what is seen, reset and link buttons.
 *
 * `state` maps each trait that the reader drives to a function that turns any value into a permitted one, or
 * undefined. `draw(values)` draws the whole figure from those values and returns the sentence. What the reader
 * changes goes through `set`, so that the Python side hears of it; what Python changes comes back through `draw`.
 * `onReset` forgets what an explorer keeps beside its traits.
 */
export function explorer({ model, el, state, panels, controls, draw, onReset = () => {} }) {
  const names = Object.keys(state);
  const slug = model.get("slug");
  const values = () => Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const start = values();
  const says = element("p", { class: "attn-says", "aria-live": "polite" });

  let setting = false;
  function set(changes) {
    setting = true; // one picture at the end, not one for each trait
    for (const [name, value] of Object.entries(changes)) {
      const permitted = state[name](value);
      if (permitted !== undefined) model.set(name, permitted);
    }
    setting = false;
    model.save_changes();
    redraw();
  }
  function follow() {
    if (!setting) redraw();
  }
  function redraw() {
    says.textContent = draw(values());
  }
  function readLink() {
    const [name, query] = location.hash.slice(1).split("?");
    if (name !== slug) return false;
    const given = new URLSearchParams(query);
    set(Object.fromEntries(names.filter((n) => given.has(n)).map((n) => [n, given.get(n)])));
    return true;
  }
  async function copyLink() {
    const query = new URLSearchParams(names.map((n) => [n, String(model.get(n))]));
    history.replaceState(null, "", `#${slug}?${query}`);
    try {
      await navigator.clipboard.writeText(location.href);
      says.textContent = "The link to this state is copied.";
    } catch {
      says.textContent = "The address bar now holds the link to this state.";
    }
  }

  const buttons = element("div", { class: "attn-buttons" }, button("Reset", () => { onReset(); set(start); }));
  if (globalThis.attnStaticPage) buttons.append(button("Copy link", copyLink));
  const root = element("section", { class: "attn-explorer", id: slug, "aria-label": model.get("title") },
    element("p", { class: "attn-title" }, model.get("title")),
    element("div", { class: "attn-panels" }, ...panels.map((p) => p.root)),
    element("div", { class: "attn-controls" }, ...controls.map((c) => c.root ?? c), buttons),
    says);
  // JupyterLab takes arrow keys for itself unless they stop here.
  root.addEventListener("keydown", (event) => event.stopPropagation());
  el.append(root);

  const onHash = () => { if (readLink()) root.scrollIntoView({ block: "center" }); };
  for (const name of names) model.on(`change:${name}`, follow);
  window.addEventListener("hashchange", onHash);
  redraw();
  onHash();
  return {
    set,
    cleanup() {
      for (const name of names) model.off(`change:${name}`, follow);
      window.removeEventListener("hashchange", onHash);
    },
  };
}

/** Permitted values of a number, a whole number, a list of numbers ("1,2" in a link) and a choice, for `state`. */
export const numberBetween = (lo, hi) => (value) => {
  const number = typeof value === "number" ? value : Number.parseFloat(value);
  return Number.isFinite(number) ? clamp(number, lo, hi) : undefined;
};
export const wholeBetween = (lo, hi) => (value) => {
  const number = numberBetween(lo, hi)(value);
  return number === undefined ? undefined : Math.round(number);
};
export const numbers = (count) => (value) => {
  const list = (Array.isArray(value) ? value : String(value).split(",")).map(Number);
  return list.length === count && list.every(Number.isFinite) ? list : undefined;
};
export const oneOf = (options) => (value) => (options.includes(value) ? value : undefined);
