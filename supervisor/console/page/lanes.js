// The view of turns over time: a lane for each thread, drawn on a canvas that shows what is in sight.

import { badge, fill, foreign, h, problemBox, setText } from "./dom.js";
import { Lanes } from "./lanemodel.js";
import { arrange, nameOf } from "./model.js";
import { clock, oneLine, plural, span, visible } from "./text.js";

const LANE_PX = 22;
const NAME_PX = 210;
const AXIS_PX = 24;
const MARK_PX = 12;
/** How often the server is asked, in ms. */
const ASK_MS = 1000;
/** Windows of time to look at, in minutes. */
const MINUTES = [1, 2, 5, 10];
const STEPS_MS = [1000, 5000, 10_000, 15_000, 30_000, 60_000, 120_000];

const TONE_OF = {
  completed: "ok", failed: "bad", errored: "bad", crashed: "bad", lost: "bad", interrupted: "warn", superseded: "off", returned: "off",
};
// Gravest first.
const MARK_OF = {
  parked: ["P", "park"], fenced: ["F", "bad"], crash: ["\u2715", "bad"], stuck: ["!", "warn"], restart: ["\u21bb", "run"],
  closed: ["\u25a0", "off"], spawned: ["+", "ok"], backoff: ["\u2026", "warn"],
};

const GRAVITY = Object.keys(MARK_OF);
const gravity = (mark) => GRAVITY.indexOf(mark.kind);

export class LanesView {
  constructor(app) {
    this.app = app;
    this.model = new Lanes();
    this.minutes = 2;
    this.list = [];
    this.selected = null; // {thread, key}
    this.problem = null;
    const windows = h("div.segmented", { role: "group", "aria-label": "How far back" }, ...MINUTES.map((minutes) =>
      h("button", { type: "button", "aria-pressed": String(minutes === this.minutes), dataset: { minutes }, onclick: () => this.#window(minutes) }, `${minutes} min`)));
    this.windows = windows;
    this.pauseButton = h("button", { type: "button", "aria-pressed": "false", title: "Hold still (space)", onclick: () => this.pause() }, "Pause");
    this.order = h("select", { "aria-label": "Order of lanes", onchange: () => this.app.schedule() },
      h("option", { value: "path" }, "in order of the tree"), h("option", { value: "recent" }, "last active first"));
    this.summary = h("span.muted");
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.spacer = h("div.spacer");
    this.scroller = h("div.lanes", {
      tabindex: "0", role: "application", "aria-roledescription": "timeline of turns",
      "aria-label": "Turns by thread. Up and down choose a thread, left and right a turn, Enter opens the thread.",
    }, this.canvas, this.spacer);
    this.scroller.addEventListener("scroll", () => this.app.schedule(), { passive: true });
    this.scroller.addEventListener("pointermove", (event) => this.#hover(event));
    this.scroller.addEventListener("pointerleave", () => this.#say(null));
    this.scroller.addEventListener("click", (event) => this.#click(event));
    this.scroller.addEventListener("keydown", (event) => this.#laneKey(event));
    new ResizeObserver(() => this.app.schedule()).observe(this.scroller);
    this.readout = h("p.readout", { "aria-live": "polite" });
    this.empty = h("p.empty", { role: "status" });
    const legend = h("div.legend", { "aria-label": "Legend" },
      ...[["running", "run"], ["completed", "ok"], ["interrupted", "warn"], ["failed or crashed", "bad"]].map(([word, tone]) => h("span", {}, h("i.swatch", { dataset: { tone } }), word)),
      ...Object.entries(MARK_OF).map(([word, [sign, tone]]) => h("span", {}, h("b.sign", { dataset: { tone } }, sign), word)));
    this.element = h("section.view.lanesview", { "aria-label": "Turns over time", hidden: true },
      h("div.bar", {}, windows, this.pauseButton, this.order, this.summary), this.scroller, this.empty, this.readout, legend);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.palette = null;
      this.app.schedule();
    });
  }

  show() {
    this.shown = true;
    this.#ask();
    this.app.schedule();
  }

  hide() {
    this.shown = false;
    clearTimeout(this.timer);
  }

  update() {}
  tick() {}

  #window(minutes) {
    this.minutes = minutes;
    for (const button of this.windows.children) button.setAttribute("aria-pressed", String(Number(button.dataset.minutes) === minutes));
    this.app.schedule();
  }

  pause() {
    this.paused = this.paused ? null : this.model.nowMs;
    this.pauseButton.setAttribute("aria-pressed", String(Boolean(this.paused)));
    setText(this.pauseButton, this.paused ? "Go on" : "Pause");
    this.app.schedule();
  }

  async #ask() {
    clearTimeout(this.timer);
    if (!this.shown || this.asking) return;
    this.asking = true;
    try {
      let answer;
      do {
        answer = await this.app.api.get(this.model.next === null ? "/api/lanes" : `/api/lanes?after=${encodeURIComponent(this.model.next)}`);
        this.model.merge(answer);
      } while (answer.more && this.shown);
      this.problem = null;
    } catch (problem) {
      this.problem = problem;
      if (problem.status === 400) this.model.next = null;
    }
    this.asking = false;
    this.app.schedule();
    if (this.shown) this.timer = setTimeout(() => this.#ask(), this.problem ? 3 * ASK_MS : ASK_MS);
  }

  #colours() {
    if (!this.palette) {
      const style = getComputedStyle(this.element);
      const probe = h("i", { hidden: true });
      this.element.append(probe);
      const read = (name) => {
        probe.style.color = `var(--${name})`;
        return getComputedStyle(probe).color;
      };
      this.palette = Object.fromEntries(["run", "ok", "warn", "bad", "park", "off", "ink", "muted", "line", "panel", "hover"].map((name) => [name, read(name)]));
      this.palette.font = style.fontFamily;
      probe.remove();
    }
    return this.palette;
  }

  render() {
    const now = this.paused ?? this.model.nowMs;
    const from = now - this.minutes * 60_000;
    this.range = { from, to: now };
    this.#arrange(from, now);
    const none = this.list.length === 0;
    this.empty.hidden = !none && !this.problem;
    if (this.problem) fill(this.empty, problemBox(this.problem, () => this.#ask()));
    else if (none) setText(this.empty, this.model.next === null ? "Reading turns\u2026" : `No turn in the last ${this.minutes} min.`);
    setText(this.summary, none ? "" : `${plural(this.list.length, "thread")} with turns${this.model.completeFromMs > from ? ` \u00b7 complete only since ${clock(this.model.completeFromMs, false)}` : ""}${this.paused ? ` \u00b7 held at ${clock(this.paused, false)}` : ""}`);
    this.spacer.style.height = `${AXIS_PX + this.list.length * LANE_PX}px`;
    this.#draw(from, now);
  }

  #arrange(from, to) {
    const { rows } = this.app.tree;
    const found = [...this.model.lanes.values()].filter((lane) => Lanes.touches(lane, from, to));
    const places = this.#places();
    for (const lane of found) {
      lane.row = rows.get(lane.thread) ?? lane.row ?? null;
      lane.place = places.get(lane.thread)?.place ?? Infinity;
      lane.depth = places.get(lane.thread)?.depth ?? 0;
    }
    const byTree = (a, b) => (a.place === b.place ? (a.thread < b.thread ? -1 : 1) : a.place - b.place);
    this.list = found.sort(this.order.value === "recent" ? (a, b) => b.last - a.last || byTree(a, b) : byTree);
  }

  /** Where each thread stands in the tree; made anew about as often as the server is asked. */
  #places() {
    const at = performance.now();
    if (!this.places || at - this.placedAt > ASK_MS) {
      this.placedAt = at;
      const items = arrange(this.app.tree.rows, { sort: "thread", dir: 1, internal: true });
      this.places = new Map(items.map(({ row, depth }, place) => [row.thread, { place, depth }]));
    }
    return this.places;
  }

  #draw(from, to) {
    const { canvas } = this;
    const [width, height] = [this.scroller.clientWidth, this.scroller.clientHeight];
    const ratio = devicePixelRatio || 1;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
    }
    const colours = this.#colours();
    const cx = canvas.getContext("2d");
    cx.setTransform(ratio, 0, 0, ratio, 0, 0);
    cx.clearRect(0, 0, width, height);
    cx.textBaseline = "middle";
    const top = this.scroller.scrollTop;
    const room = Math.max(50, width - NAME_PX - 12);
    this.x = (ms) => NAME_PX + ((ms - from) / (to - from)) * room;
    const x = this.x;
    this.#axis(cx, from, to, width, height, colours, room);
    cx.save();
    cx.beginPath();
    cx.rect(0, AXIS_PX, width, height - AXIS_PX);
    cx.clip();
    const first = Math.max(0, Math.floor((top - AXIS_PX) / LANE_PX));
    const end = Math.min(this.list.length, Math.ceil((top + height) / LANE_PX));
    for (let at = first; at < end; at += 1) this.#lane(cx, this.list[at], AXIS_PX + at * LANE_PX - top, x, from, to, width, colours);
    cx.restore();
  }

  #axis(cx, from, to, width, height, colours, room) {
    const step = STEPS_MS.find((ms) => (room / (to - from)) * ms >= 70) ?? 120_000;
    cx.font = `11px ${colours.font}`;
    cx.strokeStyle = colours.line;
    cx.fillStyle = colours.muted;
    cx.lineWidth = 1;
    const offset = new Date(to).getTimezoneOffset() * 60_000;
    for (let at = Math.ceil((from - offset) / step) * step + offset; at <= to; at += step) {
      const x = Math.round(this.x(at)) + 0.5;
      cx.beginPath();
      cx.moveTo(x, AXIS_PX - 5);
      cx.lineTo(x, height);
      cx.stroke();
      const text = clock(at, false);
      if (x + 24 < width) cx.fillText(text, Math.max(NAME_PX, x - 24), 9);
    }
    cx.beginPath();
    cx.moveTo(0, AXIS_PX - 0.5);
    cx.lineTo(width, AXIS_PX - 0.5);
    cx.stroke();
  }

  #lane(cx, lane, y, x, from, to, width, colours) {
    const chosen = this.selected?.thread === lane.thread;
    if (chosen) {
      cx.fillStyle = colours.hover;
      cx.fillRect(0, y, width, LANE_PX);
    }
    cx.fillStyle = lane.row && !lane.row.gone ? colours.ink : colours.muted;
    cx.font = `12px ${colours.font}`;
    const depth = this.order.value === "path" ? Math.min(6, lane.depth) : 0;
    const name = visible(lane.row ? nameOf(lane.row) : `\u2026${lane.thread.slice(-8)}`);
    cx.save();
    cx.beginPath();
    cx.rect(0, y, NAME_PX - 10, LANE_PX);
    cx.clip();
    cx.direction = "ltr";
    const left = 12 + depth * 10;
    cx.fillText(name.slice(0, 60), left, y + LANE_PX / 2 + 0.5);
    if (lane.row?.last_task && !lane.row.path) {
      const after = left + cx.measureText(name.slice(0, 60)).width + 7;
      cx.fillStyle = colours.muted;
      cx.fillText(visible(oneLine(lane.row.last_task, 40)), after, y + LANE_PX / 2 + 0.5);
    }
    cx.restore();
    cx.save();
    cx.beginPath();
    cx.rect(NAME_PX, y, width - NAME_PX, LANE_PX);
    cx.clip();
    for (const [key, turn] of lane.spans) {
      const end = turn.to_ms ?? to;
      if (end < from || turn.from_ms > to) continue;
      const left = x(Math.max(from, turn.from_ms));
      const w = Math.max(2, x(Math.min(to, end)) - left);
      cx.fillStyle = colours[turn.to_ms == null ? "run" : TONE_OF[turn.outcome] ?? "off"];
      cx.globalAlpha = 0.88;
      cx.beginPath();
      cx.roundRect(left, y + 5, w, LANE_PX - 10, Math.min(3, w / 2));
      cx.fill();
      cx.globalAlpha = 1;
      if (chosen && this.selected.key === key) {
        cx.strokeStyle = colours.ink;
        cx.lineWidth = 2;
        cx.strokeRect(left - 1, y + 3, w + 2, LANE_PX - 6);
      }
    }
    cx.font = `bold 11px ${colours.font}`;
    cx.textAlign = "center";
    // Of marks that would cover each other the gravest is drawn.
    const drawn = new Map();
    for (const mark of lane.marks) {
      if (mark.at_ms < from || mark.at_ms > to) continue;
      const place = Math.round(x(mark.at_ms) / MARK_PX);
      const there = drawn.get(place);
      if (!there || gravity(mark) <= gravity(there)) drawn.set(place, mark);
    }
    for (const mark of drawn.values()) {
      const [sign, tone] = MARK_OF[mark.kind] ?? ["\u2022", "off"];
      const at = x(mark.at_ms);
      cx.fillStyle = colours.panel;
      cx.beginPath();
      cx.arc(at, y + LANE_PX / 2, 5.5, 0, 7);
      cx.fill();
      cx.fillStyle = colours[tone];
      cx.fillText(sign, at, y + LANE_PX / 2 + 0.5);
    }
    cx.textAlign = "start";
    cx.restore();
  }

  #at(event) {
    const box = this.scroller.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    if (py < AXIS_PX) return null;
    const lane = this.list[Math.floor((py - AXIS_PX + this.scroller.scrollTop) / LANE_PX)];
    if (!lane) return null;
    let best = null;
    for (const mark of lane.marks) {
      const far = Math.abs(this.x(mark.at_ms) - px);
      if (far < 7 && (!best || far < best.far)) best = { far, mark };
    }
    if (best) return { lane, mark: best.mark };
    for (const [key, turn] of lane.spans) {
      const left = this.x(turn.from_ms);
      const right = Math.max(left + 4, this.x(turn.to_ms ?? this.range.to));
      if (px >= left - 2 && px <= right + 2 && px >= NAME_PX) return { lane, turn, key };
    }
    return { lane };
  }

  #say(found) {
    if (!found) return void fill(this.readout, h("span.muted", {}, "Point at a turn, or choose one with the arrow keys."));
    const { lane, turn, mark } = found;
    const name = foreign(lane.row ? lane.row.path ?? nameOf(lane.row) : lane.thread, { tag: "b" });
    if (mark) fill(this.readout, name, " ", badge(mark.kind, MARK_OF[mark.kind]?.[1]), ` at ${clock(mark.at_ms)} `, mark.text ? foreign(mark.text, { line: true, max: 200 }) : null);
    else if (turn) {
      const end = turn.to_ms ?? this.range.to;
      fill(this.readout, name, " ", badge(turn.to_ms == null ? "running" : turn.outcome ?? "ended", turn.to_ms == null ? "run" : TONE_OF[turn.outcome] ?? "off"),
        ` ${clock(turn.from_ms)} for ${span(end - turn.from_ms)}${turn.attempt > 1 ? `, attempt ${turn.attempt}` : ""}`);
    } else fill(this.readout, name, h("span.muted", {}, ` ${plural(lane.spans.size, "turn")} kept`));
  }

  #hover(event) {
    const found = this.#at(event);
    this.scroller.classList.toggle("pointing", Boolean(found));
    this.#say(found);
  }

  #click(event) {
    const found = this.#at(event);
    if (found) this.app.open(found.lane.thread);
  }

  #laneKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.list.length) return;
    let at = this.list.findIndex((lane) => lane.thread === this.selected?.thread);
    const lane = this.list[at];
    const turns = lane ? [...lane.spans].sort((a, b) => a[1].from_ms - b[1].from_ms) : [];
    let turn = turns.findIndex(([key]) => key === this.selected?.key);
    switch (event.key) {
      case "ArrowDown": at = Math.min(this.list.length - 1, at + 1); turn = -1; break;
      case "ArrowUp": at = Math.max(0, at - 1); turn = -1; break;
      case "Home": at = 0; turn = -1; break;
      case "End": at = this.list.length - 1; turn = -1; break;
      case "ArrowRight": turn = Math.min(turns.length - 1, turn + 1); break;
      case "ArrowLeft": turn = turn < 0 ? turns.length - 1 : Math.max(0, turn - 1); break;
      case "Enter": if (lane) this.app.open(lane.thread); return;
      default: return;
    }
    event.preventDefault();
    at = Math.max(0, at);
    const chosen = this.list[at];
    const key = turn >= 0 && chosen === lane ? turns[turn]?.[0] : null;
    this.selected = { thread: chosen.thread, key };
    const y = AXIS_PX + at * LANE_PX;
    if (y - AXIS_PX < this.scroller.scrollTop) this.scroller.scrollTop = y - AXIS_PX;
    else if (y + LANE_PX > this.scroller.scrollTop + this.scroller.clientHeight) this.scroller.scrollTop = y + LANE_PX - this.scroller.clientHeight;
    this.#say({ lane: chosen, turn: key ? chosen.spans.get(key) : null });
    this.app.schedule();
  }

  key(event) {
    if (event.key === " " && (event.target === document.body || event.target === this.scroller)) this.pause();
    else if (event.key === "ArrowDown" && document.activeElement === document.body) this.scroller.focus();
    else return false;
    event.preventDefault();
    return true;
  }
}
