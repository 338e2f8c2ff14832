// The overview: the state of the servers, the current figures and those of today, the side panels.

import { byId, fill, make, set, show } from "/static/dom.js";
import { counted, date, duration, moment, money, number, rate, share, timeOfDay, visible, whenPlaced } from "/static/format.js";

const STATES = { ok: "available", unknown: "checking", waiting: "waiting", unavailable: "unavailable" };

export function overview(snapshot) {
  part("kafka", snapshot.kafka);
  part("sink", snapshot.sink);
  part("database", snapshot.database);
  set(byId("sink").querySelector(".log-line"), snapshot.sink_log_line ? `Last log line: ${visible(snapshot.sink_log_line)}` : "");
  set(byId("per-second"), rate(snapshot.stored_per_second));
  if (!snapshot.status || !snapshot.today) return; // no values yet
  account(snapshot.status);
  latency(snapshot.latency, snapshot.at);
  today(snapshot.today);
  quarantine(snapshot.status);
  products(snapshot.products);
  audit(snapshot.audit, snapshot.at);
}

// A long number gets a smaller font, so that it is never cut off.
function big(id, text) {
  set(byId(id), text);
  byId(id).style.setProperty("--signs", Math.max(9, text.length));
}

function part(id, found) {
  const node = byId(id);
  node.dataset.state = found.state;
  set(node.querySelector("p"), visible([found.sentence, found.hint].filter(Boolean).join(" ")));
  node.setAttribute("aria-label", `${node.querySelector("h2").textContent}: ${STATES[found.state]}`);
}

function account(status) {
  set(byId("topic"), `topic ${visible(status.topic)}`);
  big("lag", number(status.lag));
  set(byId("lag-note"), visible(status.lag_unknown_because ?? "waiting in Kafka"));
  for (const [id, value] of [
    ["stored", status.stored],
    ["duplicates", status.duplicates],
    ["quarantined", status.quarantined],
    ["unknown", status.unknown_fields],
  ])
    set(byId(id), number(value));
  const at = status.updated_at;
  set(byId("updated-at"), at ? `Since the ledger's start; last updated at ${timeOfDay(at)} UTC, ${date(at)}.` : "Nothing yet.");
  const row = () => make("tr", {}, make("th", { scope: "row" }), make("td", { class: "num" }), make("td", { class: "num" }));
  fill(byId("partitions"), status.partitions, row, (line, partition) => {
    set(line.children[0], String(partition.partition));
    set(line.children[1], number(partition.next_offset));
    set(line.children[2], number(partition.lag));
  });
}

function latency(found, now) {
  show(byId("p50").nextElementSibling, found !== null);
  set(byId("p50"), found ? duration(found.p50) : "–");
  if (!found) return set(byId("p99"), "no recent order");
  const age = (Date.parse(now) - Date.parse(found.stored_at)) / 1000;
  set(byId("p99"), `p99 ${duration(found.p99)}${age > 60 ? `, ${duration(age)} ago` : ` · of ${number(found.orders)}`}`);
}

function today(sales) {
  big("today-orders", number(sales.orders));
  set(byId("today-units"), counted(sales.units, "unit"));
  big("today-revenue", money(sales.revenue));
  set(byId("today-span"), `${date(sales.since)}, UTC`);
}

function quarantine(status) {
  const reasons = Object.entries(status.open_by_reason);
  const open = reasons.reduce((sum, [, count]) => sum + count, 0);
  big("open", number(open));
  set(byId("open-note"), reasons.length ? `mostly ${reasons[0][0]}` : "no open records");
  byId("open").classList.toggle("warn", open > 0);
  const pairs = reasons.flatMap(([reason, count]) => [reason, number(count)]);
  show(byId("reasons-empty"), open === 0);
  fill(byId("reasons"), pairs, () => make(byId("reasons").children.length % 2 ? "dd" : "dt"), (node, text) => set(node, text));
}

function audit(found, now) {
  const node = byId("audit");
  const [sentence, note] = node.querySelectorAll("p");
  node.dataset.state = found ? (found.proven ? "proven" : "failed") : "none";
  set(sentence, found ? visible(found.sentence) : "None yet.");
  if (!found) return set(note, "`orderflow audit` reads the topic again and accounts for every record.");
  const age = (Date.parse(now) - Date.parse(found.audited_at)) / 1000;
  const what = found.proven ? "" : " `orderflow audit` lists what it finds.";
  set(note, `${moment(found.audited_at)} UTC, ${duration(Math.max(0, age))} ago.${what}`);
}

function products(sales) {
  const leading = sales?.leading ?? [];
  const most = Math.max(1, ...leading.map((product) => product.units));
  const row = () => make("li", {}, make("span"), make("b"), make("meter", { min: "0", max: "1" }));
  fill(byId("products"), leading, row, (line, product) => {
    set(line.children[0], visible(product.name));
    set(line.children[1], counted(product.units, "unit"));
    line.children[2].value = product.units / most;
    line.children[2].setAttribute("aria-label", `${share(product.units / most)} of the best seller`);
  });
  set(byId("products-span"), sales ? `Among the latest ${counted(sales.orders, "order")}, since ${whenPlaced(sales.since)} UTC.` : "No order yet.");
}
