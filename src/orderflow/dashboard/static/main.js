// The page: connects the live connection to the parts of the page.

import { Flow, Spark } from "/static/charts.js";
import { byId, set, show } from "/static/dom.js";
import { Feed } from "/static/feed.js";
import { duration, timeOfDay } from "/static/format.js";
import { Orders } from "/static/orders.js";
import { overview } from "/static/overview.js";
import { Records } from "/static/records.js";

const STALE = 6; // seconds after which the values count as outdated

const flow = new Flow();
const spark = new Spark();
const orders = new Orders();
const records = new Records();
const connection = byId("connection");

function snapshot(found) {
  document.body.classList.toggle("no-categories", !found.has_categories);
  document.body.classList.toggle("no-products", !found.has_products);
  overview(found);
  spark.draw(found.rates);
  if (found.read_at) orders.latest(found.latest);
  if (found.status) records.follow(found.status.quarantined, found.status.open_by_reason);
  const age = found.read_at ? (Date.parse(found.at) - Date.parse(found.read_at)) / 1000 : 0;
  notice(age > STALE ? `MySQL was last read ${duration(age)} ago, at ${timeOfDay(found.read_at)} UTC. The page shows the values of that time.` : "");
}

function state(name, silence) {
  connection.dataset.state = name;
  const labels = { connecting: "Connecting", live: "Live", lost: "Connection lost", paused: "Paused" };
  set(connection, labels[name]);
  if (name === "lost") notice(`The dashboard's server has sent nothing for ${duration(silence)}. Reconnecting; the page shows the last values.`);
}

function notice(text) {
  set(byId("notice"), text);
  show(byId("notice"), text !== "");
  document.body.classList.toggle("stale", text !== "");
}

const chosen = () => document.querySelector("#windows input:checked").value;
const feed = new Feed(chosen(), { snapshot, state, history: (found) => found.window === chosen() && flow.draw(found) });
byId("windows").addEventListener("change", () => (feed.window = chosen()));
