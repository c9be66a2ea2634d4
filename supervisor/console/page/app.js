// The page: the stream of the tree, the views, the connection, the keys.

import { Actions } from "./actions.js";
import { Api, keepToken, takeToken } from "./api.js";
import { AttentionView } from "./attention.js";
import { fill, foreign, h, setAttr, setForeign, setText } from "./dom.js";
import { LanesView } from "./lanes.js";
import { LogView } from "./log.js";
import { Tree } from "./model.js";
import { StoredView } from "./stored.js";
import { ThreadView } from "./thread.js";
import { TreeView } from "./tree.js";
import { age, clock, count, span } from "./text.js";

const SHORTCUTS = [
  ["Everywhere", [["1 2 3 4 5", "tree, lanes, events, attention, stored"], ["?", "these shortcuts"], ["Esc", "back, or clear the filter"], ["/", "filter"]]],
  ["Tree", [
    ["\u2191 \u2193 PgUp PgDn Home End", "choose a thread"], ["\u2190 \u2192", "collapse, open, or go to its parent"], ["Enter", "show the thread"],
    ["space", "collapse or open"], ["*", "collapse or open all"], ["l", "tree or flat list"],
  ]],
  ["On a thread", [["s", "submit"], ["i", "interrupt"], ["f", "fork"], ["c", "close"], ["p", "park"], ["r", "revive"], ["n", "spawn below it"]]],
  ["One thread", [["t h", "timeline, history"], ["u", "its parent"]]],
  ["Attention, stored", [["\u2191 \u2193 Home End", "choose a thread"], ["Enter", "show it"]]],
  ["Lanes, events", [["space", "pause"], ["\u2191 \u2193 \u2190 \u2192", "choose a lane, a turn, a fact"], ["Enter", "show its thread"]]],
];
const VIEW_KEYS = { 1: "#/tree", 2: "#/lanes", 3: "#/events", 4: "#/attention", 5: "#/stored" };

class App {
  constructor(token) {
    this.api = new Api(token);
    this.tree = new Tree();
    this.actions = new Actions(this);
    this.main = document.getElementById("main");
    this.banner = document.getElementById("banner");
    this.views = { tree: new TreeView(this), lanes: new LanesView(this), events: new LogView(this), attention: new AttentionView(this), stored: new StoredView(this), thread: new ThreadView(this) };
    fill(this.main, ...Object.values(this.views).map((view) => view.element));
    this.singleKeys = localStorage.getItem("coppicer.keys") !== "off";
    this.pending = null;
  }

  start() {
    addEventListener("hashchange", () => this.#route());
    addEventListener("keydown", (event) => this.#key(event));
    addEventListener("online", () => this.stream.retryNow());
    document.addEventListener("visibilitychange", () => document.hidden || this.#tick());
    document.getElementById("help").addEventListener("click", () => this.help());
    this.stream = this.api.stream("/api/tree/stream", { onEvents: (events) => this.#take(events), onState: (state) => this.#connection(state) });
    this.stream.start();
    this.api.get("/api/info").then((info) => {
      setForeign(document.getElementById("label"), info.label ?? "", { line: true, max: 60 });
      document.title = info.label ? `Coppicer \u2014 ${info.label.slice(0, 60)}` : "Coppicer";
      setAttr(document.getElementById("label"), "title", `version ${info.version}\n${info.store ?? "no store"}`);
    }).catch(() => {});
    setInterval(() => this.#tick(), 1000);
    this.#route();
  }

  // Frames.

  #take(events) {
    let shape = false;
    const changed = new Set();
    for (const event of events) {
      if (event.event !== "frame") continue;
      const told = this.tree.apply(JSON.parse(event.data));
      shape ||= told.shape;
      for (const id of told.changed) changed.add(id);
    }
    this.pending ??= { changed: new Set(), shape: false };
    this.pending.shape ||= shape;
    for (const id of changed) this.pending.changed.add(id);
    this.schedule();
  }

  /** Draws soon: with the next picture, or within `ms`. */
  schedule(ms = 0) {
    if (ms > 0) {
      this.soon ??= setTimeout(() => {
        this.soon = null;
        this.schedule();
      }, ms);
      return;
    }
    this.picture ??= requestAnimationFrame(() => {
      this.picture = null;
      this.#draw();
    });
  }

  #draw() {
    const told = this.pending;
    this.pending = null;
    if (told) {
      this.view?.update(told);
      document.documentElement.dataset.frames = this.tree.frames; // for who measures
      const badge = document.getElementById("attention-count");
      const n = this.tree.attention.count;
      badge.hidden = !n;
      setText(badge, count(n));
    }
    this.view?.render?.();
  }

  #tick() {
    if (document.hidden) return;
    this.view?.tick?.(this.tree.now());
    if (!this.banner.hidden) this.#showBanner();
  }

  // The connection.

  #connection(state) {
    this.link = state;
    if (state.kind === "live") this.lostAt = null;
    else if (state.kind !== "connecting") this.lostAt ??= Date.now();
    const element = document.getElementById("connection");
    const word = { live: "live", connecting: this.lostAt ? "reconnecting" : "connecting", waiting: "connection lost", ended: "ended", refused: "refused" }[state.kind] ?? state.kind;
    setText(element, word);
    element.dataset.state = state.kind;
    document.body.classList.toggle("stale", this.lostAt != null);
    if (state.kind === "refused" && state.problem.status === 401) return void needToken(state.problem);
    this.#showBanner();
  }

  #showBanner() {
    const { link: state, banner } = this;
    const lost = this.lostAt != null;
    banner.hidden = !lost;
    if (!lost) return;
    const since = age(Date.now() - this.lostAt);
    const shown = this.tree.atMs ? ` What you see is as of ${clock(this.tree.atMs, false)}.` : "";
    const now = h("button", { type: "button", onclick: () => this.stream.retryNow() }, "Try now");
    const wait = state.retryAt ? span(Math.max(0, Math.ceil((state.retryAt - Date.now()) / 1000) * 1000)) : "";
    const text = state.kind === "ended"
      ? `${state.reason === "console_stopped" ? "The console was stopped" : "The runtime has ended"} ${since} ago.${shown} Asking again in ${wait}.`
      : state.kind === "refused" ? `The console refuses: ${state.problem.message}.${shown}`
      : state.kind === "connecting" ? `Reconnecting; lost ${since} ago.${shown}`
      : `Connection lost ${since} ago${state.problem ? ` (${state.problem.message})` : ""}.${shown} Trying again in ${wait}.`;
    if (this.bannerText === text) return;
    const focused = banner.contains(document.activeElement);
    this.bannerText = text;
    fill(banner, h("span", {}, foreign(text)), state.kind === "connecting" ? null : now);
    if (focused) banner.querySelector("button")?.focus();
  }

  // Where we are.

  #route() {
    const [, name, id] = /^#\/([a-z]+)(?:\/([0-9A-Za-z-]+))?$/.exec(location.hash) ?? [null, "tree"];
    const view = this.views[name] && (name !== "thread" || id) ? name : "tree";
    const from = this.name;
    if (this.view && this.view !== this.views[view]) {
      this.view.hide();
      this.view.element.hidden = true;
    }
    this.name = view;
    this.view = this.views[view];
    this.view.element.hidden = false;
    for (const link of document.querySelectorAll("#views a")) setAttr(link, "aria-current", link.dataset.view === view ? "page" : null);
    this.view.show(id);
    if (view === "tree" && from === "thread") requestAnimationFrame(() => this.views.tree.activate(this.views.thread.id));
    this.pending ??= { changed: new Set(), shape: true };
    this.schedule();
  }

  go(hash) {
    if (location.hash !== hash) location.hash = hash;
  }

  open(id) {
    this.go(`#/thread/${id}`);
  }

  // Keys.

  #key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.matches?.("input:not([type=checkbox]), textarea, select");
    if (typing) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (!this.singleKeys && event.key.length === 1 && event.key !== "?") return;
    if (event.target.matches?.("button, a, summary") && (event.key === " " || event.key === "Enter")) return;
    if (event.key === "?") this.help();
    else if (VIEW_KEYS[event.key]) this.go(VIEW_KEYS[event.key]);
    else return void this.view?.key(event);
    event.preventDefault();
  }

  help() {
    const before = document.activeElement;
    const box = h("input", { type: "checkbox", checked: this.singleKeys, onchange: () => {
      this.singleKeys = box.checked;
      localStorage.setItem("coppicer.keys", box.checked ? "on" : "off");
    } });
    const dialog = h("dialog.help", { "aria-labelledby": "help-title" },
      h("h2", { id: "help-title" }, "Keyboard shortcuts"),
      h("div.keys", {}, ...SHORTCUTS.map(([title, keys]) => h("section", {}, h("h3", {}, title), h("dl", {}, ...keys.flatMap(([key, what]) =>
        [h("dt", {}, ...key.split(" ").map((one) => h("kbd", {}, one))), h("dd", {}, what)]))))),
      h("label.check", {}, box, " keys without Ctrl do something"),
      h("div.buttons", {}, h("button.primary", { type: "button", onclick: () => dialog.close() }, "Close")));
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before?.isConnected) before.focus();
    });
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".primary").focus();
  }

  /** Says something for a while. */
  toast(text, tone = "ok", action) {
    const toasts = document.getElementById("toasts");
    const element = h("div.toast", { dataset: { tone } }, foreign(text, { max: 300 }),
      action ? h("button", { type: "button", onclick: () => (action.run(), element.remove()) }, action.text) : null,
      h("button.quiet", { type: "button", "aria-label": "Dismiss", onclick: () => element.remove() }, "\u2715"));
    toasts.append(element);
    while (toasts.childElementCount > 4) toasts.firstChild.remove();
    setTimeout(() => element.remove(), action ? 12_000 : 6000);
  }
}

/** Asks for the token: there is none, or it is of another start. */
function needToken(problem) {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  const form = h("form.token", {}, h("h1", {}, problem ? "This token is not valid" : "A token is needed"),
    h("p", {}, problem ? "Each start of a console makes a new one." : "The page holds no data without it.",
      " Open the address that was printed at the start, or paste the token from its file."),
    h("label", { for: "token" }, "Token"), input, h("button.primary", { type: "submit" }, "Go on"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    keepToken(input.value.trim().replace(/^.*token=/, ""));
    location.reload();
  });
  const connection = document.getElementById("connection");
  setText(connection, problem ? "refused" : "no token");
  connection.dataset.state = "refused";
  document.getElementById("views").hidden = true;
  document.getElementById("banner").hidden = true;
  fill(document.getElementById("main"), form);
  input.focus();
}

const token = takeToken();
if (token) new App(token).start();
else needToken(null);
// Another address with a token, pasted into this tab.
addEventListener("hashchange", () => /token=/.test(location.hash) && (takeToken(), location.reload()));
