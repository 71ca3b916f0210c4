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

/** What the chosen word looks at, in words. */
export function describe({ source, target, weights, gold }, word, withGold) {
  const row = weights[word];
  const best = row.map((_, s) => s).sort((a, b) => row[b] - row[a]).slice(0, 3).filter((s) => row[s] >= 0.005);
  const quoted = (s) => `“${shown(source[s])}”`;
  const looks = `“${shown(target[word])}” looks at ${listed(best.map((s) => `${quoted(s)} (${row[s].toFixed(2)})`))}.`;
  return withGold && gold ? `${looks} Gold: ${listed(links(gold, word).map(quoted))}.` : looks;
}

/** The matrix of one example: a heatmap with words on both axes. `onRow` hears of the row under a pointer. */
function matrix({ source, target, weights, gold }, onRow) {
  const [L, S] = [target.length, source.length];
  const map = wordMap({ rows: target, columns: source, weights, xLabel: "source (keys)", yLabel: "target (queries)",
    label: "Attention weights: one row a target word, one column a source word; brighter is more." });
  const { cell, largest } = map;
  const linked = (kind, stroke, [s, t]) => map.box({ class: kind, "stroke-width": stroke }, s, t);
  const boxes = element("svg:g", {}, ...(gold ?? []).flatMap((link) => [linked("attn-gold attn-gold-edge", 3.5, link), linked("attn-gold", 1.5, link)]));
  const dots = strongest(weights).flatMap((s, t) => (s < 0 ? [] : [element("svg:circle", { cx: map.x(s), cy: map.y(t),
    r: clamp(Math.min(...cell) / 7, 1.5, 2.5), style: `fill: ${ink(colour(weights[t][s] / largest))}` })]));
  const row = element("svg:rect", { class: "attn-row", x: map.frame.left, width: S * cell[0], height: cell[1] });
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
  let examples = model.get("examples");
  const lines = element("div", { class: "attn-lines" });
  const place = element("div");
  const summary = element("p", { class: "attn-summary" });
  const option = ({ source, label }, i) => element("option", {},
    `${i + 1}: ${label || source.join(source.some((token) => !token.trim()) ? "" : " ")}`);
  const menu = element("select", { change: () => frame.set({ sentence: menu.selectedIndex, word: 0 }) }, ...examples.map(option));
  const toggle = element("input", { type: "checkbox", change: () => frame.set({ gold: toggle.checked }) });

  let built; // the parts of the sentence that is shown
  function build(sentence) {
    const example = examples[sentence];
    const choose = (word) => { if (word !== model.get("word")) frame.set({ word }); };
    const map = matrix(example, choose);
    const [target, source] = [targetWords(example.target, choose), sourceWords(example.source, map.largest)];
    lines.replaceChildren(target.root, element("p", { "aria-hidden": "true" }, "Source words (keys)"), source.root);
    place.replaceChildren(map.root, summary);
    map.legend.append(...ramp(map.largest), " · dot: strongest of its row");
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
    return model.get("problem") || describe(example, word, gold);
  }
  // Python answers what is typed with one more example, which it then chooses, or with what is wrong.
  const field = element("input", { type: "text", autocomplete: "off", keydown: (event) => {
    if (event.key !== "Enter" || event.isComposing) return;
    model.set("typed", field.value.trim());
    model.save_changes();
  } });
  const canType = model.get("typed") !== null && !globalThis.attnStaticPage;
  const typing = canType ? [element("label", { class: "attn-menu" }, "Or type one and press Enter", field)] : [];
  const answers = { "change:problem": () => frame.set({}), "change:examples": () => {
    examples = model.get("examples");
    menu.append(...examples.map(option).slice(menu.length));
    field.value = "";
  } };
  for (const [event, answer] of Object.entries(answers)) model.on(event, answer);
  const yes = { true: true, 1: true, false: false, 0: false };
  const frame = explorer({ model, el, draw, panels: [{ root: lines }, { root: place }],
    controls: [element("label", { class: "attn-menu" }, "Sentence", menu), ...typing, element("label", { class: "attn-check" }, toggle, "Show the gold alignment")],
    state: { sentence: (value) => wholeBetween(0, examples.length - 1)(value),
      word: (value) => wholeBetween(0, examples[model.get("sentence")].target.length - 1)(value), gold: (value) => yes[value] } });
  return () => {
    for (const [event, answer] of Object.entries(answers)) model.off(event, answer);
    frame.cleanup();
  };
}

export default { render };
