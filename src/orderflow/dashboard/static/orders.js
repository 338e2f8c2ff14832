// The latest orders, the search, and one order's story.

import { ask, byId, fill, make, set, show } from "/static/dom.js";
import { duration, moment, money, number, visible, whenPlaced } from "/static/format.js";
import { record } from "/static/records.js";

const ROWS = 20;
const COLUMNS = ["", "", "wide num", "", "wide", "wide num", "num"];

export class Orders {
  #body = byId("rows");
  #searching = false;
  #held = false;

  constructor() {
    const panel = byId("orders");
    const hold = (held) => {
      this.#held = held;
      show(byId("held"), held && !this.#searching);
    };
    // A row that moves away under the pointer, or from under the keyboard's focus, cannot be chosen.
    this.#body.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && hold(true));
    this.#body.addEventListener("pointerleave", () => hold(false));
    this.#body.addEventListener("focusin", () => hold(true));
    this.#body.addEventListener("focusout", () => hold(false));
    this.#body.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) story(button.dataset.order);
    });
    byId("search").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#search(byId("words").value.trim());
    });
    byId("back").addEventListener("click", () => this.#back());
    addEventListener("keydown", (event) => {
      const typing = event.target.closest("input, select, dialog");
      if (event.key === "/" && !typing) {
        event.preventDefault();
        byId("words").focus();
      } else if (event.key === "Escape" && this.#searching && !event.target.closest("dialog")) {
        this.#back();
        panel.focus();
      }
    });
  }

  latest(orders) {
    if (this.#searching || this.#held) return;
    this.#rows(orders, ROWS);
    show(byId("orders-empty"), orders.length === 0);
    set(byId("orders-empty"), "No order is stored yet. The first ones show here as they come.");
  }

  async #search(words) {
    if (!words) return this.#back();
    if (/^order-\d{6,44}$/i.test(words)) return story(words);
    if (!/^\d{1,44}$/.test(words)) return this.#show("Search", [], `“${words}” is neither an order id (ORDER-000123) nor a number.`);
    this.#show(`Orders found for ${visible(words)}`, [], "Searching");
    try {
      const found = await ask(`/api/search?q=${encodeURIComponent(words)}`);
      const orders = [...(found.order ? [found.order] : []), ...found.orders];
      this.#show(`Orders of number or customer ${visible(words)}`, orders, "No stored order has this number, and no customer has it either.");
    } catch (error) {
      this.#show("Search", [], error.message);
    }
  }

  #show(title, orders, otherwise) {
    this.#searching = true;
    set(byId("orders-title"), title);
    show(byId("back"), true);
    show(byId("held"), false);
    this.#rows(orders, orders.length);
    show(byId("orders-empty"), orders.length === 0);
    set(byId("orders-empty"), visible(otherwise));
  }

  #back() {
    this.#searching = false;
    byId("words").value = "";
    set(byId("orders-title"), "Latest orders");
    show(byId("back"), false);
  }

  // `least` rows are always there, so that the page below does not move while the first orders come.
  #rows(orders, least) {
    const padded = orders.length ? [...orders, ...new Array(Math.max(0, least - orders.length)).fill(null)] : [];
    fill(this.#body, padded, row, fillRow);
  }
}

function row() {
  const cells = COLUMNS.map((name) => make("td", name ? { class: name } : {}));
  cells[1].append(make("button", { type: "button", class: "link" }));
  return make("tr", {}, ...cells);
}

function fillRow(line, order) {
  const [placed, id, customer, product, category, units, total] = line.children;
  line.classList.toggle("none", order === null);
  set(placed, order ? whenPlaced(order.order_timestamp) : "");
  set(id.firstChild, order ? order.order_id : "");
  id.firstChild.dataset.order = order?.order_id ?? "";
  id.firstChild.tabIndex = order ? 0 : -1;
  set(customer, order ? String(order.customer_id) : "");
  set(product, order ? visible(order.product_name) : "");
  set(category, order ? visible(order.product_category) : "");
  set(units, order ? number(order.quantity) : "");
  set(total, order ? money(order.total_price) : "");
}

async function story(orderId) {
  const dialog = byId("story");
  set(byId("story-title"), visible(orderId));
  const body = byId("story-body");
  body.replaceChildren(make("p", { class: "muted" }, "Looking for it"));
  if (!dialog.open) dialog.showModal();
  try {
    const found = await ask(`/api/orders/${encodeURIComponent(orderId)}`);
    set(byId("story-title"), found.order_id);
    body.replaceChildren(...told(found));
  } catch (error) {
    body.replaceChildren(make("p", { class: "wrong" }, visible(error.message)));
  }
}

function told(found) {
  const { order } = found;
  const parts = order ? [timeline(found), facts(order)] : [make("p", { class: "empty" }, "No order of this id is in the table. If it was sent a moment ago, it may still wait in Kafka.")];
  parts.push(make("h3", {}, "Seen in the quarantine"));
  if (found.quarantined.length) parts.push(...found.quarantined.map((one) => record(one)));
  else parts.push(make("p", { class: "muted" }, "No record of this order is there. Repeats with the same content are counted in the ledger, not kept."));
  return parts;
}

function timeline({ order, to_kafka, to_table }) {
  const step = (name, at, after) => make("li", {}, make("b", {}, name), make("span", {}, at ? `${moment(at)} UTC` : "not known"), make("em", {}, after == null ? "" : `${duration(after)} later`));
  return make(
    "ol",
    { class: "timeline" },
    step("Placed", order.order_timestamp, null),
    step("In Kafka", order.produced_at, to_kafka),
    step("In the table", order.stored_at, to_table),
  );
}

function facts(order) {
  const where = order.offset == null ? "none: the row was not written by OrderFlow" : `partition ${order.partition}, offset ${order.offset}`;
  const pairs = [
    ["Customer", String(order.customer_id)],
    ["Product", visible(order.product_name)],
    ["Category", visible(order.product_category)],
    ["Price", `${money(order.unit_price)} × ${number(order.quantity)} = ${money(order.total_price)}`],
    ["Coordinates", where],
  ];
  return make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

byId("close").addEventListener("click", () => byId("story").close());
byId("story").addEventListener("click", (event) => event.target === event.currentTarget && event.currentTarget.close());
