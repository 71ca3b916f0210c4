// Explorer 11: where does a place of an image look, and what would a convolution see?

const PATCHES = [1, 3, 5, 7];
const YELLOW = [253, 231, 37];

/** The pixel that stands for number i of n where a border is a mirror. */
const mirrored = (i, n) => (i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i);

/**
 * Non-local means: the weights that one pixel gives all pixels, row by row, of an image (channels × rows × columns):
 * the Gaussian kernel of the distance between the patches around them, in which the centre counts most.
 */
export function patchWeights(image, row, column, patch, width) {
  const [h, w, reach] = [image[0].length, image[0][0].length, (patch - 1) / 2];
  const steps = Array.from({ length: patch }, (_, i) => i - reach);
  const heights = steps.map((d) => Math.exp(-8 * (d / Math.max(patch - 1, 1)) ** 2));
  const total = heights.reduce((a, b) => a + b, 0) ** 2 * image.length;
  const squared = new Float64Array(h * w);
  for (const plane of image) {
    steps.forEach((dx, j) => {
      const columns = plane[0].map((_, x) => mirrored(x + dx, w));
      steps.forEach((dy, i) => {
        const [own, share] = [plane[mirrored(row + dy, h)][columns[column]], (heights[i] * heights[j]) / total];
        for (let y = 0; y < h; y++) {
          const line = plane[mirrored(y + dy, h)];
          for (let x = 0; x < w; x++) {
            const difference = line[columns[x]] - own;
            squared[y * w + x] += share * difference * difference;
          }
        }
      });
    });
  }
  return softmax(Array.from(squared, (s) => -s / (2 * width * width)));
}

/**
 * How a place spreads its weights over the keys, which lie on a grid of their own, `pool` places a side each: the weight on
 * itself, the key elsewhere with the most, and the weight beyond the square of `field` places a side that a convolution reads.
 */
export function spread(weights, { row, column, pool, keys, field }) {
  const own = Math.min(Math.floor(row / pool), keys[0] - 1) * keys[1] + Math.min(Math.floor(column / pool), keys[1] - 1);
  const reach = (field - 1) / 2;
  const near = (at, key) => key * pool <= at + reach && (key + 1) * pool > at - reach;
  const reached = weights.map((_, s) => near(row, Math.floor(s / keys[1])) && near(column, s % keys[1]));
  const most = weights.reduce((best, weight, s) => (s !== own && (best < 0 || weight > weights[best]) ? s : best), -1);
  const beyond = weights.reduce((sum, weight, s) => sum + (reached[s] ? 0 : weight), 0);
  return { own: weights[own], most, largest: weights[most], reached: reached[most], beyond };
}

const named = (name, i, pool) => (pool === 1 ? `${name} ${i + 1}` : `${name}s ${i * pool + 1}–${(i + 1) * pool}`);

const percent = (weight) => `${(100 * weight).toFixed(1)} %`;

/** The sentence for what `spread` gave; `means` is [width, patch] where the weights are those of non-local means. */
export function describe({ own, most, largest, reached, beyond }, { row, column, pool, keys, field }, means) {
  const kernel = means ? `Width ${means[0].toFixed(2)}, patches of ${means[1]} × ${means[1]}: the pixel` : "The place";
  const there = `${named("row", Math.floor(most / keys[1]), pool)}, ${named("column", most % keys[1], pool)}`;
  return `${kernel} in row ${row + 1}, column ${column + 1} gives itself ${percent(own)} of its weight and, elsewhere, most to ${there}: ` +
    `${percent(largest)}. A convolution of ${field} × ${field} would ${reached ? "" : "not "}reach it; ${percent(beyond)} of the weight lies beyond.`;
}

/** Paint an image of the shape [rows, columns]: `shade(data, i, y, x)` writes red, green and blue of a pixel from data[i] on. */
function paint(canvas, [h, w], shade) {
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(w, h);
  pixels.data.fill(255);
  for (let y = 0, i = 0; y < h; y++) for (let x = 0; x < w; x++, i += 4) shade(pixels.data, i, y, x);
  context.putImageData(pixels, 0, 0);
}

/** A picture with axes; `red` and `white` put an outline around a square: its first row and column, its side. */
function picture(size, [h, w], label) {
  const margins = { left: 34, right: 6, top: 6, bottom: 34 };
  const view = panel({ x: [-0.5, size[1] - 0.5], y: [size[0] - 0.5, -0.5], canvas: true, margins, label,
    xLabel: "column", yLabel: "row", xTicks: [0, size[1] - 1], yTicks: [0, size[0] - 1], xFormat: (t) => t + 1, yFormat: (t) => t + 1,
    height: (380 * h) / w + 40 });
  const outline = (style) => element("svg:rect", { class: "attn-row", style });
  const [white, red] = [outline("stroke: white; stroke-dasharray: 3 2"), outline("")];
  view.marks.append(white, red);
  const around = (rect, top, left, side) => update(rect, { x: view.x(left - 0.5), y: view.y(top - 0.5),
    width: view.x(side) - view.x(0), height: view.y(side) - view.y(0) });
  return { ...view, red: (...place) => around(red, ...place), white: (...place) => around(white, ...place) };
}

function render({ model, el }) {
  const [images, learned, names, grid, keys, field] = ["images", "weights", "names", "grid", "keyed", "field"].map((name) => model.get(name));
  const means = !learned.length;
  const [pool, reach] = [Math.floor(grid[0] / keys[0]), (field - 1) / 2];
  const shape = [images[0][0].length, images[0][0][0].length];
  const colours = images.map((planes) => planes[0].flatMap((line, y) => line.flatMap((_, x) => [0, 1, 2, 0].map((c) => 255 * planes[c % planes.length][y][x]))));
  // Which row (column) of places and of keys a row (column) of pixels belongs to.
  const places = shape.map((count, axis) => Array.from({ length: count }, (_, i) => Math.floor((i * grid[axis]) / count)));
  const keyed = places.map((row) => row.map((place) => Math.floor(place / pool)));
  const map = picture(grid, shape, "The image with the weights of the chosen place over it: the more yellow, the more weight.");
  const square = picture(grid, shape, "The same image; lit is the square that a convolution reads around the chosen place.");
  square.legend.textContent = `lit: what a convolution of ${field} × ${field} reads · red: the place`;

  function draw({ image, row, column, width: scale, patch: side }) {
    const weights = means ? patchWeights(images[image], row, column, side, scale) : learned[image][row * grid[1] + column];
    const state = { row, column, pool, keys, field };
    const read = spread(weights, state);
    const [top, { most }, rgb] = [Math.max(...weights), read, colours[image]];
    paint(map.canvas, shape, (data, i, y, x) => { // yellow over a darker grey
      const inside = keyed[0][y] < keys[0] && keyed[1][x] < keys[1];
      const share = inside ? weights[keyed[0][y] * keys[1] + keyed[1][x]] / top : 0;
      const grey = 0.2 * (rgb[i] + rgb[i + 1] + rgb[i + 2]);
      for (let c = 0; c < 3; c++) data[i + c] = grey + (YELLOW[c] - grey) * share;
    });
    const lit = [row, column].map((at, axis) => places[axis].map((place) => Math.abs(place - at) <= reach));
    paint(square.canvas, shape, (data, i, y, x) => {
      for (let c = 0; c < 3; c++) data[i + c] = (lit[0][y] && lit[1][x] ? 1 : 0.35) * rgb[i + c];
    });
    map.red(row, column, 1);
    map.white(Math.floor(most / keys[1]) * pool, (most % keys[1]) * pool, pool);
    square.red(row, column, 1);
    square.white(row - reach, column - reach, field);
    map.legend.textContent = `yellow: weight, at most ${format(top)} · red: the place · white: most elsewhere`;
    menu.selectedIndex = image;
    [image, row, column, scale, String(side)].forEach((value, i) => inputs[i]?.show(value));
    return describe(read, state, means && [scale, side]);
  }
  const place = { min: 0, step: 1, toText: (i) => String(i + 1) };
  const menu = element("select", { change: () => frame.set({ image: menu.selectedIndex }) }, ...names.map((name) => element("option", {}, name)));
  const inputs = [undefined,
    slider({ ...place, label: "Row", max: grid[0] - 1, onInput: (row) => frame.set({ row }) }),
    slider({ ...place, label: "Column", max: grid[1] - 1, onInput: (column) => frame.set({ column }) })];
  const state = { image: wholeBetween(0, images.length - 1), row: wholeBetween(0, grid[0] - 1), column: wholeBetween(0, grid[1] - 1) };
  if (means) {
    inputs.push(
      slider({ label: "Width", min: 0.01, max: 0.5, step: 0.01, toText: (x) => x.toFixed(2), onInput: (width) => frame.set({ width }) }),
      choice({ label: "Patch", options: Object.fromEntries(PATCHES.map((p) => [p, `${p} × ${p}`])), onInput: (patch) => frame.set({ patch }) }));
    Object.assign(state, { width: numberBetween(0.01, 0.5), patch: (given) => oneOf(PATCHES)(Number(given)) });
  }
  const menus = names.length > 1 ? [element("label", { class: "attn-menu" }, "Image", menu)] : [];
  const frame = explorer({ model, el, draw, panels: [map, square], controls: [...menus, ...inputs.slice(1)], state });
  for (const view of [map, square]) draggable(view, (column, row) => frame.set({ row, column }));
  return frame.cleanup;
}

export default { render };
