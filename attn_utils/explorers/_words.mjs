// Tokens as words that can be read, and a heatmap with words on both axes.

/** A token as it can be read: a space becomes “␣”. */
export const shown = (token) => (token.trim() ? token : "␣");

/** “a, b and c”, or “nothing”. */
export function listed(words) {
  if (!words.length) return "nothing";
  const most = words.slice(0, -1).join(", ");
  return most ? `${most} and ${words.at(-1)}` : words[0];
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

/**
 * A panel with the weights (list of rows) as a heatmap, the tokens of rows and columns beside it. Beyond what `panel` gives:
 * `cell`, its width and height; `largest`, the largest weight; `box(attributes, s, t)`, a rectangle inside a cell.
 */
export function wordMap({ rows, columns, weights, ...labels }) {
  const [L, S] = [rows.length, columns.length];
  const [rowNames, columnNames] = [rows.map(short), columns.map(short)];
  const left = 30 + Math.max(...rowNames.map(spread));
  const inner = { width: 416 - left, height: L * clamp(280 / L, 12.5, 34) };
  const cell = [inner.width / S, inner.height / L];
  const longest = Math.max(...columnNames.map(spread));
  const upright = longest <= cell[0]; // else the words under the columns are turned
  const margins = { left, right: 4, top: 4, bottom: upright ? 40 : 30 + longest };
  const map = panel({ x: [-0.5, S - 0.5], y: [L - 0.5, -0.5], canvas: true, margins, xTicks: [], yTicks: [],
    height: inner.height + margins.top + margins.bottom, ...labels });
  const every = Math.ceil(10 / cell[0]); // of a very long sentence not all words find room
  const text = (content, room, anchor, transform) => element("svg:text", { "text-anchor": anchor, transform, "aria-hidden": "true",
    style: `font-size: ${clamp(room, 10, 12)}px` }, content);
  map.svg.append(...rowNames.map((name, t) => text(name, cell[1], "end", `translate(${map.frame.left - 5},${map.y(t) + 4})`)));
  columnNames.forEach((name, s) => {
    if (s % every) return;
    map.svg.append(upright ? text(name, 12, "middle", `translate(${map.x(s)},${map.frame.bottom + 14})`)
      : text(name, cell[0], "end", `translate(${map.x(s) + 4},${map.frame.bottom + 5}) rotate(-90)`));
  });
  const box = (attributes, s, t) => element("svg:rect", { ...attributes,
    x: map.x(s - 0.5) + 1.5, y: map.y(t - 0.5) + 1.5, width: cell[0] - 3, height: cell[1] - 3 });
  return { ...map, cell, box, largest: paintHeatmap(map.canvas, weights) };
}
