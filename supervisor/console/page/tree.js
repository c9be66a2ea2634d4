// The view of all threads: a tree grid with windowed rows. Keyed by thread: a row that is on screen keeps its
// element, and only what changed of it is written.

import { fill, h, setAttr, setForeign, setText, tip } from "./dom.js";
import { COLUMNS, STATES, arrange, nameOf, stateOf, windowOf } from "./model.js";
import { age, amount, clock, count, plural } from "./text.js";

const ROW_PX = 28;
/** The order is made anew at most so often, in ms; what a row says is shown with each frame. */
const REORDER_MS = 1000;
/** A thread that is over fades within this time, in ms: the server keeps its row so long. */
const FADE_MS = 60_000;

class RowView {
  constructor(view) {
    const cell = (name, ...children) => h(`div.cell.${name}`, { role: "gridcell" }, ...children);
    this.twisty = h("span.twisty", { "aria-hidden": "true" });
    this.link = h("a.name", { tabindex: "-1" });
    this.meta = h("span.meta");
    this.below = h("span.below");
    this.dot = h("span.dot", { "aria-hidden": "true" });
    this.state = h("span.state");
    this.inbox = h("span.num");
    this.fillBar = h("span.fill");
    this.turn = h("span.num");
    this.phase = h("span.phase");
    this.turns = cell("turns.num");
    this.tokens = cell("tokens.num");
    this.crashes = cell("crashes.num");
    this.restarts = cell("restarts.num");
    this.errorAge = h("span.muted");
    this.error = h("span.text");
    this.element = h("div.row", { role: "row", tabindex: "-1" },
      h("div.cell.thread", { role: "rowheader" }, this.twisty, this.link, this.meta, this.below),
      cell("state", this.dot, this.state), cell("inbox", this.inbox, h("span.bar", { "aria-hidden": "true" }, this.fillBar)),
      cell("turn", this.phase, this.turn), this.turns, this.tokens, this.crashes, this.restarts, cell("error", this.errorAge, this.error));
    this.element.addEventListener("click", (event) => view.onRowClick(event, this.id));
    this.element.addEventListener("dblclick", () => view.app.open(this.id));
    this.element.addEventListener("focus", () => view.activate(this.id, { focus: false }));
  }

  place(index) {
    if (this.index === index) return;
    this.index = index;
    this.element.style.transform = `translateY(${index * ROW_PX}px)`;
    this.element.setAttribute("aria-rowindex", index + 2);
    this.element.classList.toggle("odd", index % 2 === 1);
  }

  update(item, row, now, flat) {
    if (this.row !== row) this.#write(row);
    if (this.item !== item) this.#shape(item, row, flat);
    this.item = item;
    this.tick(now);
  }

  #write(row) {
    this.row = row;
    this.id = row.thread;
    const { element } = this;
    element.dataset.thread = row.thread;
    const name = nameOf(row);
    if (this.name !== name) setForeign(this.link, (this.name = name), { line: true, max: 80 });
    setAttr(this.link, "href", `#/thread/${row.thread}`);
    tip(this.link, `${row.path ?? ""}\n${row.thread}${row.last_task ? `\n${row.last_task}` : ""}`.trim());
    const meta = [row.nickname && row.nickname !== name ? row.nickname : null, row.role].filter(Boolean).join(" \u00b7 ");
    const task = row.last_task ?? "";
    const said = `${meta}\u0000${task}`;
    if (this.said !== said) {
      this.said = said;
      setForeign(this.meta, meta && task ? `${meta} \u2014 ${task}` : meta || task, { line: true, max: 120 });
    }
    const state = stateOf(row);
    setText(this.state, row.gone ? goneWord(row.gone) : state);
    tip(this.state, row.status_text);
    setAttr(element, "data-state", state);
    setAttr(element, "data-tone", STATES.get(state) ?? "off");
    const inbox = row.gone ? null : row.inbox;
    setText(this.inbox, inbox ? `${inbox.used}/${inbox.capacity}` : "");
    const full = inbox?.capacity ? Math.min(1, inbox.used / inbox.capacity) : 0;
    if (this.full !== full) {
      this.full = full;
      this.fillBar.style.transform = `scaleX(${full && Math.max(full, 0.04)})`;
      this.fillBar.classList.toggle("high", full >= 0.9);
    }
    setText(this.phase, row.turn ? (row.turn.waits_for_host ? "host" : (row.turn.phase ?? "").replace("await_", "")) : "");
    setText(this.turns, row.turns ? count(row.turns) : "");
    setText(this.tokens, row.tokens?.total ? amount(row.tokens.total) : "");
    setText(this.crashes, row.crashes ? count(row.crashes) : "");
    setText(this.restarts, row.restarts ? count(row.restarts) : "");
    const error = row.last_error?.text ?? "";
    if (this.errorText !== error) {
      setForeign(this.error, (this.errorText = error), { line: true, max: 160 });
      tip(this.error, error);
    }
    setAttr(element, "data-over", row.gone ? "" : null);
  }

  #shape(item, row, flat) {
    const { element } = this;
    if (this.depth !== item.depth) {
      this.depth = item.depth;
      this.twisty.style.marginInlineStart = `${Math.min(item.depth, 24) * 16}px`;
      setAttr(element, "aria-level", item.depth + 1);
    }
    setAttr(element, "aria-expanded", item.kids ? String(item.open) : null);
    setText(this.twisty, item.kids ? (item.open ? "\u25be" : "\u25b8") : "");
    setText(this.below, item.below ? `+${count(item.below)}${item.trouble ? `, ${item.trouble} in trouble` : ""}` : "");
    this.below.classList.toggle("bad", item.trouble > 0);
    element.classList.toggle("dim", item.dim);
    if (flat && row.path) setForeign(this.link, (this.name = row.path), { line: true, max: 120 });
    else if (this.name === row.path) setForeign(this.link, (this.name = nameOf(row)), { line: true, max: 80 });
  }

  tick(now) {
    const { row } = this;
    setText(this.turn, row.turn ? age(now - row.turn.since_ms) : "");
    setText(this.errorAge, row.last_error?.at_ms ? age(now - row.last_error.at_ms) : "");
    const opacity = row.gone ? Math.max(0.3, 1 - (0.7 * (now - row.gone.at_ms)) / FADE_MS).toFixed(2) : "";
    if (this.opacity !== opacity) {
      this.opacity = opacity;
      this.element.style.opacity = opacity;
    }
  }
}

function goneWord({ how, rung }) {
  return rung ? `${how}, ${rung}` : String(how).replaceAll("_", " ");
}

const HEADS = [
  ["thread", "Thread"], ["state", "State"], ["inbox", "Inbox"], ["turn", "Turn"], ["turns", "Turns"], ["tokens", "Tokens"],
  ["crashes", "Crashes"], ["restarts", "Restarts"], ["error", "Last error"],
];

export class TreeView {
  constructor(app) {
    this.app = app;
    this.view = { sort: "thread", dir: 1, text: "", states: new Set(), collapsed: new Set(), flat: false, internal: false };
    this.items = [];
    this.indexOf = new Map();
    this.views = new Map(); // thread: RowView on screen
    this.spare = [];
    this.active = null;
    this.orderedAt = 0;

    this.search = h("input.search", {
      type: "search", placeholder: "Filter by name, task, error or id", "aria-label": "Filter threads by text (press /)", autocomplete: "off", spellcheck: "false",
      oninput: () => this.#set({ text: this.search.value }),
      onkeydown: (event) => {
        if (event.key === "ArrowDown" || event.key === "Enter") {
          event.preventDefault();
          this.focusGrid();
        }
      },
    });
    this.chips = h("div.chips", { role: "group", "aria-label": "Filter by state" });
    this.chipOf = new Map();
    this.flatButton = h("button", { type: "button", "aria-pressed": "false", title: "Tree or flat list (l)", onclick: () => this.#set({ flat: !this.view.flat }) }, "Flat");
    this.openButton = h("button", { type: "button", title: "Open or collapse all (*)", onclick: () => this.toggleAll() }, "Collapse all");
    this.internalBox = h("input", { type: "checkbox", onchange: () => this.#set({ internal: this.internalBox.checked }) });
    this.toolbar = app.actions.toolbar(() => this.activeRow());
    const spawn = h("button", { type: "button", title: "Spawn a thread (n)", onclick: () => app.actions.spawn(null) }, "Spawn\u2026");

    this.heads = new Map();
    const head = h("div.row.head", { role: "row", "aria-rowindex": "1" }, ...HEADS.map(([name, title]) => {
      const sort = COLUMNS[name] ? name : null;
      const numeric = COLUMNS[name]?.numeric ? ".num" : "";
      const button = h("button", { type: "button", onclick: () => this.sortBy(sort) }, title);
      const cell = h(`div.cell.${name}${numeric}`, { role: "columnheader", "aria-sort": "none" }, button);
      this.heads.set(name, cell);
      return cell;
    }));
    this.body = h("div.rows", { role: "rowgroup" });
    this.empty = h("p.empty", { role: "status", hidden: true });
    this.grid = h("div.grid", { role: "treegrid", "aria-label": "Threads", "aria-readonly": "true" },
      h("div.headgroup", { role: "rowgroup" }, head), this.body);
    this.grid.addEventListener("scroll", () => this.app.schedule(), { passive: true });
    this.grid.addEventListener("keydown", (event) => this.#gridKey(event));
    new ResizeObserver(() => this.app.schedule()).observe(this.grid);
    this.foot = h("p.foot.muted");
    this.element = h("section.view.tree", { "aria-label": "Tree of threads", hidden: true },
      h("div.bar", {}, this.search, this.flatButton, this.openButton,
        h("label.check", {}, this.internalBox, " internal"), h("span.grow"), this.toolbar, spawn),
      this.chips, this.grid, this.empty, this.foot);
  }

  show() {
    this.order(true);
    this.render();
  }

  hide() {}

  #set(change) {
    Object.assign(this.view, change);
    this.order(true);
    this.app.schedule();
  }

  sortBy(name) {
    if (!name) return;
    const first = COLUMNS[name].first;
    if (this.view.sort !== name) this.#set({ sort: name, dir: first });
    else if (this.view.dir === first) this.#set({ dir: -first });
    else this.#set({ sort: "thread", dir: 1 });
  }

  toggleAll() {
    const parents = new Set();
    for (const row of this.app.tree.rows.values()) if (row.parent && this.app.tree.rows.has(row.parent)) parents.add(row.parent);
    this.#set({ collapsed: this.view.collapsed.size ? new Set() : parents });
  }

  activeRow() {
    return this.app.tree.rows.get(this.active) ?? null;
  }

  /** Makes the order anew: at once if `now`, else if the last time is long enough ago. */
  order(now) {
    const at = performance.now();
    if (!now && at - this.orderedAt < REORDER_MS) return false;
    this.orderedAt = at;
    const anchor = this.indexOf.get(this.active);
    this.items = arrange(this.app.tree.rows, this.view);
    this.indexOf = new Map(this.items.map((item, index) => [item.row.thread, index]));
    const moved = this.indexOf.get(this.active);
    if (moved === undefined) this.active = this.items[Math.min(anchor ?? 0, this.items.length - 1)]?.row.thread ?? null;
    else if (anchor !== undefined && moved !== anchor && this.#inSight(anchor)) this.grid.scrollTop += (moved - anchor) * ROW_PX;
    return true;
  }

  #inSight(index) {
    const top = index * ROW_PX - this.grid.scrollTop;
    return top >= -ROW_PX && top < this.grid.clientHeight - ROW_PX;
  }

  /** After a frame. `shape`: rows came, went or moved. */
  update({ shape }) {
    if (shape || this.view.sort !== "thread" || this.view.text || this.view.states.size) {
      if (!this.order(!this.items.length)) this.#later();
    }
    this.#showChips();
  }

  #later() {
    if (this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      if (!this.element.hidden && this.order(true)) this.app.schedule();
    }, REORDER_MS - (performance.now() - this.orderedAt) + 1);
  }

  render() {
    const { rows } = this.app.tree;
    const now = this.app.tree.now();
    const total = this.items.length;
    const height = `${total * ROW_PX}px`;
    if (this.height !== height) {
      this.height = height;
      this.body.style.height = height;
      this.grid.setAttribute("aria-rowcount", total + 1);
    }
    const [first, end] = windowOf(total, this.grid.scrollTop, this.grid.clientHeight, ROW_PX);
    const wanted = new Set();
    for (let index = first; index < end; index += 1) wanted.add(index);
    const kept = this.indexOf.get(this.active);
    if (kept !== undefined) wanted.add(kept); // the row that has the focus stays, wherever it is
    const ids = new Set();
    for (const index of wanted) ids.add(this.items[index].row.thread);
    for (const [id, view] of this.views) {
      if (ids.has(id)) continue;
      this.views.delete(id);
      if (this.spare.length < 80) this.spare.push(view);
      view.element.remove();
    }
    const fresh = document.createDocumentFragment();
    for (const index of wanted) {
      const item = this.items[index];
      const row = rows.get(item.row.thread) ?? item.row;
      let view = this.views.get(row.thread);
      if (!view) {
        view = this.spare.pop() ?? new RowView(this);
        view.item = null;
        this.views.set(row.thread, view);
        fresh.append(view.element);
      }
      view.place(index);
      view.update(item, row, now, this.view.flat);
      this.#mark(view);
    }
    if (fresh.childNodes.length) this.body.append(fresh);
    this.#showHeads();
    this.#showEmpty(total);
    this.toolbar.refresh();
    const { tree } = this.app;
    setText(this.foot, tree.ready
      ? `${plural(total, "row")}${total === tree.rows.size ? "" : ` of ${count(tree.rows.size)}`} \u00b7 as of ${clock(tree.atMs, false)}, fact ${count(tree.seq)}${tree.events.lost ? ` \u00b7 the console lost ${plural(tree.events.lost, "fact")}, and read the tree anew` : ""}`
      : "");
  }

  #mark(view) {
    const active = view.id === this.active;
    if (view.active === active) return;
    view.active = active;
    view.element.tabIndex = active ? 0 : -1;
    setAttr(view.element, "aria-selected", active ? "true" : "false");
  }

  #showHeads() {
    for (const [name, cell] of this.heads) {
      const sorted = this.view.sort === name;
      setAttr(cell, "aria-sort", sorted ? (this.view.dir > 0 ? "ascending" : "descending") : "none");
    }
    setAttr(this.flatButton, "aria-pressed", String(this.view.flat));
    setText(this.openButton, this.view.collapsed.size ? "Open all" : "Collapse all");
  }

  #showChips() {
    const tally = this.app.tree.tally(this.view.internal);
    for (const state of STATES.keys()) {
      const n = tally.get(state) ?? 0;
      let chip = this.chipOf.get(state);
      if (!chip) {
        if (!n && !this.view.states.has(state)) continue;
        const number = h("span.count");
        chip = h("button.chip", { type: "button", "aria-pressed": "false", dataset: { tone: STATES.get(state), state }, onclick: () => this.#toggleState(state) },
          h("span.dot", { "aria-hidden": "true" }), state, " ", number);
        chip.number = number;
        this.chipOf.set(state, chip);
        this.chips.replaceChildren(...[...STATES.keys()].map((one) => this.chipOf.get(one)).filter(Boolean));
      }
      setText(chip.number, count(n));
      const off = !n && !this.view.states.has(state);
      if (chip.hidden !== off) chip.hidden = off;
      setAttr(chip, "aria-pressed", String(this.view.states.has(state)));
    }
  }

  #toggleState(state) {
    const states = new Set(this.view.states);
    if (!states.delete(state)) states.add(state);
    this.#set({ states });
    this.#showChips();
  }

  #showEmpty(total) {
    this.empty.hidden = total > 0;
    if (total > 0) return;
    const { tree } = this.app;
    const filtered = this.view.text || this.view.states.size;
    if (!tree.ready) setText(this.empty, "Reading the tree\u2026");
    else if (filtered) fill(this.empty, "No thread matches. ", h("button", { type: "button", onclick: () => this.clear() }, "Clear the filter"));
    else fill(this.empty, "No thread is in memory. Spawn one with n, wait for the host to do so, or look among the ", h("a", { href: "#/stored" }, "stored"), " ones.");
  }

  clear() {
    this.search.value = "";
    this.#set({ text: "", states: new Set() });
    this.#showChips();
  }

  /** Makes a row the active one, and scrolls to it. */
  activate(id, { focus = true } = {}) {
    const index = this.indexOf.get(id);
    if (index === undefined) return;
    const changed = this.active !== id;
    this.active = id;
    if (focus) {
      const top = index * ROW_PX;
      const room = this.grid.clientHeight - 2 * ROW_PX;
      if (top < this.grid.scrollTop) this.grid.scrollTop = top;
      else if (top > this.grid.scrollTop + room) this.grid.scrollTop = top - room;
    }
    if (changed || focus) this.render();
    if (focus) this.views.get(id)?.element.focus({ preventScroll: true });
  }

  focusGrid() {
    const id = this.active ?? this.items[0]?.row.thread;
    if (id) this.activate(id);
    else this.search.focus();
  }

  onRowClick(event, id) {
    if (event.target.closest(".twisty")?.textContent) {
      this.toggle(id);
      event.preventDefault();
    }
    if (!event.target.closest("a")) this.activate(id);
  }

  toggle(id, open) {
    const collapsed = new Set(this.view.collapsed);
    const closed = collapsed.has(id);
    if (open === !closed) return;
    if (closed) collapsed.delete(id);
    else collapsed.add(id);
    this.#set({ collapsed });
  }

  #gridKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest(".head")) return;
    const at = this.indexOf.get(this.active) ?? 0;
    const item = this.items[at];
    if (!item) return;
    const page = Math.max(1, Math.floor(this.grid.clientHeight / ROW_PX) - 2);
    const go = (index) => this.activate(this.items[Math.max(0, Math.min(this.items.length - 1, index))].row.thread);
    switch (event.key) {
      case "ArrowDown": go(at + 1); break;
      case "ArrowUp": go(at - 1); break;
      case "PageDown": go(at + page); break;
      case "PageUp": go(at - page); break;
      case "Home": go(0); break;
      case "End": go(this.items.length - 1); break;
      case "ArrowRight":
        if (item.kids && !item.open) this.toggle(this.active, true);
        else if (item.open) go(at + 1);
        break;
      case "ArrowLeft":
        if (item.open && !this.view.flat && !this.view.text && !this.view.states.size) this.toggle(this.active, false);
        else if (this.indexOf.has(item.row.parent)) this.activate(item.row.parent);
        break;
      case " ": if (item.kids) this.toggle(this.active); break;
      case "Enter": this.app.open(this.active); break;
      default: return;
    }
    event.preventDefault();
  }

  tick(now) {
    for (const view of this.views.values()) view.tick(now);
  }

  key(event) {
    if (event.key === "/") this.search.focus();
    else if (event.key === "l") this.#set({ flat: !this.view.flat });
    else if (event.key === "*") this.toggleAll();
    else if (event.key === "Escape" && (this.view.text || this.view.states.size)) this.clear();
    else if (event.key === "ArrowDown" && !this.grid.contains(document.activeElement)) this.focusGrid();
    else return this.app.actions.key(event, this.activeRow());
    event.preventDefault();
    return true;
  }
}

