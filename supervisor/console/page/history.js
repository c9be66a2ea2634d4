// The records of one thread, in order; damaged ones and those that close what a turn left open are marked.

import { badge, fill, foreign, h, problemBox } from "./dom.js";
import { clamp } from "./timeline.js";
import { clock, count, date, words } from "./text.js";

const COUNT = 50;
/** Records that are kept in the page; the oldest go first when new ones come. */
const SHOWN_MAX = 2000;

const TONE_OF = {
  user_message: "run", assistant_message: "ok", tool_call: "park", tool_output: "park", turn_aborted: "warn", damaged: "bad", turn_started: "off", turn_completed: "off",
};
const MARKS = {
  closing: ["closing", "warn", "Written to close what a turn left open"],
  damaged: ["damaged", "bad", "It cannot be read"],
  opaque: ["opaque", "warn", "A line that is no record; kept as it is"],
  shared: ["shared", "off", "Of the base of this fork"],
  failed: ["failed", "bad", "A turn that gave up"],
  cut: ["cut", "off", "Longer than what is shown"],
};

export class History {
  constructor(app, view) {
    this.app = app;
    this.view = view;
    this.older = h("button", { type: "button", hidden: true, onclick: () => this.#page(`?before=${this.first}&count=${COUNT}`, "older") }, "Older records");
    this.list = h("ol.records");
    this.note = h("div");
    this.element = h("div.history", {}, this.older, this.note, this.list);
  }

  reset() {
    this.first = null;
    this.next = null;
    this.generation = (this.generation ?? 0) + 1;
    fill(this.list);
    fill(this.note, h("p.empty", {}, "Reading records\u2026"));
    this.older.hidden = true;
  }

  read() {
    if (this.element.hidden) return;
    if (this.next === null) this.#page(`?count=${COUNT}`, "newest");
    else this.grow();
  }

  /** Reads what came since. */
  grow() {
    if (this.element.hidden || this.busy) return;
    if (this.next === null) this.read();
    else this.#page(`?from=${this.next}&count=200`, "newer");
  }

  async #page(query, which) {
    if (this.busy) return;
    this.busy = true;
    const { generation } = this;
    let more = false;
    try {
      const answer = await this.app.api.get(this.app.api.thread(this.view.id, `/history${query}`));
      if (generation !== this.generation) return;
      const items = answer.records.map((record) => this.#record(record));
      if (which === "older") {
        const from = this.list.firstChild;
        this.list.prepend(...items);
        from?.scrollIntoView({ block: "nearest" });
      } else {
        this.list.append(...items);
        this.next = answer.next;
        more = answer.more_after && items.length > 0;
      }
      if (which !== "newer" || this.first === null) {
        this.first = answer.first;
        this.older.hidden = !answer.more_before;
      }
      while (which !== "older" && this.list.childElementCount > SHOWN_MAX) {
        this.list.firstChild.remove();
        this.first = Number(this.list.firstChild.dataset.seq);
        this.older.hidden = false;
      }
      fill(this.note, this.list.childElementCount ? null : h("p.empty", {}, "No record yet."));
    } catch (problem) {
      if (generation === this.generation) fill(this.note, problemBox(problem, () => this.#page(query, which)));
    } finally {
      this.busy = false;
    }
    if (more) this.grow();
    else if (generation !== this.generation && !this.element.hidden) this.read();
  }

  #record(record) {
    const marks = record.marks ?? [];
    const tone = marks.includes("damaged") ? "bad" : marks.includes("closing") ? "warn" : TONE_OF[record.class] ?? "off";
    const about = [record.name, record.call, record.turn, record.reason].filter(Boolean).join(" \u00b7 ");
    const fork = () => {
      const row = this.view.row();
      if (row) this.app.actions.fork(row, { at: { at: record.seq + 1 }, words: `behind record ${record.seq}` });
    };
    return h("li.record", { dataset: { seq: record.seq, tone, class: record.class, marks: marks.join(" ") } },
      h("div.head", {}, h("span.seq.num", {}, count(record.seq)), badge(words(record.class), tone),
        ...marks.map((mark) => {
          const [word, markTone, title] = MARKS[mark] ?? [mark, "off", ""];
          const element = badge(word, markTone);
          element.classList.add("mark");
          element.title = title;
          return element;
        }),
        about ? foreign(about, { tag: "code", line: true, max: 100 }) : null, h("span.grow"),
        record.at_ms ? h("time.muted", { title: date(record.at_ms) }, clock(record.at_ms)) : null,
        record.bytes != null ? h("span.muted.num", {}, `${count(record.bytes)} B`) : null,
        h("button.quiet", { type: "button", title: `Fork behind record ${record.seq}`, onclick: fork }, "Fork here")),
      record.text ? clamp("text", `record/${record.seq}`, record.text) : null);
  }
}
