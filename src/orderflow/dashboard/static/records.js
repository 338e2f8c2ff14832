// The quarantine: what could not be stored, why, and the bytes as they came.

import { ask, byId, make, set, show } from "/static/dom.js";
import { moment, number, visible } from "/static/format.js";

const PAGE = 50;
const LOOK = 5000; // ms between two looks at a quarantine that grows

// One record, closed; its bytes are read when it is opened.
export function record(one) {
  const summary = make(
    "summary",
    {},
    make("code", { class: "reason" }, one.reason),
    make("span", { class: "detail" }, visible(one.detail)),
    make("span", { class: "muted" }, `${moment(one.quarantined_at)} UTC`),
  );
  const node = make("details", { class: "record" }, summary);
  node.addEventListener("toggle", () => node.open && node.children.length === 1 && node.append(inside(one)), { once: true });
  return node;
}

function inside(one) {
  const state = one.resolved_by ? `${one.status} by ${visible(one.resolved_by)}` : one.status;
  const pairs = [
    ["Coordinates", `${visible(one.topic)}, partition ${one.partition}, offset ${one.offset}`],
    ["Status", one.resolved_at ? `${state}, ${moment(one.resolved_at)} UTC` : state],
    ["Why", visible(one.detail)],
    ["Key", one.key === null ? "none" : text(bytes(one.key))],
  ];
  const facts = make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  if (one.value === null) return make("div", {}, facts, make("p", { class: "muted" }, "The record has no value."));
  const value = bytes(one.value);
  const raw = make("pre", { tabindex: "0", "aria-label": "Raw value" }, text(value));
  const toggle = make("button", { type: "button", class: "quiet" }, "Show as hex");
  toggle.addEventListener("click", () => {
    const asHex = toggle.textContent === "Show as hex";
    set(raw, asHex ? hex(value) : text(value));
    set(toggle, asHex ? "Show as text" : "Show as hex");
  });
  const size = value.length < one.value_bytes ? `first ${number(value.length)} of ${number(one.value_bytes)} bytes` : `${number(one.value_bytes)} bytes`;
  return make("div", {}, facts, make("p", { class: "raw" }, `Raw value, ${size} `, toggle), raw);
}

const bytes = (base64) => Uint8Array.from(atob(base64), (sign) => sign.charCodeAt(0));

// Bytes that are no UTF-8 show as the replacement sign; hex shows what they are.
const text = (value) => visible(new TextDecoder().decode(value));

function hex(value) {
  const lines = [];
  for (let start = 0; start < value.length; start += 16) {
    const some = [...value.subarray(start, start + 16)];
    const signs = some.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${start.toString(16).padStart(4, "0")}  ${some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47)}  ${signs}`);
  }
  return lines.join("\n");
}

export class Records {
  #list = byId("records");
  #reason = byId("reason");
  #before = null; // null: the newest page, which follows what comes
  #seen = null; // how many were quarantined when the page was read
  #read = 0; // when it was read
  #last = null; // id of the last one on the page

  constructor() {
    this.#reason.addEventListener("change", () => this.#page(null));
    byId("older").addEventListener("click", () => this.#page(this.#last));
    byId("newest").addEventListener("click", () => this.#page(null));
  }

  // Called with each snapshot; reads only if there is something new and nobody reads a record.
  follow(quarantined, byReason) {
    this.#reasons(byReason);
    const open = this.#list.querySelector("details[open]");
    if (this.#before === null && quarantined !== this.#seen && !open && Date.now() - this.#read > LOOK) {
      this.#seen = quarantined;
      this.#page(null);
    }
  }

  async #page(before) {
    this.#before = before;
    this.#read = Date.now();
    const wanted = new URLSearchParams({ reason: this.#reason.value, before: before ?? "" });
    try {
      const found = await ask(`/api/quarantine?${wanted}`);
      this.#last = found.at(-1)?.quarantine_id ?? null;
      this.#list.replaceChildren(...found.map((one) => record(one)));
      show(byId("older"), found.length === PAGE);
      show(byId("newest"), before !== null);
      set(byId("records-empty"), found.length ? "" : "Nothing here: every record that came was an order.");
    } catch (error) {
      this.#list.replaceChildren();
      set(byId("records-empty"), visible(error.message));
      this.#seen = null;
    }
  }

  #reasons(byReason) {
    const wanted = Object.entries(byReason).map(([reason, count]) => [reason, `${reason} (${number(count)} open)`]);
    const chosen = this.#reason.value;
    if (chosen && !byReason[chosen]) wanted.push([chosen, `${chosen} (none open)`]);
    const options = [...this.#reason.options].slice(1);
    if (wanted.length === options.length && wanted.every(([value], at) => options[at].value === value)) {
      wanted.forEach(([, told], at) => set(options[at], told));
      return;
    }
    options.forEach((option) => option.remove());
    this.#reason.append(...wanted.map(([value, told]) => make("option", { value }, told)));
    this.#reason.value = chosen;
  }
}
