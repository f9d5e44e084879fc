"use strict";
// The page that explore.py makes. DATA has the cells of all seeds; this reduces them over the seeds, subtracts, draws
// heatmaps with plotly, and tells all that is known of the cell under the pointer. What is shown stands in the
// address after #, so that it can be linked to. Names go into the page as text, never as HTML.

const VIRIDIS = ["#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
const RED_BLUE = ["#67001f", "#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac", "#053061"];
const LINES = ["#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#8C510A"];  // Okabe and Ito, and brown
const PATTERNS = {"not run": "/", "skipped": ".", "failed": "x", "undefined": "-"};
const REASONS = ["failed", "not run", "undefined", "skipped"];  // the first that any seed has is shown
const STATISTICS = {mean: "mean", median: "median", exact: "share of exact fits"};
const CELL = [42, 27], MARGIN = {l: 58, r: 8, t: 6, b: 46}, LEAST_WIDTH = 230;  // pixels
const FONT = {family: 'system-ui, "Segoe UI", "DejaVu Sans", sans-serif', size: 12, color: "#1d2733"};
const MINUS = "\u2212";
let pinned = false;

// ---- numbers ----

const kind = status => DATA.statuses[status].split(":")[0];
const sum = values => values.reduce((total, value) => total + value, 0);
const mean = values => sum(values) / values.length;
const subtract = (ours, theirs) => ours === theirs ? 0 : ours - theirs;  // also where both fits are exact, at Infinity dB

function median(values) {
  const sorted = [...values].sort((a, b) => a - b), half = sorted.length >> 1;
  return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

/** The places of a cell's seeds in the flat arrays [m, s, seed]. */
function places(block, i, j) {
  return block.seeds.map((_, seed) => (i * block.s.length + j) * block.seeds.length + seed);
}

/** Whether a score is beyond the threshold of exact fits. */
function isExact(score, measure) {
  return Number(measure.higher_is_better ? score > measure.exact : score < measure.exact);
}

/** Without a threshold there is no share of exact fits, and the mean is shown. */
const usable = (statistic, measure) => statistic === "exact" && measure.exact === null ? "mean" : statistic;

/** The number that is the colour, and the one that is written, of one cell of one or two sides (first minus second). */
function reduced(sides, measure, statistic, own) {
  const isLog = measure.scale === "log" && sides.length > 1;
  const kept = own.filter(place => sides.every(side => side.score[place] !== null && kind(side.status[place]) === "done"));
  if (!kept.length) return {colour: null, written: null, count: 0};
  const over = transform => kept.map(place => sides.map(side => transform(side.score[place])).reduce(subtract));
  const scores = over(score => isLog ? Math.log10(score) : score);
  const middle = statistic === "mean" ? mean(scores) : median(scores);
  const colour = statistic === "exact" ? mean(over(score => isExact(score, measure))) : middle;
  const written = statistic === "exact" && sides.length > 1 ? colour : middle;
  return {colour: Number.isNaN(colour) ? null : colour, written: Number.isNaN(written) ? null : written, count: kept.length};
}

/** Why a cell has no number. */
function reason(sides, own) {
  const kinds = own.flatMap(place => sides.map(side => kind(side.status[place])));
  return REASONS.find(each => kinds.includes(each)) ?? "undefined";
}

function format(value, measure, signed = false) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const span = (measure.range?.[1] ?? 1) - (measure.range?.[0] ?? 0);
  const text = measure.scale === "log" && !signed ? value.toPrecision(3)
    : value.toFixed(Math.abs(value) >= 99.95 ? 0 : span >= 10 ? 1 : 3);
  return (signed && value > 0 ? "+" : "") + text.replace("-", MINUS);
}

/** A score with more digits than the cell has room for. */
const digits = score => score === null ? "" : Number.isFinite(score) ? String(Number(score.toPrecision(6))).replace("-", MINUS) : format(score, {});

// ---- what is shown ----

function readState() {
  const given = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const section = DATA.sections[Number(given.section) || 0] ?? DATA.sections[0];
  const columns = [...new Set(section.blocks.flatMap(block => block.columns.map(column => column.heading)))];
  const shows = ["scores", ...(DATA.names.length > 1 ? ["others", "versions"] : []), ...(columns.length > 1 ? ["methods"] : [])];
  return {
    section: DATA.sections.indexOf(section), columns, shows,
    statistic: given.statistic in STATISTICS ? given.statistic : "mean",
    show: shows.includes(given.show) ? given.show : "scores",
    first: columns.includes(given.first) ? given.first : columns[0],
    second: columns.includes(given.second) ? given.second : columns[1] ?? columns[0],
  };
}

function go(change) {
  const {section, statistic, show, first, second} = {...readState(), ...change};
  location.hash = new URLSearchParams({section, statistic, show, ...(show === "methods" ? {first, second} : {})});
}

/** The panels of a block: a heading, and one side, or two of which the second is subtracted. */
function panelsOf(block, state) {
  const [name, other] = DATA.names, column = heading => block.columns.find(each => each.heading === heading);
  const side = (each, number) => ({label: DATA.names.length > 1 ? `${each.heading}, ${DATA.names[number]}` : each.heading, ...each.sides[number]});
  if (state.show === "methods") {
    const pair = [column(state.first), column(state.second)];
    if (pair.includes(undefined)) return [];
    return [{heading: `${state.first} ${MINUS} ${state.second}`, signed: true, sides: pair.map(each => side(each, 0))}];
  }
  if (state.show === "versions")
    return block.columns.map(each => ({heading: `${each.heading}: ${name} ${MINUS} ${other}`, signed: true, sides: [side(each, 0), side(each, 1)]}));
  const number = state.show === "others" ? 1 : 0;
  return block.columns.map(each => ({heading: each.heading, signed: false, sides: [side(each, number)]}));
}

/** The arrays [m, s] of a panel. */
function cellsOf(panel, block, measure, statistic) {
  return block.m.map((_, i) => block.s.map((_, j) => {
    const own = places(block, i, j), cell = reduced(panel.sides, measure, statistic, own);
    return {...cell, i, j, why: cell.colour === null ? reason(panel.sides, own) : ""};
  }));
}

/** The range of the colours of panels: that of the task, or of a share; of differences symmetric, at most so wide. */
function rangeOf(panels, measure, statistic, signed) {
  if (statistic === "exact") return signed ? [-1, 1] : [0, 1];
  if (!signed) return measure.scale === "log" ? measure.range.map(Math.log10) : measure.range;
  const sizes = panels.flatMap(panel => panel.cells.flat()).map(cell => Math.abs(cell.colour)).filter(Number.isFinite);
  const widest = measure.scale === "log" ? Infinity : measure.range[1] - measure.range[0];
  const limit = Math.min(Math.max(0, ...sizes), widest) || 1;
  return [-limit, limit];
}

// ---- elements of the page ----

function element(tag, {text, className, ...attributes} = {}, ...children) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  for (const [name, value] of Object.entries(attributes))
    name.startsWith("on") ? made.addEventListener(name.slice(2), value) : made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const button = (text, pressed, onclick) => element("button", {text, "aria-pressed": pressed, onclick});

function choice(options, chosen, onchoice) {
  const made = element("select", {onchange: () => onchoice(made.value)});
  made.append(...options.map(text => element("option", {text, value: text})));
  made.value = chosen;
  return made;
}

function drawSwitches(state) {
  const group = (name, ...children) => element("fieldset", {}, element("legend", {text: name}), ...children);
  const words = {scores: DATA.names.length > 1 ? `scores of ${DATA.names[0]}` : "scores", others: `scores of ${DATA.names[1]}`,
                 versions: `${DATA.names[0]} ${MINUS} ${DATA.names[1]}`, methods: "difference of two methods"};
  const pair = state.show !== "methods" ? [] : [
    choice(state.columns, state.first, first => go({first})), MINUS, choice(state.columns, state.second, second => go({second}))];
  document.getElementById("sections").replaceChildren(...DATA.sections.map(
    (section, place) => button(section.title.split(":")[0], place === state.section, () => go({section: place}))));
  document.getElementById("switches").replaceChildren(
    group("Over the seeds", ...Object.entries(STATISTICS).map(([name, text]) => button(text, name === state.statistic, () => go({statistic: name})))),
    group("Shown", ...state.shows.map(show => button(words[show], show === state.show, () => go({show}))), ...pair));
}

function caption(block, measure, statistic, signed) {
  const unit = measure.unit ? ` (${measure.unit})` : "", seeds = `seed${block.seeds.length > 1 ? "s" : ""} ${block.seeds.join(", ")}`;
  const name = measure.scale === "log" && signed ? `log10 ratio of ${measure.name}` : `${measure.name}${unit}`;
  const sign = measure.higher_is_better ? ">" : "<", share = `share of exact fits (${sign} ${measure.exact} ${measure.unit})`;
  const what = statistic !== "exact" ? `${signed ? `${statistic} difference in` : statistic} ${name}`
    : signed ? `difference in the ${share}` : `${share} as the colour, median ${name} as the number`;
  return `${what}, over ${seeds} as far as run; the same colours for all methods`;
}

/** Who is ahead in how many cells. */
function lead(panel, measure) {
  const found = panel.cells.flat().filter(cell => cell.colour !== null), sign = measure.higher_is_better ? 1 : -1;
  const ahead = found.filter(cell => sign * cell.colour > 0).length, behind = found.filter(cell => sign * cell.colour < 0).length;
  return found.length ? `first better in ${ahead} of ${found.length} cells, worse in ${behind}` : "no cell that both have";
}

function colourKey(range, scale, measure, statistic, signed) {
  const ends = range.map(end => statistic === "exact" ? `${Math.round(100 * end)} %` : measure.scale === "log" && !signed
    ? (10 ** end).toPrecision(2) : `${format(end, measure, signed)}${measure.unit && ` ${measure.unit}`}`);
  if (statistic !== "exact" && !signed) {  // what lies beyond has the colour of the end
    ends[0] = `≤ ${ends[0]}`;
    ends[1] = `≥ ${ends[1]}`;
  }
  const bar = element("span", {className: "bar"});
  bar.style.background = `linear-gradient(to right, ${scale.join(", ")})`;
  const meaning = signed ? [element("span", {text: "(blue: the first is better)"})] : [];
  const swatches = ["not run", "skipped", "failed"].flatMap(why => [
    element("span", {className: `swatch ${why.replace(" ", "-")}`}), element("span", {text: why})]);
  return element("div", {className: "key"}, element("span", {text: ends[0]}), bar, element("span", {text: ends[1]}), ...meaning, ...swatches);
}

// ---- drawing ----

function drawPanel(holder, panel, block, measure, range, scale) {
  const cells = panel.cells.flat(), empty = cells.filter(cell => cell.colour === null);
  const clip = value => Math.min(Math.max(value, range[0]), range[1]);
  const onScale = value => measure.scale === "log" && !panel.signed && panel.statistic !== "exact" ? Math.log10(value) : value;
  const heat = {
    type: "heatmap", zmin: range[0], zmax: range[1], showscale: false, xgap: 1, ygap: 1, hoverinfo: "none",
    colorscale: scale.map((colour, place) => [place / (scale.length - 1), colour]),
    z: panel.cells.map(row => row.map(cell => cell.colour === null ? null : clip(onScale(cell.colour)))),
    text: panel.cells.map(row => row.map(cell => format(cell.written, measure, panel.signed))),
    texttemplate: "%{text}", textfont: {size: 11},
  };
  const hatched = {
    type: "bar", x: empty.map(cell => cell.j), y: empty.map(() => 1), base: empty.map(cell => cell.i - 0.5), width: 1, hoverinfo: "none",
    marker: {color: "#f5f5f5", line: {color: "white", width: 1},
             pattern: {shape: empty.map(cell => PATTERNS[cell.why]), fgcolor: "#a6a6a6", bgcolor: "#f5f5f5", size: 6, solidity: 0.2}},
  };
  const axis = (values, title) => ({title: {text: title, standoff: 8}, tickvals: values.map((_, place) => place), ticktext: values.map(String),
                                    range: [-0.5, values.length - 0.5], fixedrange: true, zeroline: false, showgrid: false, ticks: "outside", ticklen: 4, tickcolor: "white"});
  const {l, r, t, b} = MARGIN;
  Plotly.newPlot(holder, empty.length ? [heat, hatched] : [heat], {
    width: Math.max(LEAST_WIDTH, l + r + CELL[0] * block.s.length), height: t + b + CELL[1] * Math.max(2, block.m.length), margin: MARGIN,
    font: FONT, paper_bgcolor: "white", plot_bgcolor: "white", showlegend: false, hovermode: "closest", barmode: "overlay",
    xaxis: axis(block.s, "nonzeros s"), yaxis: {...axis(block.m, block.m.length < 4 ? measure.rows.at(-1) : measure.rows), range: [block.m.length - 0.5, -0.5]},
  }, {displayModeBar: false});
  const cellAt = point => point.curveNumber ? empty[point.pointNumber] : panel.cells[point.pointNumber[0]][point.pointNumber[1]];
  holder.on("plotly_hover", event => pinned || drawDetails(panel, block, measure, cellAt(event.points[0])));
  holder.on("plotly_click", event => {
    pinned = !pinned;
    drawDetails(panel, block, measure, cellAt(event.points[0]));
  });
}

function drawBlock(block, state, main) {
  const measure = DATA.measures[block.task], statistic = usable(state.statistic, measure), panels = panelsOf(block, state);
  const signed = state.show === "methods" || state.show === "versions";
  for (const panel of panels) Object.assign(panel, {cells: cellsOf(panel, block, measure, statistic), statistic});
  const range = rangeOf(panels, measure, statistic, signed), colours = signed ? RED_BLUE : VIRIDIS;
  const scale = measure.higher_is_better || statistic === "exact" ? colours : [...colours].reverse();
  const holders = panels.map(() => element("div"));
  const notes = [statistic !== state.statistic ? `no threshold of exact fits on ${block.task}: the mean is shown` : "",
                 block.lacking.length ? `not run: ${block.lacking.join("; ")}` : "", panels.length ? "" : "one of the two methods was not run here"];
  main.append(element("section", {}, element("h2", {text: block.heading}), element("p", {text: caption(block, measure, statistic, signed)}),
    ...notes.filter(Boolean).map(text => element("p", {text})), colourKey(range, scale, measure, statistic, signed),
    element("div", {className: "panels"}, ...panels.map((panel, place) => element("div", {},
      element("h3", {text: panel.heading}), ...(signed ? [element("p", {text: lead(panel, measure)})] : []), holders[place])))));
  panels.forEach((panel, place) => drawPanel(holders[place], panel, block, measure, range, scale));
  return panels.map(panel => [panel, block, measure]);
}

// ---- one cell ----

function drawDetails(panel, block, measure, cell) {
  const own = places(block, cell.i, cell.j), holder = element("div");
  const number = format(cell.written, measure, panel.signed), unit = measure.unit && number ? ` ${measure.unit}` : "";
  const told = !number ? cell.why : panel.statistic === "exact" ? `${Math.round(100 * cell.colour)} % exact${panel.signed ? "" : `, median ${number}${unit}`}`
    : `${panel.statistic} ${number}${unit}`;
  const parts = panel.sides.flatMap(side => sideDetails(side, block, own, measure));
  document.getElementById("details").replaceChildren(
    element("h2", {text: `m ${block.m[cell.i]}, s ${block.s[cell.j]}`}), element("h3", {text: panel.heading}),
    element("p", {text: `${told}; ${cell.count} of ${block.seeds.length} seeds`}), holder, ...parts,
    element("p", {text: pinned ? "Held: click a cell to let go." : "Click a cell to hold it."}));
  drawCurves(holder, panel, block, own, measure);
}

/** The seeds of a cell, and how they were computed. */
function sideDetails(side, block, own, measure) {
  const header = element("tr", {}, ...["seed", measure.unit || measure.name, "status", "weights", "seconds"].map(text => element("th", {text})));
  const rows = own.map((place, seed) => element("tr", {}, ...[block.seeds[seed], digits(side.score[place]),
    DATA.statuses[side.status[place]], side.weights[place] ?? "", side.seconds[place] ?? ""].map(text => element("td", {text}))));
  const origins = [...new Set(own.map(place => side.origin[place]).filter(place => place !== null))];
  const facts = origins.flatMap(origin => Object.entries(DATA.origins[origin]).map(([name, text], place) =>
    element("tr", {className: place ? "" : "first"}, element("th", {text: name}), element("td", {text}))));
  return [element("h3", {text: side.label}), element("table", {}, header, ...rows), element("table", {}, ...facts)];
}

/** The score, step by step, of the seeds whose histories are kept; those of the second side are dashed. */
function drawCurves(holder, panel, block, own, measure) {
  const kept = panel.sides.flatMap((side, dash) => own.map((place, seed) => ({side, dash, seed, curve: DATA.curves[side.curve[place]]})))
    .filter(each => each.curve);
  if (!kept.length) return;
  const traces = kept.map(({side, dash, seed, curve}) => ({
    x: curve.step, y: curve.score, name: `seed ${block.seeds[seed]}${panel.sides.length > 1 ? `, ${["first", "second"][dash]}` : ""}`, mode: "lines+markers",
    marker: {size: 4}, line: {width: 1.6, dash: dash ? "dash" : "solid", color: LINES[(seed + 1) % LINES.length]}}));
  Plotly.newPlot(holder, traces, {
    width: 335, height: 240, margin: {l: 48, r: 8, t: 8, b: 72}, font: {...FONT, size: 11}, showlegend: true,
    legend: {orientation: "h", x: 0, yref: "container", y: 0, yanchor: "bottom"}, xaxis: {title: {text: "step of the fit", standoff: 4}},
    yaxis: {title: {text: measure.unit ? `${measure.name} (${measure.unit})` : measure.name, standoff: 4}, type: measure.scale},
  }, {displayModeBar: false});
}

// ---- the page ----

function render() {
  const state = readState(), main = document.getElementById("main"), section = DATA.sections[state.section];
  pinned = false;
  main.querySelectorAll(".js-plotly-plot").forEach(Plotly.purge);
  main.replaceChildren();
  drawSwitches(state);
  main.append(element("h2", {className: "title", text: section.title}));
  const drawn = section.blocks.flatMap(block => drawBlock(block, state, main));
  const [panel, block, measure] = drawn[0] ?? [];
  document.getElementById("details").replaceChildren(element("p", {text: "Move the pointer over a cell to see its seeds."}));
  if (panel) drawDetails(panel, block, measure, panel.cells.flat().find(cell => cell.colour !== null) ?? panel.cells[0][0]);
}

document.getElementById("summary").textContent = `${DATA.num_logs} logs, ${DATA.num_cells} cells: the score of every method `
  + "against hidden width m and nonzeros s. Point at a cell to see its seeds.";
addEventListener("hashchange", render);
render();
document.body.dataset.ready = Math.round(performance.now());  // milliseconds since the page was opened
