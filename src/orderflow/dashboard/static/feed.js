// The live connection: open while the page is visible, and reopened after an error.

import { parse } from "/static/dom.js";

const RETRY_WAIT = 3000; // ms
const MAX_SILENCE = 5000; // ms without an event after which the connection counts as lost

export class Feed {
  #source = null;
  #retry = 0;
  #lastEvent = 0; // time of the last snapshot, in ms
  #window;
  #handlers;

  // handlers: snapshot(data), history(data), state("connecting" | "live" | "lost" | "paused", seconds since the last snapshot)
  constructor(window, handlers) {
    this.#window = window;
    this.#handlers = handlers;
    document.addEventListener("visibilitychange", () => this.#visible());
    addEventListener("pagehide", () => this.#close());
    addEventListener("pageshow", (event) => event.persisted && this.#visible());
    setInterval(() => this.#check(), 1000);
    this.#visible();
  }

  set window(window) {
    this.#window = window;
    if (!document.hidden) this.#open();
  }

  #visible() {
    if (document.hidden) {
      this.#close();
      this.#handlers.state("paused", 0);
    } else {
      this.#handlers.state("connecting", 0);
      this.#open();
    }
  }

  #close() {
    clearTimeout(this.#retry);
    this.#source?.close();
    this.#source = null;
  }

  #open() {
    this.#close();
    const source = new EventSource(`/events?window=${this.#window}`);
    this.#source = source;
    source.addEventListener("snapshot", (event) => {
      this.#lastEvent = Date.now();
      this.#handlers.state("live", 0);
      this.#handlers.snapshot(parse(event.data));
    });
    source.addEventListener("history", (event) => this.#handlers.history(JSON.parse(event.data)));
    source.addEventListener("error", () => this.#failed(source));
  }

  // The browser reconnects automatically unless the server answered with an error.
  async #failed(source) {
    if (source.readyState !== EventSource.CLOSED || source !== this.#source) return;
    this.#retry = setTimeout(() => this.#open(), RETRY_WAIT);
    const response = await fetch("/", { method: "HEAD", redirect: "manual" }).catch(() => null);
    if (response?.status === 401 || response?.type === "opaqueredirect") location.assign("/login");
  }

  #check() {
    if (document.hidden || !this.#lastEvent) return;
    const silence = Date.now() - this.#lastEvent;
    if (silence > MAX_SILENCE) this.#handlers.state("lost", silence / 1000);
  }
}
