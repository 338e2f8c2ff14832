// The charts: stacked bars by category over the window, and a line of the rates of the last two minutes.

import uPlot from "/static/uplot/uPlot.esm.js";
import { byId, fill, make, set, show } from "/static/dom.js";
import { compact, counted, date, hourOf, money, rate, visible } from "/static/format.js";

const COLORS = 8; // --c0 … --c7 in style.css; the last color is for all other categories
const OTHER = "Other categories";
const MIN_SECONDS = 15; // minimum duration of an interval whose rate is shown

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Converts a history to columns: the middles of the intervals and, for each category in alphabetical order, orders per
// second and revenue per minute. The current interval is divided by its elapsed seconds, and is 0 before MIN_SECONDS.
function columns(history) {
  const { since, until } = history.sales;
  const start = Date.parse(since) / 1000;
  const count = Math.round((Date.parse(until) / 1000 - start) / history.step);
  const now = Date.parse(history.at) / 1000;
  const starts = Array.from({ length: count }, (_, index) => start + index * history.step);
  const elapsed = starts.map((at) => (now - at < MIN_SECONDS ? Infinity : Math.min(history.step, now - at)));
  const names = history.sales.leading.map((category) => category.name).sort();
  if (history.buckets.some((bucket) => bucket.category === null)) names.push(null);
  const empty = () => names.map(() => new Array(count).fill(0));
  const [orders, revenue] = [empty(), empty()];
  for (const bucket of history.buckets) {
    const index = Math.round((Date.parse(bucket.start) / 1000 - start) / history.step);
    const row = names.indexOf(bucket.category);
    orders[row][index] = bucket.orders / elapsed[index];
    revenue[row][index] = (Number(bucket.revenue) / elapsed[index]) * 60; // rounded; only the sums are exact
  }
  return { names, starts, middles: starts.map((at) => at + history.step / 2), orders, revenue };
}

const colorOf = (names, row) => color(`--c${names[row] === null ? COLORS - 1 : row}`);

class Bars {
  #plot = null;
  #target;
  #output;
  #text;
  #shape = "";
  #totals = [];
  #starts = [];

  constructor(target, output, text) {
    this.#target = target;
    this.#output = output;
    this.#text = text;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(target);
  }

  #size() {
    return { width: this.#target.clientWidth, height: this.#target.clientHeight };
  }

  draw(names, starts, middles, rows) {
    // Drawn from the highest stack to the lowest, so that each category shows only its own part.
    const stacks = [];
    rows.reduce((below, row) => (stacks.unshift(row.map((value, at) => value + below[at])), stacks[0]), middles.map(() => 0));
    this.#totals = stacks[0] ?? [];
    this.#starts = starts;
    const shape = JSON.stringify([names, document.documentElement.dataset.theme]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#plot?.destroy();
      this.#plot = new uPlot(this.#options(names), [middles, ...stacks], this.#target);
    } else {
      this.#plot.setData([middles, ...stacks]);
    }
    this.#point(null);
  }

  #options(names) {
    const axis = {
      stroke: color("--muted"),
      grid: { stroke: color("--line"), width: 1 },
      ticks: { show: false },
      font: `12px ${color("--font")}`,
    };
    const bars = uPlot.paths.bars({ size: [0.82, 28], radius: 0 });
    const series = names.map((_, row) => ({ fill: colorOf(names, row), width: 0, paths: bars, points: { show: false } }));
    return {
      ...this.#size(),
      padding: [8, 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
      scales: { x: { time: true, range: (_, least, most) => [least - this.#half(), most + this.#half()] }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.08 : 1] } },
      axes: [
        { ...axis, size: 30, values: (_, ticks) => ticks.map(hourOf), space: 64 },
        { ...axis, size: 52, values: (_, ticks) => ticks.map(compact), space: 36 },
      ],
      series: [{}, ...series.reverse()],
      hooks: { setCursor: [(plot) => this.#point(plot.cursor.idx)] },
    };
  }

  #half() {
    return this.#starts.length > 1 ? (this.#starts[1] - this.#starts[0]) / 2 : 30;
  }

  // Shows the value at the pointer. Without a pointer it shows the highest value, so that the line is never empty.
  #point(index) {
    if (!this.#totals.length) return set(this.#output, "");
    const at = index ?? this.#totals.indexOf(Math.max(...this.#totals));
    const text = `${hourOf(this.#starts[at])} · ${this.#text(this.#totals[at])}`;
    set(this.#output, index == null ? `highest ${text}` : text);
  }
}

export class Flow {
  #orders = new Bars(byId("orders-chart"), byId("orders-at"), rate);
  #revenue = new Bars(byId("revenue-chart"), byId("revenue-at"), compact);
  #history = null;

  constructor() {
    addEventListener("themechange", () => this.#history && this.draw(this.#history));
  }

  draw(history) {
    this.#history = history;
    const { names, starts, middles, orders, revenue } = columns(history);
    this.#orders.draw(names, starts, middles, orders);
    this.#revenue.draw(names, starts, middles, revenue);
    const { sales } = history;
    show(byId("flow-empty"), sales.orders === 0);
    set(byId("flow-empty"), "No order was placed in this window.");
    set(byId("flow-sum"), `${counted(sales.orders, "order")}, revenue ${money(sales.revenue)}, placed since ${hourOf(starts[0])} UTC (${date(sales.since)}).`);
    this.#legend(names, sales);
  }

  #legend(names, sales) {
    const byName = new Map(sales.leading.map((category) => [category.name, category]));
    const item = () => make("li", {}, make("i"), make("span"), make("b"));
    fill(byId("legend"), names, item, (line, name) => {
      line.children[0].style.background = colorOf(names, names.indexOf(name));
      set(line.children[1], name === null ? OTHER : visible(name));
      set(line.children[2], name === null ? "" : money(byName.get(name).revenue));
    });
  }
}

export class Spark {
  #plot = null;
  #target = byId("rates");
  #rates = [];

  constructor() {
    addEventListener("themechange", () => {
      this.#plot?.destroy();
      this.#plot = null;
      this.draw(this.#rates);
    });
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(this.#target);
  }

  #size() {
    return { width: this.#target.clientWidth, height: this.#target.clientHeight };
  }

  draw(rates) {
    this.#rates = rates;
    const data = [Array.from({ length: 120 }, (_, at) => at), [...new Array(120 - rates.length).fill(null), ...rates]];
    if (this.#plot) return this.#plot.setData(data);
    const accent = color("--accent");
    const options = {
      ...this.#size(),
      padding: [2, 0, 2, 0],
      legend: { show: false },
      cursor: { show: false },
      axes: [{ show: false }, { show: false }],
      scales: { x: { time: false }, y: { range: (_, __, most) => [0, most > 0 ? most * 1.1 : 1] } },
      series: [{}, { stroke: accent, width: 1.5, fill: `${accent}22`, points: { show: false } }],
    };
    this.#plot = new uPlot(options, data, this.#target);
  }
}
