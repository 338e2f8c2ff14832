// The latest orders, the search, and the details of one order.

import { byId, fetchJson, fill, make, set, show } from "/static/dom.js";
import { duration, moment, money, number, visible, whenPlaced } from "/static/format.js";
import { record } from "/static/records.js";

const ROWS = 20;
const COLUMNS = ["", "", "wide num", "product", "wide category", "wide num", "num"];
const MAX_SHOWN_CHARACTERS = 2000; // of a value

export class Orders {
  #body = byId("rows");
  #isSearching = false;
  #isPaused = false;

  constructor() {
    const panel = byId("orders");
    const pause = (isPaused) => {
      this.#isPaused = isPaused;
      show(byId("paused"), isPaused && !this.#isSearching);
    };
    // Rows do not move while they have the pointer or the focus, so that they can be selected.
    this.#body.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && pause(true));
    this.#body.addEventListener("pointerleave", () => pause(false));
    this.#body.addEventListener("focusin", () => pause(true));
    this.#body.addEventListener("focusout", () => pause(false));
    this.#body.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) showOrder(button.dataset.order);
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
      } else if (event.key === "Escape" && this.#isSearching && !event.target.closest("dialog")) {
        this.#back();
        panel.focus();
      }
    });
  }

  latest(orders) {
    if (this.#isSearching || this.#isPaused) return;
    this.#rows(orders, ROWS);
    show(byId("orders-empty"), orders.length === 0);
    set(byId("orders-empty"), "No order is stored yet. New orders appear here.");
  }

  async #search(words) {
    if (!words) return this.#back();
    try {
      const found = await fetchJson(`/api/search?q=${encodeURIComponent(words)}`);
      if (found.order_id && !found.orders.length) return showOrder(found.order_id);
      const orders = [...(found.order ? [found.order] : []), ...found.orders];
      this.#show(`Orders of id or customer ${visible(words)}`, orders, "No stored order and no customer has this id.");
    } catch (error) {
      this.#show("Search", [], error.message);
    }
  }

  #show(title, orders, emptyText) {
    this.#isSearching = true;
    set(byId("orders-title"), title);
    show(byId("back"), true);
    show(byId("paused"), false);
    this.#rows(orders, orders.length);
    show(byId("orders-empty"), orders.length === 0);
    set(byId("orders-empty"), visible(emptyText));
  }

  #back() {
    this.#isSearching = false;
    byId("words").value = "";
    set(byId("orders-title"), "Latest orders");
    show(byId("back"), false);
  }

  // Fills up to `minimum` rows with empty ones, so that the page below does not move when the first orders arrive.
  #rows(orders, minimum) {
    const padded = orders.length ? [...orders, ...new Array(Math.max(0, minimum - orders.length)).fill(null)] : [];
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
  set(customer, order ? visible(order.customer_id) : "");
  set(product, order ? visible(order.product_name) : "");
  set(category, order ? visible(order.product_category) : "");
  set(units, order ? number(order.quantity) : "");
  set(total, order ? money(order.total_price) : "");
}

async function showOrder(orderId) {
  const dialog = byId("order-details");
  set(byId("order-details-title"), visible(orderId));
  const body = byId("order-details-body");
  body.replaceChildren(make("p", { class: "muted" }, "Loading"));
  if (!dialog.open) dialog.showModal();
  try {
    const found = await fetchJson(`/api/orders/${encodeURIComponent(orderId)}`);
    set(byId("order-details-title"), found.order_id);
    body.replaceChildren(...details(found));
  } catch (error) {
    body.replaceChildren(make("p", { class: "wrong" }, visible(error.message)));
  }
}

function details(found) {
  const { order } = found;
  const parts = order ? [timeline(found), facts(order)] : [make("p", { class: "empty" }, "No order of this id is in the table. If it was sent a moment ago, it may still wait in Kafka.")];
  parts.push(make("h3", {}, "Records in the quarantine"));
  if (found.quarantined.length) parts.push(...found.quarantined.map((row) => record(row)));
  else parts.push(make("p", { class: "muted" }, "The quarantine has no record of this order. Repeats with the same content are only counted in the ledger."));
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
  const coordinates = order.offset == null ? "none: the row was not written by OrderFlow" : `partition ${order.partition}, offset ${order.offset}`;
  const pairs = [
    ["Customer", visible(order.customer_id)],
    ["Product", visible(order.product_name)],
    ["Category", visible(order.product_category)],
    ["Price", `${money(order.unit_price)} × ${number(order.quantity)} = ${money(order.total_price)}`],
    ...Object.entries(order.custom_fields ?? {}).map(([name, value]) => [name, customValue(value)]),
    ["Coordinates", coordinates],
  ];
  return make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

// The value of a custom field. Times are ISO texts, amounts are texts with all their digits.
function customValue(value) {
  if (value == null) return "–";
  const text = String(value);
  return visible(text.length > MAX_SHOWN_CHARACTERS ? `${text.slice(0, MAX_SHOWN_CHARACTERS)}…` : text);
}

byId("close").addEventListener("click", () => byId("order-details").close());
byId("order-details").addEventListener("click", (event) => event.target === event.currentTarget && event.currentTarget.close());
