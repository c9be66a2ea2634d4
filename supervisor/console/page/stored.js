// The view of what the store has: all threads, also those that sleep there and have no row in the tree.

import { ago, badge, fill, foreign, h, problemBox, setText, tickAges } from "./dom.js";
import { STATES, nameOf } from "./model.js";
import { plural } from "./text.js";

/** Threads that are asked for at once, and that are listed before the filter has to be narrower. */
const PAGE = 100;
const LISTED_MAX = 2000;
/** Typing is over after this time, in ms. */
const TYPED_MS = 250;
const SORTS = [["updated/desc", "changed last first"], ["created/desc", "newest first"], ["created/asc", "oldest first"], ["id/asc", "by id"]];
const WHICH = [["no", "not archived"], ["only", "archived"], ["any", "all"]];

/** What the list is asked for. */
export function queryOf({ text, sort, archived, roots }, after) {
  const [by, order] = sort.split("/");
  const query = new URLSearchParams({ sort: by, order, archived, count: String(PAGE) });
  if (text.trim()) query.set("search", text.trim());
  if (roots) query.set("roots", "true");
  if (after) query.set("after", after);
  return `/api/threads?${query}`;
}

export class StoredView {
  constructor(app) {
    this.app = app;
    this.asked = { text: "", sort: "updated/desc", archived: "no", roots: false };
    this.threads = [];
    this.next = null;
    this.turn = 0; // answers to an earlier question are not shown
    this.search = h("input.search", {
      type: "search", placeholder: "Search names, titles and first inputs", "aria-label": "Search stored threads (press /)", autocomplete: "off", spellcheck: "false",
      oninput: () => {
        clearTimeout(this.typing);
        this.typing = setTimeout(() => this.#ask({ text: this.search.value }), TYPED_MS);
      },
      onkeydown: (event) => {
        if (event.key === "ArrowDown" || event.key === "Enter") this.#choose(0, event);
      },
    });
    const select = (label, name, options) => {
      const element = h("select", { "aria-label": label, onchange: () => this.#ask({ [name]: element.value }) }, ...options.map(([value, text]) => h("option", { value }, text)));
      return element;
    };
    this.rootsBox = h("input", { type: "checkbox", onchange: () => this.#ask({ roots: this.rootsBox.checked }) });
    this.summary = h("span.muted", { role: "status" });
    this.list = h("ul.stored", { "aria-label": "Stored threads" });
    this.list.addEventListener("keydown", (event) => this.#listKey(event));
    this.more = h("button", { type: "button", hidden: true, onclick: () => this.#read() }, "More");
    this.empty = h("p.empty", { role: "status" });
    this.element = h("section.view.storedview", { "aria-label": "Stored threads", hidden: true },
      h("div.bar", {}, this.search, select("Order", "sort", SORTS), select("Archive", "archived", WHICH), h("label.check", {}, this.rootsBox, " roots only"),
        h("button", { type: "button", onclick: () => this.#ask({}) }, "Read again"), this.summary),
      h("div.scroll", {}, this.list, this.more), this.empty);
  }

  show() {
    this.#ask({});
  }

  hide() {
    clearTimeout(this.typing);
  }

  update() {}

  tick(now) {
    tickAges(this.list, now);
  }

  #ask(change) {
    Object.assign(this.asked, change);
    this.threads = [];
    this.next = null;
    this.#read(true);
  }

  async #read(anew = false) {
    const turn = (this.turn += 1);
    setText(this.summary, "Reading\u2026");
    try {
      const answer = await this.app.api.get(queryOf(this.asked, this.next));
      if (turn !== this.turn) return;
      const from = this.threads.length;
      this.threads.push(...answer.threads);
      this.next = answer.next ?? null;
      const now = this.app.tree.now();
      const items = answer.threads.map((thread) => this.#item(thread, now));
      if (anew) fill(this.list, ...items);
      else this.list.append(...items);
      if (!anew) this.list.children[from]?.querySelector("a").focus();
      fill(this.empty, this.asked.text ? "No stored thread matches." : "The store has no such thread.");
      this.empty.hidden = this.threads.length > 0;
    } catch (problem) {
      if (turn !== this.turn) return;
      fill(this.empty, problemBox(problem, () => this.#read(anew)));
      this.empty.hidden = false;
    }
    const full = this.threads.length >= LISTED_MAX;
    this.more.hidden = !this.next || full;
    setText(this.summary, `${plural(this.threads.length, "thread")} listed${this.next ? (full ? "; there are more: search for fewer" : "; there are more") : ""}`);
  }

  #item(thread, now) {
    const { actions } = this.app;
    const row = { ...thread, phase: "dormant" };
    const says = thread.title ?? thread.name ?? thread.preview;
    return h("li", { dataset: { thread: thread.thread, tone: STATES.get(thread.status) ?? "off" } },
      h("div.head", {}, badge(thread.status.replaceAll("_", " "), STATES.get(thread.status) ?? "off"), " ",
        h("a.name", { href: `#/thread/${thread.thread}` }, foreign(thread.path ?? nameOf(row), { line: true, max: 120 })), " ",
        thread.nickname ? [foreign(thread.nickname, { line: true, max: 60 }), " "] : null, thread.role ? [badge(thread.role), " "] : null,
        thread.archived_ms != null ? [badge("archived"), " "] : null, thread.in_tree ? [badge("in the tree", "run"), " "] : null,
        h("span.muted", {}, `${plural(thread.head, "record")} \u00b7 changed `), ago(thread.updated_ms, now)),
      says ? h("p.what", {}, foreign(says, { line: true, max: 240 })) : null,
      h("div.buttons", {}, h("button", { type: "button", onclick: () => actions.resume(row) }, "Resume"), h("button", { type: "button", onclick: () => actions.fork(row) }, "Fork\u2026")));
  }

  #choose(at, event) {
    const items = this.list.children;
    if (!items.length) return;
    event.preventDefault();
    items[Math.max(0, Math.min(items.length - 1, at))].querySelector("a").focus();
  }

  #listKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const at = [...this.list.children].indexOf(event.target.closest("li"));
    if (event.key === "ArrowDown") this.#choose(at + 1, event);
    else if (event.key === "ArrowUp") this.#choose(at - 1, event);
    else if (event.key === "Home") this.#choose(0, event);
    else if (event.key === "End") this.#choose(this.list.children.length - 1, event);
  }

  key(event) {
    if (event.key === "/") this.search.focus();
    else if (event.key === "ArrowDown" && !this.list.contains(document.activeElement)) this.#choose(0, event);
    else return false;
    event.preventDefault();
    return true;
  }
}
