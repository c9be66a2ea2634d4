// The view of one thread: what it is at and why, its turns, its records, and what can be done to it.

import { ago, badge, fill, foreign, h, problemBox, setText, tickAges } from "./dom.js";
import { History } from "./history.js";
import { STATES, nameOf, stateOf } from "./model.js";
import { Timeline } from "./timeline.js";
import { amount, cost, count, date, orUnlimited, plural, span, words } from "./text.js";

/** It is read again when its row changes, at most so often, in ms. */
const CHANGED_MS = 1000;
const ID = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g;

export class ThreadView {
  constructor(app) {
    this.app = app;
    this.id = null;
    this.crumbs = h("nav.crumbs", { "aria-label": "Above it" });
    this.title = h("h1", { tabindex: "-1" });
    this.badges = h("span.badges");
    this.ids = h("p.ids.muted");
    this.toolbar = app.actions.toolbar(() => this.row());
    this.facts = h("a.button", {}, "Facts");
    this.timeline = new Timeline(app, this);
    this.history = new History(app, this);
    this.tabs = [["timeline", "Timeline", this.timeline], ["history", "History", this.history]].map(([name, title, panel]) => {
      const tab = h("button", { type: "button", role: "tab", id: `tab-${name}`, "aria-controls": `panel-${name}`, onclick: () => this.choose(name) }, title);
      panel.element.id = `panel-${name}`;
      panel.element.setAttribute("role", "tabpanel");
      panel.element.setAttribute("aria-labelledby", `tab-${name}`);
      return { name, tab, panel };
    });
    const tablist = h("div.tabs", { role: "tablist", "aria-label": "What is shown of it" }, ...this.tabs.map(({ tab }) => tab));
    tablist.addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = this.tabs.find(({ name }) => name !== this.tab);
      this.choose(other.name);
      other.tab.focus();
    });
    this.side = h("aside.side", { "aria-label": "What it is at" });
    this.error = h("div");
    this.element = h("section.view.threadview", { "aria-label": "One thread", hidden: true },
      h("div.threadhead", {}, this.crumbs, h("div.titleline", {}, this.title, this.badges, h("span.grow"), this.facts, this.toolbar), this.ids),
      this.error,
      h("div.columns", {}, h("div.mainside", {}, tablist, this.timeline.element, this.history.element), this.side));
    this.choose("timeline");
  }

  choose(name) {
    this.tab = name;
    for (const one of this.tabs) {
      const on = one.name === name;
      one.tab.setAttribute("aria-selected", String(on));
      one.tab.tabIndex = on ? 0 : -1;
      one.panel.element.hidden = !on;
    }
    if (this.id) this.tabs.find((one) => one.name === name).panel.read();
  }

  /** Its row of the tree, or one made of what the store says. */
  row() {
    const row = this.app.tree.rows.get(this.id) ?? this.detail?.row;
    if (row) return row;
    const stored = this.detail?.stored;
    if (!stored) return null;
    return { thread: this.id, parent: stored.parent, path: stored.path, status: stored.status, phase: "dormant", turns: 0, crashes: 0, restarts: 0 };
  }

  show(id) {
    if (id !== this.id) {
      this.id = id;
      this.detail = null;
      this.problem = null;
      this.timeline.reset();
      this.history.reset();
      fill(this.side, h("p.empty", {}, "Reading\u2026"));
      fill(this.error);
    }
    this.shown = true;
    this.facts.href = `#/events/${id}`;
    this.#head();
    this.#read();
    this.tabs.find((one) => one.name === this.tab).panel.read();
    this.title.focus({ preventScroll: true });
  }

  hide() {
    this.shown = false;
    clearTimeout(this.timer);
    this.timer = null;
  }

  update({ changed }) {
    if (!changed.has(this.id)) return;
    this.#head();
    this.#showBudget();
    this.#changed();
  }

  /** Something of it changed, as its row tells with each fact of it: it is read again, now or as soon as it may be. */
  #changed() {
    if (!this.shown || this.timer) return;
    const wait = CHANGED_MS - (Date.now() - (this.readAt ?? 0));
    if (this.reading || wait > 0) this.timer = setTimeout(() => this.#again(), Math.max(50, wait));
    else this.#read();
  }

  #again() {
    this.timer = null;
    if (this.reading) this.#changed();
    else this.#read();
  }

  render() {}

  tick(now) {
    tickAges(this.element, now);
    if (this.backoff) setText(this.backoff.element, this.backoff.until > now ? `${span(Math.ceil((this.backoff.until - now) / 100) * 100)} left` : "over");
  }

  async #read() {
    if (this.reading || !this.shown) return;
    this.reading = true;
    const { id } = this;
    try {
      const detail = await this.app.api.get(this.app.api.thread(id));
      if (id !== this.id) return;
      this.detail = detail;
      fill(this.error);
      this.#head();
      this.#side();
      // Each of them says up to where it has read: what came since is read now.
      const head = detail.stored?.head ?? 0;
      if (this.timeline.head < head) this.timeline.renew();
      if (this.history.next < head) this.history.grow();
    } catch (problem) {
      if (id === this.id) fill(this.error, problemBox(problem, () => this.#read()));
      if (id === this.id && !this.detail) fill(this.side);
    } finally {
      this.reading = false;
      this.readAt = Date.now();
      if (id !== this.id && this.shown) this.#read();
    }
  }

  #head() {
    const row = this.row();
    const chain = this.app.tree.ancestry(this.id).slice(0, -1);
    fill(this.crumbs, h("a", { href: "#/tree" }, "Tree"), ...chain.flatMap((above) => [" / ", h("a", { href: `#/thread/${above.thread}` }, foreign(nameOf(above), { line: true, max: 40 }))]));
    const stored = this.detail?.stored;
    fill(this.title, row ? foreign(nameOf(row), { line: true, max: 80 }) : `\u2026${this.id.slice(-8)}`);
    if (!row) fill(this.badges);
    else {
      const state = stateOf(row);
      fill(this.badges, badge(row.gone ? `ended: ${words(row.gone.how)}` : state, STATES.get(state) ?? "off"),
        row.role ? h("span.badge", { title: "Its role" }, foreign(row.role, { line: true, max: 40 })) : null, row.internal ? badge("internal") : null, stored?.archived_ms ? badge("archived") : null);
    }
    fill(this.ids, h("code", {}, this.id), row?.path ? [" \u00b7 ", foreign(row.path)] : null, row?.nickname ? [" \u00b7 ", foreign(row.nickname)] : null,
      row?.forked_from ? [" \u00b7 forked from ", this.link(row.forked_from)] : null);
    this.toolbar.refresh();
  }

  /** A link to another thread, by its name if that is known. */
  link(id) {
    const row = this.app.tree.rows.get(id);
    return h("a", { href: `#/thread/${id}`, title: id }, foreign(row ? nameOf(row) : `\u2026${id.slice(-8)}`, { line: true, max: 60 }));
  }

  /** Foreign text, with ids of threads as links. */
  #linked(text) {
    text = text.replace(/\b42949\d{5}\b/g, (number) => (Number(number) >= 0xffff_0000 ? "unlimited" : number));
    const parts = [];
    let from = 0;
    for (const match of text.matchAll(ID)) {
      if (!this.app.tree.rows.has(match[0])) continue;
      if (match.index > from) parts.push(foreign(text.slice(from, match.index)));
      parts.push(this.link(match[0]));
      from = match.index + match[0].length;
    }
    if (from < text.length) parts.push(foreign(text.slice(from)));
    return parts;
  }

  #side() {
    const { detail } = this;
    const now = this.app.tree.now();
    const open = new Set([...this.side.querySelectorAll("details[open]")].map((one) => one.dataset.name));
    this.backoff = null;
    fill(this.side, this.#why(detail), this.#inbox(detail), this.#restarts(detail, now), this.#budgetCard(detail), this.#usage(detail), this.#children(detail), this.#stored(detail));
    for (const one of this.side.querySelectorAll("details")) if (open.has(one.dataset.name)) one.open = true;
  }

  #why({ why, why_text: lines }) {
    return card("Why",
      h("ul.why", {}, ...(lines ?? []).map((line) => h("li", {}, ...this.#linked(line)))),
      why?.silent?.length ? h("p.warn", {}, `Who did not answer in time: ${why.silent.map((one) => (typeof one === "string" ? one : JSON.stringify(one))).join(", ")}`) : null,
      why?.waiters?.length ? h("p", {}, "Wait for it: ", ...why.waiters.slice(0, 20).flatMap((id, at) => [at ? ", " : "", this.link(id)])) : null,
      why ? h("details", { dataset: { name: "why" } }, h("summary", {}, "As the runtime says it"), h("pre.body", {}, foreign(JSON.stringify(why, null, 2), { max: 20_000 }))) : null);
  }

  #inbox({ inbox }) {
    if (!inbox) return card("Inbox", h("p.muted", {}, "It has no actor: the next submission gives it one."));
    const kinds = Object.entries(inbox.by_kind ?? {}).filter(([, n]) => n > 0);
    return card("Inbox",
      h("p", {}, h("b", {}, `${count(inbox.used)} of ${count(inbox.capacity)}`), inbox.mail ? ` \u00b7 ${plural(inbox.mail, "unread mail", "unread mails")}` : ""),
      kinds.length ? h("div.kinds", {}, ...kinds.map(([kind, n]) => badge(`${n} ${words(kind)}`))) : h("p.muted", {}, "Nothing waits."),
      inbox.queued?.length ? h("ol.queued", {}, ...inbox.queued.map((one) => h("li", {}, `${words(one.op)} `, foreign(one.submission, { tag: "code", line: true, max: 60 })))) : null);
  }

  #restarts({ restarts }, now) {
    if (!restarts) return null;
    const { crashes = [], recent = [] } = restarts;
    const entries = [
      ...crashes.map((crash) => ({ at_ms: crash.at_ms, word: "crash", tone: "bad", text: crash.cause, more: `life ${crash.epoch}, record ${crash.seq}` })),
      ...recent.filter((one) => one.kind !== "crash" || !crashes.some((crash) => crash.cause === one.text && Math.abs(crash.at_ms - one.at_ms) < 1000)).map((one) => ({ at_ms: one.at_ms, word: words(one.kind), tone: one.kind.startsWith("restart") ? "run" : one.kind === "parked" ? "park" : "warn", text: one.text, more: [one.n != null ? `no. ${one.n}` : null, one.pause_ms != null ? `after ${span(one.pause_ms)}` : null].filter(Boolean).join(", ") })),
    ].sort((a, b) => b.at_ms - a.at_ms);
    const until = restarts.backoff_until_ms;
    let left = null;
    if (until && until > now) {
      const element = h("b.warn", {});
      this.backoff = { element, until };
      setText(element, `${span(until - now)} left`);
      left = h("p", {}, "Backoff: ", element);
    }
    return card("Restarts",
      h("p", {}, [
        restarts.max != null ? (restarts.max >= 0xffff_ffff ? "No limit" : `${count(restarts.max)} in ${span(restarts.period_ms)}`) : null,
        restarts.engine_left != null ? `engine: ${orUnlimited(restarts.engine_left)} left` : null,
        restarts.actor_left != null ? `actor: ${orUnlimited(restarts.actor_left)} left` : null,
      ].filter(Boolean).join(" \u00b7 ")), left,
      entries.length ? h("ul.events", { "aria-label": "Crashes and restarts, newest first" }, ...entries.slice(0, 30).map((one) =>
        h("li", {}, badge(one.word, one.tone), " ", ago(one.at_ms, now), one.more ? h("span.muted", {}, ` ${one.more}`) : null, one.text ? h("div.cause", {}, foreign(one.text, { max: 500 })) : null)))
        : h("p.muted", {}, "It never crashed here."));
  }

  /** Its budget is in its row, where it has one: frames tell of each change, also by those who draw on it. */
  #budgetCard(detail) {
    const budget = this.app.tree.rows.get(this.id)?.budget ?? detail.budget;
    this.budget = { said: JSON.stringify(budget), card: this.#budget(budget) };
    return this.budget.card;
  }

  #showBudget() {
    const before = this.budget;
    if (!this.detail || !before || JSON.stringify(this.app.tree.rows.get(this.id)?.budget ?? this.detail.budget) === before.said) return;
    const focused = before.card.contains(document.activeElement);
    before.card.replaceWith(this.#budgetCard(this.detail));
    if (focused) this.budget.card.querySelector("button")?.focus();
  }

  #budget(budget) {
    if (!budget) return card("Budget", h("p.muted", {}, "None of its own."));
    const names = [...new Set(["granted", "spent", "carved", "left"].flatMap((part) => Object.keys(budget[part] ?? {})))];
    const say = (name, n) => (n == null ? "\u2014" : name.includes("cost") ? cost(n) || "0" : name.endsWith("_ms") ? span(n) : typeof n === "object" ? span(n.secs * 1000 + n.nanos / 1e6) : count(n));
    return card("Budget", h("table.figures", {}, h("thead", {}, h("tr", {}, ...["", "granted", "spent", "carved", "left"].map((title) => h("th", { scope: "col" }, title)))),
      h("tbody", {}, ...names.map((name) => {
        const [granted, left] = [budget.granted?.[name], budget.left?.[name]];
        const low = granted && left != null && left <= granted / 10;
        return h("tr", {}, h("th", { scope: "row" }, words(name)), ...["granted", "spent", "carved"].map((part) => h("td", {}, say(name, budget[part]?.[name]))), h(low ? "td.bad" : "td", {}, say(name, left)));
      }))), h("div.buttons", {}, h("button", { type: "button", onclick: () => this.app.actions.fund(this.row(), names) }, "Fund\u2026")));
  }

  #usage({ row }) {
    if (!row?.tokens?.total) return null;
    const { tokens } = row;
    return card("Usage", h("p", {}, h("b", {}, `${amount(tokens.total)} tokens`),
      ` \u00b7 in ${amount(tokens.input)} (${amount(tokens.cached_input)} cached) \u00b7 out ${amount(tokens.output)} (${amount(tokens.reasoning_output)} reasoning)`, row.cost_micros ? ` \u00b7 cost ${cost(row.cost_micros)}` : ""));
  }

  #children({ children = [] }) {
    if (!children.length) return null;
    return card(`Sub-agents (${count(children.length)})`, h("ul.children", {}, ...children.slice(0, 100).map((id) => {
      const row = this.app.tree.rows.get(id);
      const state = row ? stateOf(row) : null;
      return h("li", {}, this.link(id), " ", state ? badge(state, STATES.get(state)) : null);
    })), children.length > 100 ? h("p.muted", {}, `and ${count(children.length - 100)} more`) : null);
  }

  #stored({ stored }) {
    if (!stored) return null;
    const line = (name, value) => (value === null || value === undefined || value === "" ? [] : [h("dt", {}, name), h("dd", {}, value instanceof Node ? value : foreign(String(value)))]);
    return card("Stored", h("dl", {},
      ...line("records", `${count(stored.head)}${stored.settled !== stored.head ? `, ${count(stored.settled)} settled` : ""}`), ...line("life", stored.epoch), ...line("depth", stored.depth),
      ...line("made", date(stored.created_ms)), ...line("changed", date(stored.updated_ms)), ...line("archived", stored.archived_ms && date(stored.archived_ms)),
      ...line("edge", stored.parent && stored.edge), ...line("base", stored.base && h("span", {}, this.link(stored.base.thread), ` up to record ${count(stored.base.cut)}`)),
      ...line("name", stored.name), ...line("title", stored.title), ...line("preview", stored.preview), ...line("rollout", stored.rollout_path)),
      stored.config ? h("details", { dataset: { name: "config" } }, h("summary", {}, "Settings"), h("pre.body", {}, foreign(JSON.stringify(stored.config, null, 2), { max: 20_000 }))) : null);
  }

  key(event) {
    if (event.key === "Escape") this.app.go(`#/tree`);
    else if (event.key === "t") this.choose("timeline");
    else if (event.key === "h") this.choose("history");
    else if (event.key === "u") {
      const above = this.app.tree.rows.get(this.id)?.parent;
      if (above) this.app.open(above);
    } else return this.app.actions.key(event, this.row());
    event.preventDefault();
    return true;
  }
}

function card(title, ...children) {
  return h("section.card", { "aria-label": title }, h("h2", {}, title), ...children);
}

