// Explorer 7: which source words does a translation model look at when it writes a target word?

/** Source positions of a target word's gold links. */
export const links = (gold, word) => (gold ?? []).filter(([, t]) => t === word).map(([s]) => s).sort((a, b) => a - b);

/** Weight on gold links, a mean over the target words that have one; null where none has. */
export function goldShare(weights, gold) {
  const shares = weights.map((row, t) => links(gold, t).map((s) => row[s]))
    .filter((onLinks) => onLinks.length)
    .map((onLinks) => onLinks.reduce((a, b) => a + b));
  return shares.length ? shares.reduce((a, b) => a + b) / shares.length : null;
}

/** For each target word the source position of the largest weight, the first of equals; -1 without weights. */
export const strongest = (weights) => weights.map((row) => (row.some((w) => w > 0) ? row.indexOf(Math.max(...row)) : -1));

/** A token as it can be read: a space becomes “␣”. */
export const shown = (token) => (token.trim() ? token : "␣");

/** “a, b and c”, or “nothing”. */
export function listed(words) {
  if (!words.length) return "nothing";
  const most = words.slice(0, -1).join(", ");
  return most ? `${most} and ${words.at(-1)}` : words[0];
}

/** What the chosen word looks at, in words. */
export function describe({ source, target, weights, gold }, word, withGold) {
  const row = weights[word];
  const best = row.map((_, s) => s).sort((a, b) => row[b] - row[a]).slice(0, 3).filter((s) => row[s] >= 0.005);
  const quoted = (s) => `“${shown(source[s])}”`;
  const looks = `“${shown(target[word])}” looks at ${listed(best.map((s) => `${quoted(s)} (${row[s].toFixed(2)})`))}.`;
  return withGold && gold ? `${looks} Gold: ${listed(links(gold, word).map(quoted))}.` : looks;
}

// About how wide a label is in 12 px letters; Korean ones are nearly twice as wide. Long labels are cut short.
const LONGEST = 90;
const spread = (label) => [...label].reduce((sum, letter) => sum + (letter >= "ᄀ" && letter !== "␣" && letter !== "…" ? 12 : 7), 0);
function short(token) {
  let letters = [...shown(token)];
  if (spread(shown(token)) > LONGEST) {
    while (spread(letters.join("")) > LONGEST - 7) letters = letters.slice(0, -1);
    letters.push("…");
  }
  return letters.join("");
}

/** Black or white, whichever is read better on a colour [red, green, blue]. */
function ink(rgb) {
  const [r, g, b] = rgb.map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "black" : "white";
}

/** The matrix of one example: a heatmap with words on both axes. `onRow` hears of the row under a pointer. */
function matrix({ source, target, weights, gold }, onRow) {
  const [L, S] = [target.length, source.length];
  const [rows, columns] = [target.map(short), source.map(short)];
  const left = 30 + Math.max(...rows.map(spread));
  const inner = { width: 416 - left, height: L * clamp(280 / L, 12.5, 34) };
  const cell = [inner.width / S, inner.height / L];
  const longest = Math.max(...columns.map(spread));
  const upright = longest <= cell[0]; // else the words under the columns are turned
  const margins = { left, right: 4, top: 4, bottom: upright ? 40 : 30 + longest };
  const map = panel({ x: [-0.5, S - 0.5], y: [L - 0.5, -0.5], canvas: true, margins, xTicks: [], yTicks: [],
    height: inner.height + margins.top + margins.bottom, xLabel: "source (keys)", yLabel: "target (queries)",
    label: "Attention weights: one row a target word, one column a source word; brighter is more." });
  const largest = paintHeatmap(map.canvas, weights);
  const every = Math.ceil(10 / cell[0]); // of a very long sentence not all words find room
  const text = (content, room, anchor, transform) => element("svg:text", { "text-anchor": anchor, transform, "aria-hidden": "true",
    style: `font-size: ${clamp(room, 10, 12)}px` }, content);
  map.svg.append(...rows.map((name, t) => text(name, cell[1], "end", `translate(${map.frame.left - 5},${map.y(t) + 4})`)));
  columns.forEach((name, s) => {
    if (s % every) return;
    map.svg.append(upright ? text(name, 12, "middle", `translate(${map.x(s)},${map.frame.bottom + 14})`)
      : text(name, cell[0], "end", `translate(${map.x(s) + 4},${map.frame.bottom + 5}) rotate(-90)`));
  });

  const box = (kind, stroke, s, t) => element("svg:rect", { class: kind, "stroke-width": stroke,
    x: map.x(s - 0.5) + 1.5, y: map.y(t - 0.5) + 1.5, width: cell[0] - 3, height: cell[1] - 3 });
  const boxes = element("svg:g", {}, ...(gold ?? []).flatMap(([s, t]) => [box("attn-gold attn-gold-edge", 3.5, s, t), box("attn-gold", 1.5, s, t)]));
  const dots = strongest(weights).flatMap((s, t) => (s < 0 ? [] : [element("svg:circle", { cx: map.x(s), cy: map.y(t),
    r: clamp(Math.min(...cell) / 7, 1.5, 2.5), style: `fill: ${ink(colour(weights[t][s] / largest))}` })]));
  const row = element("svg:rect", { class: "attn-row", x: map.frame.left, width: inner.width, height: cell[1] });
  map.marks.append(boxes, ...dots);
  map.svg.append(row);
  const under = (event) => {
    const [s, t] = map.locate(event).map(Math.round);
    if (t >= 0 && t < L && s < S) onRow(t);
  };
  update(map.svg, { pointermove: (event) => { if (event.pointerType === "mouse") under(event); }, pointerdown: under });
  return { root: map.root, legend: map.legend, largest,
    show(word, withGold) {
      update(row, { y: map.y(word - 0.5) });
      boxes.style.display = withGold ? "" : "none";
    } };
}

/** Target words as radio buttons that look like buttons: the browser brings arrow keys and one stop for the tab key. */
function targetWords(target, onWord) {
  const words = choice({ label: "Target words (queries)", onInput: (word) => onWord(Number(word)),
    options: Object.fromEntries(target.map((token, t) => [t, shown(token)])) });
  words.root.classList.add("attn-words");
  words.root.querySelectorAll("label").forEach((label, t) => update(label,
    { pointermove: (event) => { if (event.pointerType === "mouse") onWord(t); } }));
  return { root: words.root, show: (word) => words.show(String(word)) };
}

/** Source words, shaded by their weight in the colours of the matrix. */
function sourceWords(source, largest) {
  const numbers = source.map(() => element("small", {}));
  const words = source.map((token, s) => element("li", {}, shown(token), numbers[s]));
  return { root: element("ol", { class: "attn-keys", "aria-label": "Source words (keys) with their weights" }, ...words),
    show(row, gold) {
      row.forEach((weight, s) => {
        const ground = colour(weight / (largest || 1));
        update(words[s], { style: `background: rgb(${ground}); color: ${ink(ground)}` });
        words[s].classList.toggle("attn-linked", gold.includes(s));
        numbers[s].textContent = weight >= 0.005 ? weight.toFixed(2) : "";
      });
    } };
}

function render({ model, el }) {
  const examples = model.get("examples");
  const lines = element("div", { class: "attn-lines" });
  const place = element("div");
  const summary = element("p", { class: "attn-summary" });
  const menu = element("select", { change: () => frame.set({ sentence: menu.selectedIndex, word: 0 }) },
    ...examples.map(({ source, label }, i) => element("option", {},
      `${i + 1}: ${label || source.join(source.some((token) => !token.trim()) ? "" : " ")}`)));
  const toggle = element("input", { type: "checkbox", change: () => frame.set({ gold: toggle.checked }) });

  let built; // the parts of the sentence that is shown
  function build(sentence) {
    const example = examples[sentence];
    const choose = (word) => { if (word !== model.get("word")) frame.set({ word }); };
    const map = matrix(example, choose);
    const [target, source] = [targetWords(example.target, choose), sourceWords(example.source, map.largest)];
    lines.replaceChildren(target.root, element("p", { "aria-hidden": "true" }, "Source words (keys)"), source.root);
    place.replaceChildren(map.root, summary);
    map.legend.append("weight 0 ", element("span", { class: "attn-ramp" }), ` ${format(map.largest)} · dot: strongest of its row`);
    const [share, best] = [goldShare(example.weights, example.gold), strongest(example.weights)];
    const linked = example.target.map((_, t) => t).filter((t) => links(example.gold, t).length);
    const right = linked.filter((t) => links(example.gold, t).includes(best[t])).length;
    const words = share === null ? "" : `White boxes: gold links. They get ${share.toFixed(2)} of the attention of the words that have one, ` +
      `and the strongest source word is a gold one for ${right} of ${linked.length}.`;
    return { sentence, example, map, target, source, words };
  }
  function draw({ sentence, word: wanted, gold: wished }) {
    if (built?.sentence !== sentence) built = build(sentence);
    const { example, map, target, source, words } = built;
    const word = Math.min(wanted, example.target.length - 1);
    const gold = wished && Boolean(example.gold);
    menu.selectedIndex = sentence;
    toggle.checked = gold;
    toggle.disabled = !example.gold;
    target.show(word);
    source.show(example.weights[word], gold ? links(example.gold, word) : []);
    map.show(word, gold);
    summary.textContent = example.gold ? (gold ? words : "") : "This sentence has no gold alignment.";
    return describe(example, word, gold);
  }
  const whole = (count) => (value) => {
    const number = numberBetween(0, count() - 1)(value);
    return number === undefined ? undefined : Math.round(number);
  };
  const yes = { true: true, 1: true, false: false, 0: false };
  const frame = explorer({ model, el, draw, panels: [{ root: lines }, { root: place }],
    controls: [element("label", { class: "attn-menu" }, "Sentence", menu), element("label", { class: "attn-check" }, toggle, "Show the gold alignment")],
    state: { sentence: whole(() => examples.length), word: whole(() => examples[model.get("sentence")].target.length),
      gold: (value) => yes[value] } });
  return frame.cleanup;
}

export default { render };
