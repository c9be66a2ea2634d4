// The page's logic that needs no browser. Run by `node --test`.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { takeToken } from "../../page/api.js";
import { KIND_OF, KINDS, describe, toneOf } from "../../page/facts.js";
import { Lanes } from "../../page/lanemodel.js";
import { COLUMNS, Tree, arrange, stateOf, windowOf } from "../../page/model.js";
import { Ring } from "../../page/ring.js";
import { SseParser } from "../../page/sse.js";
import { age, amount, count, oneLine, pieces, span, visible } from "../../page/text.js";

test("what steers a terminal or turns the direction of text is shown by name", () => {
  for (const [text, shown] of [
    ["plain", "plain"],
    ["a\u001b[31mred", "a⟨␛⟩[31mred"],
    ["gpj\u202eexe", "gpj⟨U+202E⟩exe"],
    ["\u2066\u2069\u061c\u200f", "⟨U+2066⟩⟨U+2069⟩⟨U+061C⟩⟨U+200F⟩"],
    ["\u0000\u007f\u009b", "⟨␀⟩⟨␡⟩⟨U+009B⟩"],
    ["zero\u200bwidth\ufeff", "zero⟨U+200B⟩width⟨U+FEFF⟩"],
    ["tag\u{e0041}", "tag⟨U+E0041⟩"],
    ["half \ud83d pair", "half ⟨U+D83D⟩ pair"],
    ["👩‍👩‍👧 emoji, שלום, नमस्ते", "👩‍👩‍👧 emoji, שלום, नमस्ते"],
    ["tab\tand\nline", "tab\tand\nline"],
  ]) {
    assert.equal(visible(text), shown);
    // As often as it is asked: a pattern with a memory of its own would forget every other one.
    assert.equal(visible(text), shown);
  }
  assert.deepEqual(pieces("a\u202eb"), [{ text: "a", hidden: false }, { text: "U+202E", hidden: true }, { text: "b", hidden: false }]);
});

test("a text on one line is cut and keeps its breaks as signs", () => {
  assert.equal(oneLine("a\r\n  b\n\nc"), "a ⏎ b ⏎ c");
  assert.equal(oneLine("x".repeat(500), 10), `${"x".repeat(10)}…`);
});

test("times and amounts read well", () => {
  const spans = [[0, "0 ms"], [0.5, "0.50 ms"], [1.25, "1.3 ms"], [999, "999 ms"], [1000, "1.0 s"], [9999, "9.9 s"], [61_000, "1 m 1 s"], [3_600_000, "1 h"], [90_000_000, "25 h"], [200_000_000, "2 d 7 h"]];
  for (const [ms, text] of spans) assert.equal(span(ms), text);
  assert.equal(age(-5), "0 s");
  assert.equal(age(59_999), "59 s");
  assert.equal(age(125_000), "2 m 5 s");
  assert.equal(count(1234567), "1\u2009234\u2009567");
  assert.deepEqual([999, 1000, 12_345, 999_999, 1_240_000].map(amount), ["999", "1\u2009k", "12.3\u2009k", "999\u2009k", "1.24\u2009M"]);
});

test("a stream is cut anywhere, and the events are the same", () => {
  const stream = ": hello\n\nevent: frame\nid: b-1\ndata: {\"a\":1}\n\ndata: one\r\ndata: two\r\n\r\nevent: lost\n\nid: b-2\ndata:x\n\n";
  const expected = [
    { event: "frame", id: "b-1", data: "{\"a\":1}" }, { event: "message", id: undefined, data: "one\ntwo" }, { event: "message", id: "b-2", data: "x" },
  ];
  for (let at = 0; at <= stream.length; at += 1) {
    const parser = new SseParser();
    assert.deepEqual([...parser.push(stream.slice(0, at)), ...parser.push(stream.slice(at))], expected, `cut at ${at}`);
  }
  const quiet = new SseParser();
  assert.deepEqual(quiet.push(":\nid: b-7\n\nevent: fact\nid: b-8\ndata: torn\n"), []);
  assert.equal(quiet.lastId, "b-7", "of a block without data too, if it has ended");
  const parser = new SseParser();
  assert.deepEqual([...stream].flatMap((letter) => parser.push(letter)), expected);
});

test("the token comes out of the fragment, once, and leaves the address bar", () => {
  const kept = new Map();
  const store = { getItem: (key) => kept.get(key) ?? null, setItem: (key, value) => kept.set(key, value) };
  const replaced = [];
  const past = { replaceState: (...parts) => replaced.push(parts[2]) };
  assert.equal(takeToken({ hash: "#token=0123abcd", pathname: "/" }, store, past), "0123abcd");
  assert.deepEqual(replaced, ["/#/tree"]);
  assert.equal(takeToken({ hash: "#/tree", pathname: "/" }, store, past), "0123abcd");
  assert.equal(replaced.length, 1);
  assert.equal(takeToken({ hash: "", pathname: "/" }, { getItem: () => null }, past), "");
});

const row = (thread, parent, more) => ({ thread, parent, status: "completed", phase: "idle", turns: 0, crashes: 0, restarts: 0, internal: false, ...more });
const treeOf = (...rows) => new Map(rows.map((one) => [one.thread, one]));
const shown = (rows, view) => arrange(rows, { sort: "thread", dir: 1, ...view }).map(({ row: one, depth }) => `${"-".repeat(depth)}${one.thread}`);

test("frames replace rows, remove them, and begin anew", () => {
  const tree = new Tree();
  const frame = (more) => ({ id: "b-1", full: false, more: false, seq: 1, at_ms: 1000, rows: [], removed: [], ...more });
  assert.equal(tree.apply(frame({ full: true, more: true, rows: [row("a"), row("b", "a")] })).shape, true);
  assert.equal(tree.ready, false, "more of the same tree follows");
  tree.apply(frame({ rows: [row("c", "a")] }));
  assert.equal(tree.ready, true);
  const told = tree.apply(frame({ rows: [row("b", "a", { turns: 7 })] }), 400);
  assert.deepEqual([told.shape, [...told.changed], tree.rows.get("b").turns, tree.skew], [false, ["b"], 7, 600]);
  assert.equal(tree.apply(frame({ removed: ["b", "nobody"] })).shape, true);
  assert.deepEqual([...tree.apply(frame({ full: true, rows: [row("z")] })).changed].sort(), ["a", "c", "z"]);
  assert.deepEqual([...tree.rows.keys()], ["z"]);
});

test("a tree is shown in order, sorted among siblings", () => {
  const rows = treeOf(row("b", "a", { turns: 1 }), row("a"), row("d", "b"), row("c", "a", { turns: 5 }), row("orphan", "gone"), row("e"));
  assert.deepEqual(shown(rows), ["a", "-b", "--d", "-c", "e", "orphan"]);
  assert.deepEqual(shown(rows, { sort: "turns", dir: -1 }), ["a", "-c", "-b", "--d", "e", "orphan"]);
  assert.deepEqual(shown(rows, { flat: true, sort: "turns", dir: -1 }), ["c", "b", "a", "d", "e", "orphan"]);
});

test("what has no value is last, whichever way it is sorted", () => {
  const rows = treeOf(row("a"), row("b", null, { tokens: { total: 5 } }), row("c", null, { tokens: { total: 9 } }));
  assert.deepEqual(shown(rows, { sort: "tokens", dir: -1 }), ["c", "b", "a"]);
  assert.deepEqual(shown(rows, { sort: "tokens", dir: 1 }), ["b", "c", "a"]);
  for (const name of Object.keys(COLUMNS)) assert.equal(shown(rows, { sort: name }).length, 3, name);
});

test("a collapsed thread says what it hides, and a filter looks into it", () => {
  const rows = treeOf(row("a"), row("b", "a", { status: "crashed" }), row("c", "b", { last_task: "Find the leak" }), row("d"));
  const collapsed = new Set(["a"]);
  const items = arrange(rows, { sort: "thread", collapsed });
  assert.deepEqual(items.map(({ row: one, below, trouble }) => [one.thread, below, trouble]), [["a", 2, 1], ["d", 0, 0]]);
  assert.deepEqual(shown(rows, { collapsed, text: "LEAK" }), ["a", "-b", "--c"]);
  assert.deepEqual(arrange(rows, { sort: "thread", collapsed, text: "leak" }).map((item) => item.dim), [true, true, false]);
  assert.deepEqual(shown(rows, { states: new Set(["crashed"]) }), ["a", "-b"]);
  assert.deepEqual(shown(rows, { flat: true, states: new Set(["crashed"]) }), ["b"]);
});

test("a circle of parents is shown, once, and a chain of 20,000 is no stack overflow", () => {
  const rows = treeOf(row("a", "b"), row("b", "a"), row("c"));
  assert.deepEqual(shown(rows).map((text) => text.replaceAll("-", "")).sort(), ["a", "b", "c"]);
  const chain = treeOf(...Array.from({ length: 20_000 }, (_, n) => row(String(n).padStart(5, "0"), n ? String(n - 1).padStart(5, "0") : null)));
  assert.equal(arrange(chain, { sort: "thread", text: "19999" }).length, 20_000);
  assert.equal(arrange(chain, { sort: "thread", collapsed: new Set(["00000"]) })[0].below, 19_999);
});

test("internal threads are listed on demand", () => {
  const rows = treeOf(row("a"), row("b", "a", { internal: true }), row("c", "b"));
  assert.deepEqual(shown(rows), ["a", "c"]);
  assert.deepEqual(shown(rows, { internal: true }), ["a", "-b", "--c"]);
});

test("the state says what matters most", () => {
  for (const [more, state] of [
    [{}, "completed"], [{ status: "crashed", phase: "backoff" }, "backoff"], [{ status: "crashed" }, "crashed"], [{ status: "pending_init" }, "new"],
    [{ phase: "running", status: "running" }, "running"], [{ phase: "running", status: "running", turn: { waits_for_host: true } }, "asking"],
    [{ phase: "stopping" }, "closing"], [{ gone: { at_ms: 1, how: "closed" } }, "ended"], [{ phase: "dormant", status: "dormant" }, "dormant"], [{ phase: "parked", status: "parked" }, "parked"],
  ]) assert.equal(stateOf(row("a", null, more)), state);
});

test("a window has the rows in sight and a few around", () => {
  assert.deepEqual(windowOf(2000, 0, 280, 28, 6), [0, 16]);
  assert.deepEqual(windowOf(2000, 28_000, 280, 28, 6), [994, 1016]);
  assert.deepEqual(windowOf(3, 28_000, 280, 28, 6), [3, 3]);
  assert.deepEqual(windowOf(0, 0, 280, 28, 6), [0, 0]);
});

test("a ring keeps the newest, in order, and counts what it dropped", () => {
  const ring = new Ring(100);
  for (let n = 0; n < 1234; n += 1) ring.push(n);
  assert.deepEqual([ring.length, ring.at(0), ring.at(99), ring.dropped], [100, 1134, 1233, 1134]);
  assert.deepEqual([...ring], Array.from({ length: 100 }, (_, n) => 1134 + n));
});

test("kinds of facts are those of docs/events.md; one that is new there is shown under every filter", (t) => {
  const table = readFileSync(new URL("../../../../docs/events.md", import.meta.url), "utf8");
  const declared = Object.fromEntries([...table.matchAll(/^\| `([a-z_]+)` \| ([a-z]+) \|/gm)].map(([, event, kind]) => [event, kind]));
  assert.ok(Object.keys(declared).length > 30);
  for (const [event, kind] of Object.entries(KIND_OF)) assert.equal(declared[event], kind, event);
  assert.deepEqual(new Set(Object.values(declared)), new Set(KINDS));
  for (const event of Object.keys(declared)) if (!KIND_OF[event]) t.diagnostic(`facts.js does not have ${event}`);
});

test("a fact is told in a line", () => {
  for (const [fact, text] of [
    [{ event: "turn_ended", outcome: { outcome: "completed", message: "done" }, rung: null, took: { secs: 0, nanos: 1_250_000 } }, "completed: done · took 1.3 ms"],
    [{ event: "status_changed", status_seq: 3, status: { errored: "no" }, phase: "idle" }, "errored: no · phase idle"],
    [{ event: "thread_ended", how: { closed: { rung: "drained" } } }, "closed: rung: drained"],
    [{ event: "backoff_started", crash: 2, after: { secs: 1, nanos: 0 } }, "crash 2 · after 1.0 s"],
    [{ event: "delta", text: "to" }, "to"],
    [{ event: "store_recovered" }, ""],
  ]) assert.equal(describe(fact), text);
  assert.equal(toneOf({ event: "turn_ended", outcome: { outcome: "crashed", cause: "x" } }), "bad");
});

test("lanes take in what ended, and forget what is too old", () => {
  const lanes = new Lanes();
  const answer = (more) => ({ now_ms: 10_000, keep_ms: 5000, complete_from_ms: 5000, next: "b-1", full: false, more: false, spans: [], marks: [], ...more });
  lanes.merge(answer({ full: true, spans: [{ thread: "a", turn: "t", from_ms: 9000 }], marks: [{ thread: "b", at_ms: 6000, kind: "crash" }] }));
  lanes.merge(answer({ spans: [{ thread: "a", turn: "t", from_ms: 9000, to_ms: 9500, outcome: "completed" }] }));
  assert.deepEqual([...lanes.lanes.get("a").spans.values()].map((one) => one.outcome), ["completed"]);
  assert.equal(Lanes.touches(lanes.lanes.get("a"), 9100, 9200), true);
  assert.equal(Lanes.touches(lanes.lanes.get("a"), 9600, 9700), false);
  lanes.merge(answer({ now_ms: 12_000 }));
  assert.deepEqual([...lanes.lanes.keys()], ["a"]);
  lanes.merge(answer({ full: true }));
  assert.equal(lanes.lanes.size, 0);
});
