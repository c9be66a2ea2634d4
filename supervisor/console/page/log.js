// The view of facts as they happen: filters at the source, a text filter here, pause and download.

import { fill, foreign, h, setAttr, setForeign, setText } from "./dom.js";
import { EPHEMERAL, KINDS, KIND_OF, describe, factOf, toneOf } from "./facts.js";
import { nameOf, windowOf } from "./model.js";
import { Ring } from "./ring.js";
import { clock, count, plural } from "./text.js";

const ROW_PX = 24;
/** Facts that are kept in this page. */
export const KEPT_MAX = 20_000;
/** How many facts back the first look begins. */
const BACK = 5000;
/** What streams in is drawn this often, in ms. */
const DRAW_MS = 250;
/** Of deltas, every n-th. */
const DELTA_SAMPLE = 10;

/** What the stream is asked for. */
export function queryOf({ kinds, lifecycle, subtree, from = null }) {
  const query = new URLSearchParams();
  if (kinds.size && kinds.size < KINDS.length) query.set("kind", KINDS.filter((kind) => kinds.has(kind)).join(","));
  if (lifecycle) query.set("lifecycle", "true");
  else if (!kinds.size || kinds.has("delta")) query.set("sample", String(DELTA_SAMPLE));
  if (subtree) query.set("subtree", subtree);
  if (from !== null) query.set("from", String(from));
  const text = query.toString();
  return text ? `/api/events?${text}` : "/api/events";
}

export class LogView {
  constructor(app) {
    this.app = app;
    this.filter = { kinds: new Set(), lifecycle: true, subtree: null };
    this.ring = new Ring(KEPT_MAX);
    this.found = new Ring(KEPT_MAX);
    this.needle = "";
    this.frozen = null;
    this.fresh = 0;
    this.lastSeq = 0;
    this.lastId = null; // of the last fact that was told
    this.place = null; // how far the stream was when it was left
    this.seen = 0;
    this.repeats = 0;
    this.chosen = null;
    this.follow = true;
    this.stream = null;
    this.rows = [];

    this.search = h("input.search", {
      type: "search", placeholder: "Filter what is shown", "aria-label": "Filter facts by text (press /)", autocomplete: "off", spellcheck: "false",
      oninput: () => this.#refind(),
    });
    this.lifecycleBox = h("input", { type: "checkbox", checked: true, onchange: () => this.#set({ lifecycle: this.lifecycleBox.checked }) });
    this.scope = h("button.chip", { type: "button", hidden: true, title: "Show facts of all threads", onclick: () => this.#set({ subtree: null }) });
    this.pauseButton = h("button", { type: "button", "aria-pressed": "false", title: "Pause (space)", onclick: () => this.pause() }, "Pause");
    this.kindChips = h("div.chips", { role: "group", "aria-label": "Kinds of facts, filtered where they are told" }, ...KINDS.map((kind) =>
      h("button.chip", { type: "button", "aria-pressed": "false", dataset: { kind }, onclick: () => this.#toggleKind(kind) }, kind)));
    this.state = h("span.muted");
    this.sheet = h("div.sheet", { role: "presentation" });
    this.body = h("div.rows", { role: "rowgroup" }, this.sheet);
    this.scroller = h("div.log", { role: "table", "aria-label": "Facts, oldest first", tabindex: "0" }, this.body);
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    this.scroller.addEventListener("keydown", (event) => this.#rowKey(event));
    new ResizeObserver(() => this.#touch()).observe(this.scroller);
    this.tail = h("button.tail", { type: "button", hidden: true, onclick: () => this.#toEnd() }, "Newest \u2193");
    this.detail = h("pre.detail", { hidden: true, tabindex: "0", "aria-label": "The fact as JSON" });
    this.empty = h("p.empty", { role: "status" });
    this.element = h("section.view.logview", { "aria-label": "Event log", hidden: true },
      h("div.bar", {}, this.search, h("label.check", { title: "Only what the journal keeps: such facts survive a reconnect" }, this.lifecycleBox, " lifecycle only"), this.scope,
        h("span.grow"), this.state, this.pauseButton,
        h("button", { type: "button", onclick: () => this.#download(), title: "What matches, one JSON object a line" }, "Download"),
        h("button", { type: "button", onclick: () => this.#clear() }, "Clear")),
      this.kindChips, this.scroller, this.tail, this.empty, this.detail);
  }

  show(subtree) {
    if (subtree !== undefined && subtree !== this.filter.subtree) this.#set({ subtree });
    this.#connect();
    this.#touch();
  }

  #touch() {
    this.dirty = true;
    this.app.schedule();
  }

  hide() {
    this.place = this.stream?.lastId ?? this.place;
    this.stream?.stop();
    this.stream = null;
    if (this.seen) this.gapFrom = Date.now();
  }

  #set(change) {
    Object.assign(this.filter, change);
    this.place = null; // where the stream was says nothing of facts that it left out
    for (const chip of this.kindChips.children) {
      const { kind } = chip.dataset;
      setAttr(chip, "aria-pressed", String(this.filter.kinds.has(kind)));
      chip.classList.toggle("dim", this.filter.lifecycle && EPHEMERAL.has(kind));
    }
    this.scope.hidden = !this.filter.subtree;
    if (this.filter.subtree) {
      const row = this.app.tree.rows.get(this.filter.subtree);
      fill(this.scope, "below ", foreign(row ? nameOf(row) : `\u2026${this.filter.subtree.slice(-8)}`), " \u2715");
    }
    this.#refind();
    if (!this.element.hidden) this.#connect(true);
  }

  #toggleKind(kind) {
    const kinds = new Set(this.filter.kinds);
    if (!kinds.delete(kind)) kinds.add(kind);
    this.#set({ kinds });
  }

  #connect(again = false) {
    if ((this.stream && !again) || this.element.hidden) return;
    if (!this.app.tree.ready) {
      this.waits = true; // for the tree's first frame, which says where we are
      return;
    }
    const lastId = this.place ?? this.lastId;
    this.stream?.stop();
    // What has happened before is in the journal: the first look shows the end of it, and so does one whose
    // place is not to be had any more.
    const path = queryOf({ ...this.filter, from: Math.max(0, this.app.tree.seq - BACK) });
    this.stream = this.app.api.stream(path, {
      onEvents: (events) => this.#take(events),
      onState: (state) => this.#connection(state),
    }, lastId);
    this.stream.start();
  }

  #connection(state) {
    const was = this.connection?.kind;
    this.connection = state;
    if (state.kind === "waiting" && was === "live") this.#note("The connection was lost. Asking again\u2026", "warn");
    if (state.kind === "live" && this.seen) {
      const away = this.gapFrom ? "Back" : was ? "Connected again" : null;
      if (away) this.#note(`${away}: goes on behind fact ${count(this.lastSeq)}. Lifecycle facts of the time between come from the journal; others are gone.`);
      this.gapFrom = null;
    }
    if (state.kind === "refused") this.#note(`Refused: ${state.problem.message}`, "bad");
    this.#touch();
  }

  #note(text, tone = "") {
    const entry = { note: text, tone, at: Date.now() };
    this.ring.push(entry);
    this.found.push(entry);
    this.#touch();
  }

  #take(events) {
    for (const { event, id, data } of events) {
      if (event === "fact") {
        const parsed = JSON.parse(data);
        const fact = factOf(parsed);
        if (parsed.seq <= this.lastSeq && this.seen) this.repeats += 1;
        this.lastSeq = parsed.seq;
        this.seen += 1;
        const entry = { seq: parsed.seq, at: parsed.at_ms, name: fact.event, thread: parsed.thread ?? null, path: parsed.path ?? null, tone: toneOf(fact), raw: data };
        this.ring.push(entry);
        if (this.#matches(entry)) {
          this.found.push(entry);
          this.fresh += 1;
        }
      } else if (event === "lagged") {
        const gap = JSON.parse(data);
        this.#note(`This page did not keep up: ${plural(gap.count, "fact")} lost, from ${count(gap.from)} to ${count(gap.to)}. Those of lifecycle come again from the journal.`, "warn");
      } else if (event === "reset") {
        const { reason } = JSON.parse(data);
        const first = !this.seen;
        this.seen = 0;
        this.lastSeq = 0;
        if (reason === "other_boot") this.#note("The console was started anew: facts from before are not continued.", "warn");
        else if (first) this.#note("What happened before this is not kept any more.");
        else this.#note("Too much was missed to go on from there: there is a gap here.", "warn");
      } else if (event === "end") {
        this.#note("The stream has ended: the runtime or the console stopped.", "warn");
      }
      if (id) this.lastId = id;
    }
    this.news = true;
    this.app.schedule(DRAW_MS);
  }

  #matches(entry) {
    if (entry.note) return true;
    if (this.filter.kinds.size && KIND_OF[entry.name] && !this.filter.kinds.has(KIND_OF[entry.name])) return false;
    return !this.needle || entry.raw.toLowerCase().includes(this.needle);
  }

  #refind() {
    this.needle = this.search.value.trim().toLowerCase();
    this.found = new Ring(KEPT_MAX);
    for (const entry of this.ring) if (this.#matches(entry)) this.found.push(entry);
    if (this.frozen) this.frozen = [...this.found];
    this.#touch();
  }

  #clear() {
    this.ring.clear();
    this.found.clear();
    if (this.frozen) this.frozen = [];
    this.#choose(null);
    this.#touch();
  }

  pause() {
    this.frozen = this.frozen ? null : [...this.found];
    this.fresh = 0;
    setAttr(this.pauseButton, "aria-pressed", String(Boolean(this.frozen)));
    this.#touch();
  }

  #download() {
    const lines = [...this.found].filter((entry) => entry.raw).map((entry) => `${entry.raw}\n`);
    const url = URL.createObjectURL(new Blob(lines, { type: "application/x-ndjson" }));
    const link = h("a", { href: url, download: `coppicer-facts-${new Date().toISOString().replace(/[:.]/g, "-")}.jsonl` });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    // Facts may have come since we scrolled to the end: only who moves up reads further up, or who chose one.
    if (scrollTop + clientHeight >= scrollHeight - ROW_PX) this.follow = !this.chosen;
    else if (scrollTop < (this.top ?? 0) - 1) this.follow = false;
    this.top = scrollTop;
    this.#touch();
  }

  #toEnd() {
    this.follow = true;
    this.#choose(null);
    this.#touch();
  }

  update() {
    if (this.waits && this.app.tree.ready) {
      this.waits = false;
      this.#connect();
    }
  }

  tick() {}

  #list() {
    const list = this.frozen ?? this.found;
    return { length: list.length, at: (index) => (this.frozen ? list[index] : list.at(index)), dropped: this.frozen ? 0 : list.dropped };
  }

  /** Draws if something is to be drawn; what streams in at most every `DRAW_MS`. */
  render() {
    const at = performance.now();
    if (!this.dirty) {
      if (!this.news) return;
      if (at - (this.drawnAt ?? 0) < DRAW_MS - 10) return void this.app.schedule(DRAW_MS);
    }
    this.dirty = this.news = false;
    this.drawnAt = at;
    const list = this.#list();
    const total = list.length;
    // What falls off the front moves everything up: one who reads further up is moved with it.
    if (!this.follow && !this.frozen && list.dropped > (this.dropped ?? 0)) this.scroller.scrollTop -= (list.dropped - this.dropped) * ROW_PX;
    this.dropped = list.dropped;
    const height = `${total * ROW_PX}px`;
    if (this.height !== height) this.body.style.height = this.height = height;
    if (this.follow) this.scroller.scrollTop = total * ROW_PX;
    const [first, end] = windowOf(total, this.scroller.scrollTop, this.scroller.clientHeight, ROW_PX, 3);
    for (let at = 0; at < end - first; at += 1) {
      const row = (this.rows[at] ??= this.#row());
      if (row.element.parentNode !== this.sheet) this.sheet.append(row.element);
      this.#write(row, list.at(first + at));
    }
    const offset = `translateY(${first * ROW_PX}px)`;
    if (this.offset !== offset) this.sheet.style.transform = this.offset = offset;
    for (let at = end - first; at < this.rows.length; at += 1) this.rows[at].element.remove();
    this.tail.hidden = this.follow || total === 0;
    this.empty.hidden = total > 0;
    setText(this.empty, this.connection?.kind === "live" ? "Nothing has happened yet that matches. Facts appear here as they are told." : "Connecting\u2026");
    setText(this.pauseButton, this.frozen ? (this.fresh ? `Go on (${count(this.fresh)} new)` : "Go on") : "Pause");
    setText(this.state, `${count(total)} shown${this.ring.dropped ? ` \u00b7 the oldest ${count(this.ring.dropped)} are gone` : ""}${this.repeats ? ` \u00b7 ${count(this.repeats)} repeated` : ""}`);
  }

  #row() {
    const row = {
      time: h("span.cell.time", { role: "cell" }), seq: h("span.cell.seq.num", { role: "cell" }), link: h("a", { tabindex: "-1" }),
      name: h("span.cell.name", { role: "cell" }), text: h("span.cell.text", { role: "cell" }),
    };
    row.element = h("div.entry", { role: "row", onclick: (event) => event.target.closest("a") || this.#choose(row.entry) },
      row.time, row.seq, row.name, h("span.cell.who", { role: "cell" }, row.link), row.text);
    return row;
  }

  #write(row, entry) {
    setAttr(row.element, "aria-selected", entry === this.chosen ? "true" : null);
    if (row.entry === entry) return;
    row.entry = entry;
    row.element.classList.toggle("note", Boolean(entry.note));
    setAttr(row.element, "data-tone", entry.tone || null);
    setAttr(row.element, "data-seq", entry.seq ?? null);
    setText(row.time, clock(entry.at));
    setText(row.seq, entry.seq ? count(entry.seq) : "");
    setText(row.name, entry.note ? "" : entry.name);
    const known = entry.thread && this.app.tree.rows.get(entry.thread);
    setForeign(row.link, entry.path ?? (known ? known.path ?? nameOf(known) : entry.thread ? `\u2026${entry.thread.slice(-8)}` : ""), { line: true, max: 60 });
    row.link.hidden = !entry.thread;
    setAttr(row.link, "href", entry.thread ? `#/thread/${entry.thread}` : null);
    setForeign(row.text, entry.note ?? describe(factOf(JSON.parse(entry.raw))), { line: true, max: 300 });
  }

  #choose(entry) {
    this.chosen = entry?.raw ? entry : null;
    if (this.chosen) this.follow = false; // it stays in sight
    this.detail.hidden = !this.chosen;
    if (this.chosen) setForeign(this.detail, JSON.stringify(JSON.parse(this.chosen.raw), null, 2));
    this.#touch();
  }

  #rowKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const list = this.#list();
    if (!list.length) return;
    let at = -1;
    for (let index = 0; this.chosen && index < list.length; index += 1) if (list.at(index) === this.chosen) at = index;
    if (event.key === "ArrowDown") at = at < 0 ? list.length - 1 : Math.min(list.length - 1, at + 1);
    else if (event.key === "ArrowUp") at = at < 0 ? list.length - 1 : Math.max(0, at - 1);
    else if (event.key === "Enter" && this.chosen?.thread) return this.app.open(this.chosen.thread);
    else if (event.key === "Escape" && this.chosen) at = -1;
    else return;
    event.preventDefault();
    event.stopPropagation();
    if (at < 0) return this.#choose(null);
    this.follow = false;
    this.#choose(list.at(at));
    const top = at * ROW_PX;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + ROW_PX > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = top + ROW_PX - this.scroller.clientHeight;
  }

  key(event) {
    if (event.key === "/") this.search.focus();
    else if (event.key === " " && (event.target === document.body || event.target === this.scroller)) this.pause();
    else if (event.key === "ArrowUp" && document.activeElement === document.body) this.scroller.focus();
    else return false;
    event.preventDefault();
    return true;
  }
}

