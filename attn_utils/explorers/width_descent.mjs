// Explorer 3: gradient descent rolls the width down its own loss curve.

/** One step of gradient descent on log(width). */
export function descend(keys, values, width, rate, leaveOneOut) {
  return width * Math.exp(-rate * poolingErrorSlope(keys, values, width, leaveOneOut));
}

function render({ model, el }) {
  const [keys, values, queries, truth] = ["key", "value", "queries", "truth"].map((name) => model.get(name));
  const LOSSES = { "leave-one-out": "leave one out", training: "training error" };
  const WIDTHS = [0.01, 10];
  const LOG = WIDTHS.map(Math.log10);
  const grid = Array.from({ length: 121 }, (_, i) => LOG[0] + (i / 120) * (LOG[1] - LOG[0]));
  const losses = Object.fromEntries(Object.keys(LOSSES).map((loss) =>
    [loss, grid.map((log) => poolingError(keys, values, 10 ** log, "gaussian", loss === "leave-one-out"))]));

  const hill = panel({ x: LOG, y: [0, 1.05 * Math.max(...Object.values(losses).flat())], xLabel: "width (log scale)", yLabel: "loss",
    xTicks: [-2, -1, 0, 1], xFormat: (log) => String(10 ** log), height: 300, note: "solid: the chosen loss · dashed: the other one",
    label: "The loss against the width, with the steps taken so far." });
  const fit = panel({ x: extent(queries), y: extent([...values, ...truth], 0.05), xLabel: "x", yLabel: "y", height: 300, note: FIT_NOTE,
    label: "The estimate at the current width." });
  const other = element("svg:path", { class: "attn-truth" });
  const landscape = element("svg:path", { class: "attn-curve" });
  const trail = element("svg:g", {});
  const ball = element("svg:circle", { class: "attn-answer", r: 7 });
  hill.marks.append(other, landscape, trail, ball);
  const curve = element("svg:path", { class: "attn-curve" });
  fit.marks.append(
    element("svg:path", { class: "attn-truth", d: path(queries, truth, fit.x, fit.y) }),
    ...keys.map((key, s) => element("svg:circle", { class: "attn-key attn-heard", r: 3.5, cx: fit.x(key), cy: fit.y(values[s]) })),
    curve,
  );

  let visited = [];
  let timer = 0;
  function draw({ width, rate, loss }) {
    const leaveOneOut = loss === "leave-one-out";
    const lossHere = poolingError(keys, values, width, "gaussian", leaveOneOut);
    const slope = poolingErrorSlope(keys, values, width, leaveOneOut);
    const rest = Object.keys(LOSSES).find((name) => name !== loss);
    update(landscape, { d: path(grid, losses[loss], hill.x, hill.y) });
    update(other, { d: path(grid, losses[rest], hill.x, hill.y) });
    update(ball, { cx: hill.x(Math.log10(width)), cy: hill.y(lossHere) });
    trail.replaceChildren(...visited.map((w) => element("svg:circle", { class: "attn-trail", r: 3, cx: hill.x(Math.log10(w)),
      cy: hill.y(poolingError(keys, values, w, "gaussian", leaveOneOut)) })));
    update(curve, { d: path(queries, queries.map((q) => mix(weights(q, keys, width, "gaussian"), values)), fit.x, fit.y) });
    widthInput.show(Math.log10(width));
    rateInput.show(rate);
    lossInput.show(loss);
    const flat = Math.abs(slope) < 0.005 ? " The slope is nearly zero: descent hardly moves here." : "";
    const end = WIDTHS.findIndex((limit) => Math.abs(Math.log(width / limit)) < 0.001);
    const edge = end < 0 ? "" : ` The width is at the ${["narrow", "wide"][end]} end of the axis.`;
    return `After ${visited.length} ${visited.length === 1 ? "step" : "steps"} the width is ${format(width)}, the ${LOSSES[loss]} loss ${format(lossHere)}, ` +
      `its slope in log width ${format(slope)}.${flat}${edge}`;
  }

  function step() {
    const { width, rate, loss } = Object.fromEntries(["width", "rate", "loss"].map((n) => [n, model.get(n)]));
    visited.push(width);
    frame.set({ width: descend(keys, values, width, rate, loss === "leave-one-out") });
    const moved = Math.abs(Math.log(model.get("width") / width));
    return moved > 1e-4 && visited.length < 300;
  }
  function stop() {
    clearInterval(timer);
    timer = 0;
    playButton.textContent = "Play";
  }
  function play() {
    if (timer) return stop();
    if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
      while (step());
      return;
    }
    playButton.textContent = "Pause";
    timer = setInterval(() => { if (!step()) stop(); }, 80);
  }
  // A new start, rate or loss begins a new trail.
  function restart(changes) {
    stop();
    visited = [];
    frame.set(changes);
  }

  const widthInput = slider({ label: "Width (drag to start elsewhere)", min: LOG[0], max: LOG[1], step: 0.01,
    toText: (log) => format(10 ** log), onInput: (log) => restart({ width: 10 ** log }) });
  const rateInput = slider({ label: "Learning rate", min: 0.05, max: 2, step: 0.05, onInput: (rate) => restart({ rate }) });
  const lossInput = choice({ label: "Loss", options: LOSSES, onInput: (loss) => restart({ loss }) });
  const playButton = button("Play", play);
  const buttons = { root: element("div", { class: "attn-buttons" }, button("Step", () => { stop(); step(); }), playButton) };
  const frame = explorer({ model, el, draw, panels: [hill, fit], controls: [widthInput, rateInput, lossInput, buttons],
    onReset: () => { stop(); visited = []; },
    state: { width: numberBetween(...WIDTHS), rate: numberBetween(0.05, 2), loss: oneOf(Object.keys(LOSSES)) } });
  draggable(hill, (log) => restart({ width: 10 ** log }));
  return () => { stop(); frame.cleanup(); };
}

export default { render };
