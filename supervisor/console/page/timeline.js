// The turns of one thread, newest first, each with its tool calls over the time of the turn.

import { badge, fill, foreign, h, problemBox } from "./dom.js";
import { clock, count, date, plural, span } from "./text.js";

const COUNT = 20;
const TONE_OF = { completed: "ok", failed: "bad", aborted: "warn", open: "run" };

function toneOf(turn, running) {
  if (running) return "run";
  if (turn.outcome === "open") return "warn";
  return turn.reason === "crashed" ? "bad" : TONE_OF[turn.outcome] ?? "off";
}

export class Timeline {
  constructor(app, view) {
    this.app = app;
    this.view = view;
    this.list = h("ol.turns", { reversed: true });
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.older() }, "Older turns");
    this.note = h("div");
    this.element = h("div.timeline", {}, this.note, this.list, this.more);
  }

  reset() {
    this.turns = [];
    this.head = 0;
    this.before = null;
    this.loaded = false;
    this.generation = (this.generation ?? 0) + 1;
    fill(this.list);
    fill(this.note, h("p.empty", {}, "Reading turns\u2026"));
    this.more.hidden = true;
  }

  read() {
    if (!this.loaded) this.renew();
  }

  /** Reads the newest page again; what is older stays as it was read. */
  async renew() {
    if (this.element.hidden) {
      this.loaded = false;
      return;
    }
    if (this.busy) {
      this.again = true;
      return;
    }
    await this.#page(null);
    if (this.again) {
      this.again = false;
      this.renew();
    }
  }

  older() {
    return this.#page(this.before);
  }

  async #page(before) {
    this.busy = true;
    const { generation } = this;
    try {
      const answer = await this.app.api.get(this.app.api.thread(this.view.id, `/timeline?count=${COUNT}${before === null ? "" : `&before=${before}`}`));
      if (generation !== this.generation) return;
      if (before === null) {
        this.head = answer.head;
        const from = answer.turns[0]?.from_seq ?? Infinity;
        const older = this.turns.filter((turn) => turn.from_seq < from);
        if (!older.length) this.before = answer.next_before ?? null;
        this.turns = [...older, ...answer.turns];
      } else {
        this.turns = [...answer.turns, ...this.turns];
        this.before = answer.next_before ?? null;
      }
      this.loaded = true;
      this.#write();
    } catch (problem) {
      if (generation === this.generation) fill(this.note, problemBox(problem, () => this.#page(before)));
    } finally {
      this.busy = false;
    }
  }

  #write() {
    fill(this.note, this.turns.length ? null : h("p.empty", {}, "No turn yet."));
    const open = new Set([...this.list.querySelectorAll(".clamp.open")].map((one) => one.dataset.of));
    fill(this.list, ...[...this.turns].reverse().map((turn) => this.#turn(turn, open)));
    this.more.hidden = this.before === null || this.before === undefined;
  }

  #turn(turn, open) {
    const row = this.view.row();
    const running = turn.outcome === "open" && row?.turn?.turn === turn.turn;
    const to = turn.to_ms ?? (running ? this.app.tree.now() : turn.from_ms);
    const took = turn.from_ms != null && to != null ? to - turn.from_ms : null;
    const word = running ? "running" : turn.outcome === "open" ? "left open" : turn.outcome;
    const fork = (words, at) => h("button.quiet", { type: "button", onclick: () => row && this.app.actions.fork(row, { at, words }) }, `Fork ${words.split(" ")[0]}`);
    return h("li.turncard", { dataset: { tone: toneOf(turn, running) } },
      h("div.head", {}, badge(turn.reason ? `${word}: ${turn.reason}` : word, toneOf(turn, running)),
        h("time", { title: date(turn.from_ms) }, clock(turn.from_ms)), took != null ? h("b", {}, span(took)) : null,
        h("span.muted", {}, `records ${count(turn.from_seq)}\u2013${count(turn.to_seq)}`), h("span.grow"),
        fork("before this turn", { before: turn.turn }), running ? null : fork("after this turn", { after: turn.turn })),
      turn.input ? clamp("input", `${turn.turn}/in`, turn.input, open) : null,
      turn.calls?.length ? this.#calls(turn, to) : null,
      turn.message ? clamp("message", `${turn.turn}/out`, turn.message, open) : null);
  }

  #calls(turn, end) {
    const from = turn.from_ms;
    const whole = Math.max(1, end - from);
    return h("ul.calls", { "aria-label": plural(turn.calls.length, "tool call") }, ...turn.calls.map((call) => {
      const to = call.to_ms ?? end;
      const left = Math.max(0, Math.min(1, (call.from_ms - from) / whole));
      const width = Math.max(0.004, Math.min(1 - left, (to - call.from_ms) / whole));
      const bar = h("i");
      bar.style.left = `${(left * 100).toFixed(2)}%`;
      bar.style.width = `${(width * 100).toFixed(2)}%`;
      return h("li", { dataset: { tone: call.closing ? "warn" : call.to_ms == null ? "run" : "ok" } },
        foreign(call.name ?? "call", { tag: "code", line: true, max: 40 }), h("span.track", { "aria-hidden": "true" }, bar),
        h("span.took", {}, call.to_ms == null ? "open" : span(call.to_ms - call.from_ms)), call.closing ? badge("closed for it", "warn") : null);
    }));
  }
}

/** Text of which the first lines are shown, until it is opened. */
export function clamp(kind, of, text, open = new Set()) {
  const long = text.length > 280 || text.split("\n", 5).length > 4;
  const body = h(`div.clamp.${kind}`, { dataset: { of } }, foreign(text, { max: 20_000 }));
  if (open.has(of)) body.classList.add("open");
  if (!long) {
    body.classList.add("short");
    return body;
  }
  const button = h("button.quiet.more", {
    type: "button", "aria-expanded": String(open.has(of)),
    onclick: () => {
      const now = body.classList.toggle("open");
      button.setAttribute("aria-expanded", String(now));
      button.textContent = now ? "Less" : "More";
    },
  }, open.has(of) ? "Less" : "More");
  body.append(button);
  return body;
}
