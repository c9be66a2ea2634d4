// Words for people: times, amounts, and foreign text made safe to look at. No document here, so that
// these run under Node too.

// What steers a terminal, turns the direction of text, or cannot be seen: controls (but tab and new
// line), marks, embeddings, overrides and isolates of direction, invisible characters, tags, and
// halves of surrogate pairs. Joiners (U+200C, U+200D) stay: scripts and emoji need them.
const HIDDEN =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;
const ANY_HIDDEN = new RegExp(HIDDEN.source, "u");

function nameOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Foreign text as pieces: what can be shown as it is, and names of characters that cannot. */
export function pieces(text) {
  const found = [];
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > from) found.push({ text: text.slice(from, match.index), hidden: false });
    found.push({ text: nameOf(match[0]), hidden: true });
    from = match.index + match[0].length;
  }
  if (from < text.length) found.push({ text: text.slice(from), hidden: false });
  return found;
}

/** Whether a text has a character that must not be shown as it is. */
export function hasHidden(text) {
  return ANY_HIDDEN.test(text);
}

/** Foreign text as one string, for places that take no elements (tooltips, names, the canvas). */
export function visible(text) {
  return hasHidden(text) ? pieces(text).map((p) => (p.hidden ? `\u27e8${p.text}\u27e9` : p.text)).join("") : text;
}

/** Foreign text on one line, at most `max` characters. */
export function oneLine(text, max = 400) {
  const line = text.length > max * 2 ? text.slice(0, max * 2) : text;
  const flat = line.replace(/\s*\r?\n\s*/g, " \u23ce ").replace(/\t/g, " ").trim();
  return flat.length > max ? `${flat.slice(0, max)}\u2026` : flat;
}

/** A length of time: `340 ms`, `4.2 s`, `3 m 20 s`, `2 h 5 m`, `3 d 4 h`. */
export function span(ms) {
  if (ms == null || Number.isNaN(ms)) return "";
  const t = Math.max(0, ms);
  if (t < 1) return t === 0 ? "0 ms" : `${t.toFixed(2)} ms`;
  if (t < 10 && t % 1) return `${t.toFixed(1)} ms`;
  if (t < 1000) return `${Math.round(t)} ms`;
  if (t < 10_000) return `${(Math.floor(t / 100) / 10).toFixed(1)} s`;
  const s = Math.floor(t / 1000);
  if (s < 60) return `${s} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return s % 60 ? `${m} m ${s % 60} s` : `${m} m`;
  const h = Math.floor(m / 60);
  if (h < 48) return m % 60 ? `${h} h ${m % 60} m` : `${h} h`;
  const d = Math.floor(h / 24);
  return h % 24 ? `${d} d ${h % 24} h` : `${d} d`;
}

/** How long ago, in whole seconds: steady to look at. */
export function age(ms) {
  if (ms == null || Number.isNaN(ms)) return "";
  const seconds = Math.floor(Math.max(0, ms) / 1000);
  return seconds < 60 ? `${seconds} s` : span(seconds * 1000);
}

/** A whole number with thin spaces between thousands. */
export function count(n) {
  if (n == null) return "";
  return String(n).replace(/\B(?=(\d{3})+(?!\d))/g, "\u2009");
}

/** A large number in three digits: `812`, `1.24 k`, `56 M`. */
export function amount(n) {
  if (n == null) return "";
  if (n < 1000) return String(n);
  for (const [size, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (n >= size) {
      const v = n / size;
      return `${v >= 100 ? Math.floor(v) : v >= 10 ? Math.floor(v * 10) / 10 : Math.floor(v * 100) / 100}\u2009${unit}`;
    }
  }
  return String(n);
}

/** Millionths of the host's currency as an amount. */
export function cost(micros) {
  return micros ? (micros / 1e6).toFixed(micros < 10_000 ? 4 : 2) : "";
}

const pad = (n, digits = 2) => String(n).padStart(digits, "0");

/** Local time of day with milliseconds. */
export function clock(ms, milliseconds = true) {
  if (ms == null) return "";
  const at = new Date(ms);
  const day = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return milliseconds ? `${day}.${pad(at.getMilliseconds(), 3)}` : day;
}

/** Local date and time. */
export function date(ms) {
  if (ms == null) return "";
  const at = new Date(ms);
  return `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${clock(ms, false)}`;
}

/** The end of an id: its random part, where ids that were made together differ. */
export function shortId(id) {
  return id ? `\u2026${id.slice(-8)}` : "";
}

/** A wire name for people: `pending_init` is `pending init`. */
export function words(name) {
  return String(name).replaceAll("_", " ");
}

/** A number of which those near the largest of 32 bits are what is left of no limit. */
export function orUnlimited(n) {
  return n >= 0xffff_0000 ? "unlimited" : count(n);
}

/** `1 thread`, `2 threads`. */
export function plural(n, one, many = `${one}s`) {
  return `${count(n)} ${n === 1 ? one : many}`;
}
