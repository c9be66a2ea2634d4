// The view of what needs somebody now.

import { ago, badge, fill, foreign, h, problemBox, setText, tickAges } from "./dom.js";
import { nameOf } from "./model.js";
import { count, plural, span, words } from "./text.js";

const TONE_OF = {
  store_ailing: "bad", damaged: "bad", stuck: "warn", asked: "run", parked: "park", budget_spent: "warn", recovery_failed: "bad", near_limit: "warn",
};
/** What somebody has to do about a store that cannot write. */
const REMEDY = {
  disk_full: "Make room on its disk, or raise its largest size.",
  read_only: "Give back the right to write the file and its folder.",
  busy: "Somebody else holds it locked; it passes when they let go.",
};
const MEANING = {
  store_ailing: "Nothing is acknowledged until the store can write again.",
  damaged: "A record cannot be read. It can be forked up to there.",
  stuck: "Its turn makes no progress.",
  asked: "Its engine waits for an answer.",
  parked: "Its restarts are spent, or somebody parked it.",
  budget_spent: "Its budget is used up.",
  recovery_failed: "An earlier process left it unfinished, and it could not be brought up.",
  near_limit: "Nine tenths of a limit are used.",
};

export class AttentionView {
  constructor(app) {
    this.app = app;
    this.version = -1;
    this.summary = h("p.muted", { role: "status" });
    this.list = h("ul.attention", { "aria-label": "Things that need somebody, gravest first" });
    this.list.addEventListener("keydown", (event) => this.#listKey(event));
    this.empty = h("p.empty", { role: "status" });
    this.element = h("section.view.attentionview", { "aria-label": "What needs attention", hidden: true }, h("div.bar", {}, this.summary), this.list, this.empty);
  }

  show() {
    this.shown = true;
    this.#read(true);
  }

  hide() {
    this.shown = false;
  }

  update() {
    this.#read();
  }

  tick(now) {
    tickAges(this.list, now);
  }

  async #read(force = false) {
    const { version } = this.app.tree.attention;
    if (this.reading || (!force && version === this.version)) return;
    this.reading = true;
    try {
      const answer = await this.app.api.get("/api/attention");
      this.version = answer.version;
      this.#write(answer);
    } catch (problem) {
      fill(this.empty, problemBox(problem, () => this.#read(true)));
      this.empty.hidden = false;
    }
    this.reading = false;
  }

  #write({ items, count: total }) {
    const now = this.app.tree.now();
    const focused = document.activeElement?.closest?.("[data-item]")?.dataset.item;
    setText(this.summary, total ? `${plural(total, "thing")}, gravest first${items.length < total ? `; the first ${count(items.length)} are listed` : ""}` : "");
    fill(this.list, ...items.map((item) => this.#item(item, now)));
    this.empty.hidden = total > 0;
    fill(this.empty, h("b", {}, "Nothing needs attention."), h("br"), "No turn is stuck, nobody asks, nothing is parked, and the store can write.");
    if (focused) this.list.querySelector(`[data-item="${CSS.escape(focused)}"] a, [data-item="${CSS.escape(focused)}"] button`)?.focus();
  }

  #item(item, now) {
    const row = item.thread && (this.app.tree.rows.get(item.thread) ?? { thread: item.thread, path: item.path, nickname: item.nickname });
    const { actions } = this.app;
    const button = (title, run) => h("button", { type: "button", onclick: run }, title);
    const buttons = [];
    if (item.kind === "asked") buttons.push(button("Answer\u2026", () => actions.answer(row, item)));
    if (item.kind === "parked") buttons.push(button("Revive", () => actions.revive(row)), button("Close\u2026", () => actions.close(row)));
    if (item.kind === "stuck") buttons.push(button("Interrupt", () => actions.interrupt(row)), button("Close\u2026", () => actions.close(row)));
    if (item.kind === "budget_spent") buttons.push(button("Fund\u2026", () => actions.fund(row, [(item.limit ?? "tokens").replace("budget.", "")])));
    if (item.kind === "damaged" || item.kind === "budget_spent") buttons.push(button("Fork\u2026", () => actions.fork(row)));
    const facts = [
      REMEDY[item.trouble],
      item.phase ? `at ${words(item.phase)}` : null,
      item.quiet_ms != null ? `quiet for ${span(item.quiet_ms)}` : null,
      item.remedy ? `remedy: ${words(typeof item.remedy === "string" ? item.remedy : Object.keys(item.remedy)[0])}` : null,
      item.limit ? `limit ${item.limit}` : null,
      item.used != null ? `${count(item.used)} of ${count(item.value)} used` : null,
    ].filter(Boolean).join(" \u00b7 ");
    return h("li", { dataset: { item: `${item.kind}/${item.thread ?? ""}/${item.question ?? item.limit ?? ""}`, tone: TONE_OF[item.kind] ?? "off" } },
      h("div.head", {}, badge(words(item.kind), TONE_OF[item.kind]), " ",
        item.trouble && item.trouble !== "other" ? [badge(words(item.trouble), TONE_OF[item.kind]), " "] : null,
        row ? h("a.name", { href: `#/thread/${item.thread}` }, foreign(item.path ?? nameOf(row), { line: true, max: 120 }), item.path && item.nickname ? [" ", foreign(item.nickname, { line: true, max: 60 })] : null) : h("span.name", {}, "the runtime"),
        " ", ago(item.since_ms, now)),
      h("p.what", {}, item.text ? foreign(item.text, { max: 600 }) : null),
      item.body !== undefined ? h("pre.body", {}, foreign(typeof item.body === "string" ? item.body : JSON.stringify(item.body, null, 2), { max: 2000 })) : null,
      h("p.muted", {}, [MEANING[item.kind], facts].filter(Boolean).join(" ")),
      buttons.length ? h("div.buttons", {}, ...buttons) : null);
  }

  #choose(at) {
    const items = this.list.children;
    items[Math.max(0, Math.min(items.length - 1, at))]?.querySelector("a, button")?.focus();
  }

  #listKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = [...this.list.children];
    const at = items.indexOf(event.target.closest("li"));
    if (event.key === "ArrowDown") this.#choose(at + 1);
    else if (event.key === "ArrowUp") this.#choose(at - 1);
    else if (event.key === "Home") this.#choose(0);
    else if (event.key === "End") this.#choose(items.length - 1);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  key(event) {
    if (event.key !== "ArrowDown" || this.list.contains(document.activeElement)) return false;
    this.#choose(0);
    event.preventDefault();
    return true;
  }
}
