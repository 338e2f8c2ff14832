// The quarantine: the records that could not be stored, with their reasons and raw bytes.

import { byId, fetchJson, make, set, show } from "/static/dom.js";
import { counted, moment, number, visible } from "/static/format.js";

const PAGE = 50;
const POLL_INTERVAL = 5000; // ms between two reads of a growing quarantine

// Creates the closed entry of a record; its content is created when it is opened.
export function record(row) {
  const summary = make(
    "summary",
    {},
    make("code", { class: "reason" }, row.reason),
    make("span", { class: "detail" }, visible(row.detail)),
    make("span", { class: "muted" }, `${moment(row.quarantined_at)} UTC`),
  );
  const node = make("details", { class: "record" }, summary);
  node.addEventListener("toggle", () => node.open && node.children.length === 1 && node.append(content(row)), { once: true });
  return node;
}

function content(row) {
  const state = row.resolved_by ? `${row.status} by ${visible(row.resolved_by)}` : row.status;
  const pairs = [
    ["Coordinates", `${visible(row.topic)}, partition ${row.partition}, offset ${row.offset}`],
    ["Status", row.resolved_at ? `${state}, ${moment(row.resolved_at)} UTC` : state],
    ["Why", visible(row.detail)],
    ["Key", row.key === null ? "none" : text(bytes(row.key))],
  ];
  const facts = make("dl", { class: "facts" }, ...pairs.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
  if (row.value === null) return make("div", {}, facts, make("p", { class: "muted" }, "The record has no value."));
  const value = bytes(row.value);
  const raw = make("pre", { tabindex: "0", "aria-label": "Raw value" }, text(value));
  const toggle = make("button", { type: "button", class: "quiet" }, "Show as hex");
  toggle.addEventListener("click", () => {
    const asHex = toggle.textContent === "Show as hex";
    set(raw, asHex ? hex(value) : text(value));
    set(toggle, asHex ? "Show as text" : "Show as hex");
  });
  const size = value.length < row.value_bytes ? `first ${number(value.length)} of ${counted(row.value_bytes, "byte")}` : counted(row.value_bytes, "byte");
  return make("div", {}, facts, make("p", { class: "raw" }, `Raw value, ${size} `, toggle), raw);
}

const bytes = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

// Bytes that are not UTF-8 are shown as U+FFFD; the hex view shows their values.
const text = (value) => visible(new TextDecoder().decode(value));

function hex(value) {
  const lines = [];
  for (let start = 0; start < value.length; start += 16) {
    const row = [...value.subarray(start, start + 16)];
    const chars = row.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    lines.push(`${start.toString(16).padStart(4, "0")}  ${row.map((byte) => byte.toString(16).padStart(2, "0")).join(" ").padEnd(47)}  ${chars}`);
  }
  return lines.join("\n");
}

export class Records {
  #list = byId("records");
  #reason = byId("reason");
  #before = null; // null: the newest page, which is updated
  #seen = null; // number of quarantined records when the page was read
  #read = 0; // time of the last read, in ms
  #last = null; // id of the last record on the page

  constructor() {
    this.#reason.addEventListener("change", () => this.#page(null));
    byId("older").addEventListener("click", () => this.#page(this.#last));
    byId("newest").addEventListener("click", () => this.#page(null));
  }

  // Called with each snapshot. Reads only if there are new records and no record is open.
  follow(quarantined, byReason) {
    this.#reasons(byReason);
    const open = this.#list.querySelector("details[open]");
    if (this.#before === null && quarantined !== this.#seen && !open && Date.now() - this.#read > POLL_INTERVAL) {
      this.#seen = quarantined;
      this.#page(null);
    }
  }

  async #page(before) {
    this.#before = before;
    this.#read = Date.now();
    const wanted = new URLSearchParams({ reason: this.#reason.value, before: before ?? "" });
    try {
      const found = await fetchJson(`/api/quarantine?${wanted}`);
      this.#last = found.at(-1)?.quarantine_id ?? null;
      this.#list.replaceChildren(...found.map((row) => record(row)));
      show(byId("older"), found.length === PAGE);
      show(byId("newest"), before !== null);
      set(byId("records-empty"), found.length ? "" : "No records in the quarantine.");
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
      wanted.forEach(([, label], at) => set(options[at], label));
      return;
    }
    options.forEach((option) => option.remove());
    this.#reason.append(...wanted.map(([value, label]) => make("option", { value }, label)));
    this.#reason.value = chosen;
  }
}
