// Explorer 4: a query and three keys in the plane, their scores, the weights, and the output among the values.

const dot = ([a, b], [c, d]) => a * c + b * d;
const length = ([a, b]) => Math.hypot(a, b);

/** Score functions of a query and a key in the plane. */
export const scoreOf = {
  dot: (q, k) => dot(q, k),
  gaussian: (q, k) => -((q[0] - k[0]) ** 2 + (q[1] - k[1]) ** 2) / 2,
  cosine: (q, k) => dot(q, k) / (length(q) * length(k)),
};
export const SCORE_LABELS = { dot: "dot product", gaussian: "Gaussian kernel", cosine: "cosine" };

/** [x0, y0, x1, y1, …] as points. */
export const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => [flat[2 * i], flat[2 * i + 1]]);

/** Scores, their softmax, and the mean of the values under these weights. */
export function attend(query, keys, values, score) {
  const scores = keys.map((key) => scoreOf[score](query, key));
  const weights = softmax(scores);
  const output = [0, 1].map((c) => weights.reduce((sum, w, s) => sum + w * values[s][c], 0));
  return { scores, weights, output };
}

/** A point moved along its own direction until its length is permitted; the origin has none and goes right. */
export function within(point, [shortest, longest]) {
  const size = length(point);
  const wanted = clamp(size, shortest, longest);
  if (size === 0) return [shortest, 0];
  return wanted === size ? point : point.map((c) => (c * wanted) / size);
}

function render({ model, el }) {
  const values = pairs(model.get("values"));
  const LENGTHS = [0.1, 2.5];
  const NAMES = ["query", "key 1", "key 2", "key 3"];
  const square = { x: [-2.7, 2.7], y: [-2.7, 2.7], width: 420, height: 414, xTicks: [-2, -1, 0, 1, 2], yTicks: [-2, -1, 0, 1, 2] };

  const plane = panel({ ...square, xLabel: "first feature", yLabel: "second feature",
    note: "arrow: query · circles: keys, as large as their weight",
    label: "The query as an arrow, three keys as circles, and for each key what the score measures." });
  const field = panel({ x: extent(values.map((v) => v[0]), 0.15), y: extent(values.map((v) => v[1]), 0.15), height: 250,
    xLabel: "first feature of a value", yLabel: "second feature", note: "diamond: the output, inside the triangle of the values",
    label: "The values of the three keys as the corners of a triangle, and the output inside it." });
  const heights = panel({ x: [0.5, 3.5], y: [0, 1.15], height: 160, xLabel: "key", yLabel: "weight", xTicks: [1, 2, 3], yTicks: [0, 0.5, 1],
    label: "The attention weight of each key." });

  const at = (axes, [px, py]) => ({ cx: axes.x(px), cy: axes.y(py) });
  const line = (axes, [ax, ay], [bx, by]) => ({ x1: axes.x(ax), y1: axes.y(ay), x2: axes.x(bx), y2: axes.y(by) });
  const text = (content, extra = {}) => element("svg:text", { class: "attn-name", "aria-hidden": "true", ...extra }, content);

  const ray = element("svg:line", { class: "attn-truth" });
  const arrow = element("svg:line", { class: "attn-arrow" });
  const head = element("svg:path", { class: "attn-answer", d: "M0,0L-11,5L-11,-5Z" });
  const ring = element("svg:circle", { class: "attn-ring", r: 15 });
  const measures = values.map(() => element("svg:line", { class: "attn-measure" }));
  const dots = values.map(() => element("svg:circle", { class: "attn-key attn-heard" }));
  const names = NAMES.map((name) => text(name === "query" ? "q" : name.replace("key ", "k")));
  plane.marks.append(element("svg:line", { class: "attn-axis", ...line(plane, [-2.7, 0], [2.7, 0]) }),
    element("svg:line", { class: "attn-axis", ...line(plane, [0, -2.7], [0, 2.7]) }),
    ray, ...measures, ring, arrow, head, ...dots, ...names);

  const corners = values.map((v) => element("svg:circle", { class: "attn-key attn-heard", ...at(field, v) }));
  const answer = element("svg:path", { class: "attn-answer", d: "M0,-8L8,0L0,8L-8,0Z" });
  field.marks.append(element("svg:polygon", { class: "attn-triangle", points: values.map(([a, b]) => `${field.x(a)},${field.y(b)}`).join(" ") }),
    ...corners, ...values.map((v, s) => text(`v${s + 1}`, { x: field.x(v[0]) + 12, y: field.y(v[1]) + 4 })), answer);
  const blocks = bars(heights, 3, 60);
  const written = values.map((_, s) => text("", { x: heights.x(s + 1), "text-anchor": "middle" }));
  heights.marks.append(...written);

  function drawPlane(points, weights, score, moved) {
    const [query, ...keys] = points;
    const end = within(query, [4, 4]);
    update(ray, line(plane, [-end[0], -end[1]], end));
    update(arrow, line(plane, [0, 0], query));
    const angle = (Math.atan2(-query[1], query[0]) * 180) / Math.PI;
    update(head, { transform: `translate(${plane.x(query[0])},${plane.y(query[1])}) rotate(${angle})` });
    keys.forEach((key, s) => {
      update(dots[s], { ...at(plane, key), r: 3 + 12 * Math.sqrt(weights[s]) });
      // What is measured: the distance to the query, or the foot of the key on the query's line.
      const share = dot(key, query) / dot(query, query);
      const foot = score === "gaussian" ? query : query.map((c) => c * share);
      update(measures[s], line(plane, key, foot));
    });
    points.forEach(([px, py], i) => update(names[i], { x: plane.x(px) + 16, y: plane.y(py) - 8 }));
    update(ring, at(plane, points[NAMES.indexOf(moved)]));
  }
  function draw({ points: flat, score, moved }) {
    const points = pairs(flat);
    const { scores, weights, output } = attend(points[0], points.slice(1), values, score);
    drawPlane(points, weights, score, moved);
    corners.forEach((corner, s) => update(corner, { r: 3 + 12 * Math.sqrt(weights[s]) }));
    update(answer, { transform: `translate(${field.x(output[0])},${field.y(output[1])})` });
    blocks.show(weights);
    written.forEach((number, s) => {
      update(number, { y: heights.y(weights[s]) - 4 });
      number.textContent = weights[s].toFixed(2);
    });
    const point = points[NAMES.indexOf(moved)];
    angleInput.show(Math.round((Math.atan2(point[1], point[0]) * 180) / Math.PI));
    lengthInput.show(length(point));
    movedInput.show(moved);
    scoreInput.show(score);
    const list = (all) => all.map((n) => n.toFixed(2)).join(", ");
    return `You move ${moved === "query" ? "the query" : moved}. The scores (${SCORE_LABELS[score]}) ${list(scores)} become the weights ${list(weights)}; ` +
      `the output is (${list(output)}).`;
  }

  function move(to) {
    const points = pairs(model.get("points"));
    points[NAMES.indexOf(model.get("moved"))] = within(to, LENGTHS);
    frame.set({ points: points.flat() });
  }
  const chosen = () => pairs(model.get("points"))[NAMES.indexOf(model.get("moved"))];
  const polar = (radius, degrees) => [radius * Math.cos((degrees * Math.PI) / 180), radius * Math.sin((degrees * Math.PI) / 180)];
  const angleInput = slider({ label: "Angle (degrees)", min: -179, max: 180, step: 1, toText: (degrees) => `${degrees}°`,
    onInput: (degrees) => move(polar(length(chosen()), degrees)) });
  const lengthInput = slider({ label: "Length", min: LENGTHS[0], max: LENGTHS[1], step: 0.05,
    onInput: (radius) => move(within(chosen(), [radius, radius])) });
  const movedInput = choice({ label: "Move", options: Object.fromEntries(NAMES.map((n) => [n, n])), onInput: (moved) => frame.set({ moved }) });
  const scoreInput = choice({ label: "Score", options: SCORE_LABELS, onInput: (score) => frame.set({ score }) });
  const permitted = (given) => {
    const flat = numbers(2 * NAMES.length)(given);
    return flat && pairs(flat).flatMap((point) => within(point, LENGTHS));
  };
  const right = { root: element("div", { class: "attn-column" }, field.root, heights.root) };
  const frame = explorer({ model, el, draw, panels: [plane, right], controls: [movedInput, angleInput, lengthInput, scoreInput],
    state: { points: permitted, score: oneOf(Object.keys(scoreOf)), moved: oneOf(NAMES) } });
  plane.svg.classList.add("attn-plane");
  // A press near a point takes that point; elsewhere the chosen one comes.
  update(plane.svg, { pointerdown: (event) => {
    const [px, py] = plane.locate(event);
    const away = pairs(model.get("points")).map(([x, y]) => Math.hypot(x - px, y - py));
    const nearest = away.indexOf(Math.min(...away));
    if (away[nearest] < 0.35) frame.set({ moved: NAMES[nearest] });
  } });
  draggable(plane, (x, y) => move([x, y]));
  return frame.cleanup;
}

export default { render };
