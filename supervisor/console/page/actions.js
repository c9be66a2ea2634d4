// What can be done to a thread, each by a dialog that says what happens.

import { ask, badge, fill, foreign, h } from "./dom.js";
import { factOf } from "./facts.js";
import { nameOf } from "./model.js";
import { count, plural, span, visible } from "./text.js";

const DELIVERIES = [
  ["queue", "queue it behind what runs"],
  ["steer_or_queue", "hand it to the running turn, or queue it"],
  ["refuse", "refuse it if a turn runs"],
];

const FORK_POINTS = [
  ["last_stable", "at the last boundary: without an unfinished turn"],
  ["interrupted", "as if interrupted now: an unfinished turn is closed"],
  ["next_stable", "at the next boundary: waits for the running turn"],
];

const FUNDS = { tokens: "tokens", cost_micros: "cost, in millionths", wall_ms: "time, in ms", spawns: "spawns" };

const TONE_OF_RUNG = { drained: "ok", stopped: "ok", killed: "warn", fenced: "bad" };

/** All actions: key, name, and whether it makes sense for a row as it is. */
export const ACTIONS = [
  { name: "submit", key: "s", title: "Submit", can: (row) => !row.gone },
  { name: "interrupt", key: "i", title: "Interrupt", can: (row) => Boolean(row.turn) && !row.gone },
  { name: "fork", key: "f", title: "Fork", can: () => true },
  { name: "close", key: "c", title: "Close", can: (row) => !row.gone && row.phase !== "stopped" },
  { name: "park", key: "p", title: "Park", can: (row) => !row.gone && row.phase !== "parked" },
  { name: "revive", key: "r", title: "Revive", can: (row) => row.phase === "parked" || row.status === "parked" },
];

export class Actions {
  constructor(app) {
    this.app = app;
  }

  /** Does the action called `name` to `row`. */
  run(name, row, more) {
    return this[name](row, more);
  }

  #post(row, rest, body) {
    return this.app.api.post(this.app.api.thread(row.thread, rest), body);
  }

  #who(row) {
    return [foreign(nameOf(row), { tag: "b" }), " ", h("code.muted", {}, row.thread)];
  }

  submit(row) {
    ask({
      title: "Submit",
      about: this.#who(row),
      action: "Submit",
      fields: [
        { name: "input", label: "Input", kind: "area", required: true, hint: "Ctrl+Enter submits" },
        { name: "delivery", label: "While a turn runs", kind: "select", options: DELIVERIES, value: "queue" },
      ],
      run: async ({ input, delivery }) => {
        const receipt = await this.#post(row, "/submit", { input, delivery });
        this.app.toast(receipt.steered ? "Handed to the running turn" : `Accepted: submission ${receipt.submission}`);
      },
    });
  }

  answer(row, { question, body }) {
    ask({
      title: "Answer",
      about: [...this.#who(row), h("pre.body", {}, foreign(JSON.stringify(body, null, 2)))],
      action: "Answer",
      fields: [{ name: "answer", label: "Answer, as JSON", kind: "area", rows: 3, value: "true", required: true, hint: "such as true, \"a text\", or {\"choice\": 1}" }],
      run: async ({ answer }) => {
        let parsed;
        try {
          parsed = JSON.parse(answer);
        } catch {
          throw Object.assign(new Error("this is no JSON; put a text in quotation marks"), { code: "bad_json" });
        }
        await this.#post(row, "/submit", { op: { answer: { question, answer: parsed } } });
        this.app.toast("Answered");
      },
    });
  }

  async interrupt(row) {
    try {
      const done = await this.#post(row, "/interrupt", {});
      this.app.toast(done.interrupted ? `Interrupted: the turn was ${done.rung}` : "No turn was running");
    } catch (problem) {
      this.app.toast(`Interrupt: ${problem.message}`, "bad");
    }
  }

  /** `at`: a fork point that is given, with words for it. */
  fork(row, { at, words } = {}) {
    ask({
      title: "Fork",
      about: this.#who(row),
      action: "Fork",
      note: "The source is not written.",
      fields: [
        at ? null : { name: "at", label: "Where", kind: "select", options: FORK_POINTS, value: "last_stable" },
        { name: "input", label: "First input", kind: "area", rows: 3, hint: at ? `Forks ${words}. May be empty` : "May be empty" },
        { name: "nickname", label: "Nickname", hint: "May be empty" },
      ].filter(Boolean),
      run: async (values) => {
        const body = { at: at ?? values.at };
        if (values.input.trim()) body.input = values.input;
        if (values.nickname.trim()) body.nickname = values.nickname.trim();
        const fork = await this.#post(row, "/fork", body);
        this.app.toast("Forked", "ok", { text: "Open it", run: () => this.app.open(fork.thread) });
      },
    });
  }

  close(row) {
    const below = this.app.tree.rows.size ? this.#below(row.thread) : 0;
    ask({
      title: "Close",
      about: [...this.#who(row), below ? `, and ${plural(below, "thread")} below it` : ""],
      action: "Close",
      danger: true,
      note: "Children stop before parents. Who does not listen by the deadline is killed, and fenced off if its code still runs.",
      fields: [
        { name: "within", label: "Deadline, in seconds", kind: "number", min: "0.001", max: "600", step: "any", value: "5", required: true },
        { name: "drain", label: "Running turns may go on for, in seconds", kind: "number", min: "0", max: "600", step: "any", value: "0", required: true },
      ],
      run: async ({ within, drain }, parts) => this.#closing(row, Math.max(1, Math.round(within * 1000)), Math.round(drain * 1000), parts),
    });
  }

  #below(id) {
    const above = new Set([id]);
    let grown = true;
    while (grown) {
      grown = false;
      for (const row of this.app.tree.rows.values()) {
        if (!above.has(row.thread) && !row.gone && above.has(row.parent)) grown = Boolean(above.add(row.thread));
      }
    }
    return above.size - 1;
  }

  async #closing(row, within_ms, drain_ms, { output, go, cancel, dialog }) {
    const began = performance.now();
    const list = h("ul.rungs", { "aria-label": "Threads and the rungs that they reached" });
    const head = h("p", {});
    fill(output, head, list);
    const seen = new Map();
    const tick = () => fill(head, `Closing: ${plural(seen.size, "thread")} ended after ${span(performance.now() - began)} of ${span(within_ms)}`);
    const show = (thread, rung, took_ms, left) => {
      let item = seen.get(thread);
      if (!item) {
        if (seen.size >= 200) return void seen.set(thread, null);
        item = h("li", {});
        seen.set(thread, item);
        list.append(item);
      }
      if (!item) return;
      const known = this.app.tree.rows.get(thread);
      fill(item, badge(rung, TONE_OF_RUNG[rung] ?? "off"), " ", foreign(known ? nameOf(known) : `\u2026${thread.slice(-8)}`),
        took_ms == null ? null : h("span.muted", {}, ` ${span(took_ms)}`), left ? h("span.muted", {}, ` left: ${visible(JSON.stringify(left))}`) : null);
    };
    const watch = this.app.api.stream(`/api/events?kind=runtime&subtree=${encodeURIComponent(row.thread)}`, {
      onEvents: (events) => {
        for (const event of events) {
          if (event.event !== "fact") continue;
          const data = JSON.parse(event.data);
          const fact = factOf(data);
          if (fact.event === "thread_ended" && data.thread) show(data.thread, fact.how?.closed?.rung ?? Object.keys(fact.how ?? {})[0] ?? String(fact.how));
        }
        tick();
      },
    }).start();
    const timer = setInterval(tick, 200);
    tick();
    const done = () => {
      clearInterval(timer);
      watch.stop();
    };
    dialog.addEventListener("close", done);
    try {
      const report = await this.#post(row, "/close", { within_ms, drain_ms });
      for (const one of report.threads) show(one.thread, one.rung, one.took_ms, one.left);
      const rungs = Object.entries(report.rungs).filter(([, n]) => n > 0).map(([rung, n]) => badge(`${n} ${rung}`, TONE_OF_RUNG[rung]));
      fill(head, h("b", {}, report.timed_out.length ? "Not all had ended by the deadline. " : "Closed. "), ...rungs,
        ` after ${span(performance.now() - began)}`,
        report.timed_out.length ? ` \u00b7 ${plural(report.timed_out.length, "thread")} timed out` : "",
        report.submit_failed.length ? ` \u00b7 ${plural(report.submit_failed.length, "thread")} could not be asked` : "",
        report.detached?.length ? ` \u00b7 ${plural(report.detached.length, "thread")} below it ${report.detached.length === 1 ? "goes" : "go"} on` : "");
      go.hidden = true;
      fill(cancel, "Done");
      cancel.focus();
      return "stay";
    } finally {
      done();
    }
  }

  park(row) {
    ask({
      title: "Park",
      about: this.#who(row),
      action: "Park",
      note: "No turn starts until it is revived. It stays readable, forkable and closable.",
      run: async () => {
        await this.#post(row, "/park", {});
        this.app.toast("Parked");
      },
    });
  }

  async resume(row) {
    try {
      await this.#post(row, "/resume", {});
      this.app.toast("Resumed", "ok", { text: "Open it", run: () => this.app.open(row.thread) });
    } catch (problem) {
      this.app.toast(`Resume: ${problem.message}`, "bad");
    }
  }

  async revive(row) {
    try {
      await this.#post(row, "/revive", {});
      this.app.toast("Revived");
    } catch (problem) {
      this.app.toast(`Revive: ${problem.message}`, "bad");
    }
  }

  /** `names`: what of its budget is limited, if that is known. */
  fund(row, names = ["tokens"]) {
    ask({
      title: "Fund",
      about: this.#who(row),
      action: "Fund",
      note: "What is given comes out of the budget above it, if that is limited. Turns start again.",
      fields: names.map((name, at) => ({
        name, label: `More ${FUNDS[name] ?? name}`, kind: "number", min: at ? "0" : "1", required: names.length === 1, hint: names.length === 1 ? null : "May be empty",
      })),
      run: async (values) => {
        const more = Object.fromEntries(Object.entries(values).filter(([, n]) => Number(n) > 0).map(([name, n]) => [name, Number(n)]));
        const { left } = await this.#post(row, "/fund", { more });
        this.app.toast(`Funded: ${Object.entries(left).map(([name, n]) => `${count(n)} ${FUNDS[name] ?? name} left`).join(", ")}`);
      },
    });
  }

  spawn(parent) {
    ask({
      title: parent ? "Spawn a sub-agent" : "Spawn a thread",
      about: parent ? ["below ", ...this.#who(parent)] : null,
      action: "Spawn",
      fields: [
        { name: "input", label: "First input", kind: "area", rows: 3, hint: "May be empty" },
        { name: "name", label: "Name in its path", placeholder: "scan" },
        { name: "nickname", label: "Nickname" },
        { name: "role", label: "Role" },
        { name: "model", label: "Model" },
        { name: "cwd", label: "Working folder" },
        { name: "tokens", label: "Budget, in tokens", kind: "number", min: "1" },
      ],
      run: async (values) => {
        const body = parent ? { parent: parent.thread } : {};
        for (const name of ["input", "name", "nickname", "role", "model", "cwd"]) if (values[name].trim()) body[name] = values[name].trim();
        if (values.tokens) body.budget = { tokens: Number(values.tokens) };
        const made = await this.app.api.post("/api/threads", body);
        this.app.toast("Spawned", "ok", { text: "Open it", run: () => this.app.open(made.thread) });
      },
    });
  }

  /** Whether `name` makes sense for `row`. */
  static can(name, row) {
    return row ? (ACTIONS.find((action) => action.name === name)?.can(row) ?? false) : false;
  }

  /** A toolbar for the row that `rowOf()` gives; call its `refresh` when that changes. */
  toolbar(rowOf) {
    const buttons = ACTIONS.map((action) =>
      h("button", {
        type: "button", dataset: { action: action.name }, title: `${action.title} (${action.key})`, "aria-keyshortcuts": action.key,
        onclick: () => rowOf() && this.run(action.name, rowOf()),
      }, action.title));
    const bar = h("div.actions", { role: "group", "aria-label": "Actions" }, ...buttons);
    bar.refresh = () => {
      const row = rowOf();
      for (const [at, action] of ACTIONS.entries()) {
        const off = !row || !action.can(row);
        if (buttons[at].disabled !== off) buttons[at].disabled = off;
      }
    };
    bar.refresh();
    return bar;
  }

  /** Does what a key stands for, to `row`. */
  key(event, row) {
    const action = ACTIONS.find((one) => one.key === event.key);
    if (action && row && action.can(row)) {
      event.preventDefault();
      this.run(action.name, row);
      return true;
    }
    if (event.key === "n") {
      event.preventDefault();
      this.spawn(row && !row.gone ? row : null);
      return true;
    }
    return false;
  }
}

