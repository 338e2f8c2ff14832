// Numbers and times in the browser's locale. Amounts stay strings, because Intl formats strings exactly.

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const cents = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumSignificantDigits: 3 });
const percent = new Intl.NumberFormat(undefined, { style: "percent", maximumFractionDigits: 0 });

const utc = (options) => new Intl.DateTimeFormat(undefined, { timeZone: "UTC", ...options });
const clock = utc({ hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const hour = utc({ hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = utc({ dateStyle: "medium" });
const full = utc({ dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" });

export const number = (value) => (value == null ? "–" : whole.format(value));
export const counted = (value, noun) => `${number(value)} ${noun}${Number(value) === 1 ? "" : "s"}`;
export const money = (text) => (text == null ? "–" : cents.format(text));
export const compact = (value) => short.format(value);
export const share = (value) => percent.format(value);
export const rate = (value) => (value == null ? "–" : (value < 100 ? tenth : whole).format(value));

export const timeOfDay = (iso) => clock.format(new Date(iso));
export const hourOf = (seconds) => hour.format(new Date(seconds * 1000));
export const date = (iso) => day.format(new Date(iso));
export const moment = (iso) => full.format(new Date(iso));

const today = (iso) => new Date(iso).toISOString().slice(0, 10) === new Date().toISOString().slice(0, 10);
export const whenPlaced = (iso) => (today(iso) ? timeOfDay(iso) : date(iso));

export function duration(seconds) {
  if (seconds == null) return "–";
  const size = Math.abs(seconds);
  if (size < 1) return `${whole.format(seconds * 1000)} ms`;
  if (size < 60) return `${tenth.format(seconds)} s`;
  if (size < 3600) return `${whole.format(seconds / 60)} min`;
  if (size < 172800) return `${tenth.format(seconds / 3600)} h`;
  return `${whole.format(seconds / 86400)} d`;
}

// Escapes invisible characters (control, bidirectional and others) in foreign text, like the terminal commands.
export const visible = (text) =>
  String(text).replace(/[\p{C}\p{Z}]/gu, (char) => (char === " " ? char : `\\u{${char.codePointAt(0).toString(16)}}`));
