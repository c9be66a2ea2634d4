// What the page knows of the tree of threads: rows taken in from frames, and the order in which they are
// shown. No document here.

/** What a thread is at, in one word: its phase if that says more, else its status. */
export function stateOf(row) {
  if (row.gone) return "ended";
  switch (row.phase) {
    case "backoff": return "backoff";
    case "parked": return "parked";
    case "stopping": return "closing";
    case "stopped": return "ended";
    case "running": return row.turn?.waits_for_host ? "asking" : "running";
    case "starting": return row.status === "pending_init" ? "new" : "starting";
    default: return row.status === "pending_init" ? "new" : row.status;
  }
}

/** All states, in the order in which they are listed, and the tone in which each is shown. */
export const STATES = new Map([
  ["running", "run"], ["asking", "warn"], ["backoff", "warn"], ["crashed", "bad"], ["errored", "bad"],
  ["damaged", "bad"], ["parked", "park"], ["closing", "warn"], ["starting", "run"], ["interrupted", "warn"],
  ["completed", "ok"], ["new", "off"], ["dormant", "off"], ["shutdown", "off"], ["ended", "off"],
]);
const RANK = new Map([...STATES.keys()].map((state, at) => [state, at]));
const TROUBLE = new Set(["backoff", "crashed", "errored", "damaged", "parked"]);

/** The name to call a thread by: the last part of its path, its nickname, or the end of its id. */
export function nameOf(row) {
  const leaf = row.path?.slice(row.path.lastIndexOf("/") + 1);
  return leaf || row.nickname || `\u2026${row.thread.slice(-8)}`;
}

/** Columns by which rows can be sorted: the key of a row (null comes last), and which way is the first. */
export const COLUMNS = {
  thread: { title: "Thread", key: (row) => row.path ?? row.nickname ?? row.thread, first: 1 },
  state: { title: "State", key: (row) => RANK.get(stateOf(row)) ?? 99, first: 1 },
  inbox: { title: "Inbox", key: (row) => row.inbox?.used ?? null, first: -1, numeric: true },
  turn: { title: "Turn", key: (row) => (row.turn ? -row.turn.since_ms : null), first: -1, numeric: true },
  turns: { title: "Turns", key: (row) => row.turns, first: -1, numeric: true },
  tokens: { title: "Tokens", key: (row) => row.tokens?.total ?? null, first: -1, numeric: true },
  crashes: { title: "Crashes", key: (row) => row.crashes, first: -1, numeric: true },
  restarts: { title: "Restarts", key: (row) => row.restarts, first: -1, numeric: true },
  error: { title: "Last error", key: (row) => row.last_error?.at_ms ?? null, first: -1 },
};

function compare(a, b) {
  return a < b ? -1 : a > b ? 1 : 0;
}

const haystacks = new WeakMap();

/** The text of a row in which a filter looks. */
export function haystack(row) {
  let text = haystacks.get(row);
  if (text === undefined) {
    text = [row.path, row.nickname, row.role, row.thread, row.last_task, row.last_error?.text, row.status_text, stateOf(row)]
      .filter(Boolean).join("\n").toLowerCase();
    haystacks.set(row, text);
  }
  return text;
}

/** The rows as frames told them. */
export class Tree {
  rows = new Map();
  totals = { threads: 0, by_phase: {}, by_status: {}, gone: 0 };
  attention = { count: 0, version: 0 };
  events = { seen: 0, lost: 0 };
  seq = 0;
  /** Server's time less ours, in ms. */
  skew = 0;
  atMs = null;
  frames = 0;
  ready = false;

  /** Takes in a frame. Returns what it changed: ids of rows, and whether rows came or went. */
  apply(frame, now = Date.now()) {
    const changed = new Set();
    let shape = false;
    if (frame.full) {
      shape = this.rows.size > 0;
      for (const id of this.rows.keys()) changed.add(id);
      this.rows.clear();
    }
    for (const row of frame.rows ?? []) {
      const old = this.rows.get(row.thread);
      if (!old || old.parent !== row.parent || old.path !== row.path || old.internal !== row.internal) shape = true;
      this.rows.set(row.thread, row);
      changed.add(row.thread);
    }
    for (const id of frame.removed ?? []) {
      if (this.rows.delete(id)) shape = true;
      changed.add(id);
    }
    if (frame.totals) this.totals = frame.totals;
    if (frame.attention) this.attention = frame.attention;
    if (frame.events) this.events = frame.events;
    this.seq = frame.seq;
    this.atMs = frame.at_ms;
    this.skew = frame.at_ms - now;
    this.frames += 1;
    if (!frame.more) this.ready = true;
    return { changed, shape };
  }

  /** The server's time now, as far as we know. */
  now() {
    return Date.now() + this.skew;
  }

  /** How many threads are in which state, of those that are listed. */
  tally(internal = false) {
    const tally = new Map();
    for (const row of this.rows.values()) {
      if (row.internal && !internal) continue;
      const state = stateOf(row);
      tally.set(state, (tally.get(state) ?? 0) + 1);
    }
    return tally;
  }

  /** From the root of its tree down to the thread, as far as there are rows. */
  ancestry(id) {
    const chain = [];
    const seen = new Set();
    for (let row = this.rows.get(id); row && !seen.has(row.thread); row = this.rows.get(row.parent)) {
      seen.add(row.thread);
      chain.unshift(row);
    }
    return chain;
  }
}

/**
 * The rows in the order in which they are shown, as items `{row, depth, kids, open, below, trouble, dim}`.
 *
 * `view`: `{sort, dir, text, states, collapsed, flat, internal}`. As a tree, siblings are sorted; a filter
 * keeps what is above a match (`dim`) and opens what is collapsed. A flat list has the matches alone.
 */
export function arrange(rows, view) {
  const { key } = COLUMNS[view.sort] ?? COLUMNS.thread;
  const dir = view.dir ?? 1;
  const keys = new Map();
  const listed = [];
  for (const row of rows.values()) {
    if (row.internal && !view.internal) continue;
    listed.push(row);
    keys.set(row.thread, key(row));
  }
  const order = (a, b) => {
    const [x, y] = [keys.get(a.thread), keys.get(b.thread)];
    if (x === null || y === null) return (x === null) - (y === null) || compare(a.thread, b.thread);
    return compare(x, y) * dir || compare(a.thread, b.thread);
  };
  const needle = view.text?.trim().toLowerCase() ?? "";
  const filtered = needle !== "" || view.states?.size > 0;
  const matches = (row) =>
    (!view.states?.size || view.states.has(stateOf(row))) && (!needle || haystack(row).includes(needle));

  if (view.flat) {
    const found = filtered ? listed.filter(matches) : listed;
    return found.sort(order).map((row) => ({ row, depth: 0, kids: 0, open: false, below: 0, trouble: 0, dim: false }));
  }

  const kids = new Map();
  const roots = [];
  for (const row of listed) {
    if (row.parent && row.parent !== row.thread && keys.has(row.parent)) {
      const siblings = kids.get(row.parent);
      if (siblings) siblings.push(row);
      else kids.set(row.parent, [row]);
    } else {
      roots.push(row);
    }
  }

  let kept = null;
  if (filtered) {
    kept = new Map(); // thread: whether it matched itself
    for (const row of listed) {
      if (!matches(row)) continue;
      kept.set(row.thread, true);
      for (let up = rows.get(row.parent); up && !kept.has(up.thread); up = rows.get(up.parent)) kept.set(up.thread, false);
    }
  }

  const items = [];
  const visited = new Set();
  const walk = (starts) => {
    const stack = starts.sort(order).reverse().map((row) => [row, 0]);
    while (stack.length) {
      const [row, depth] = stack.pop();
      if (visited.has(row.thread)) continue;
      visited.add(row.thread);
      if (kept && !kept.has(row.thread)) continue;
      const children = kids.get(row.thread) ?? [];
      const open = children.length > 0 && (kept !== null || !view.collapsed?.has(row.thread));
      const item = { row, depth, kids: children.length, open, below: 0, trouble: 0, dim: kept !== null && !kept.get(row.thread) };
      items.push(item);
      if (open) for (const child of children.sort(order).reverse()) stack.push([child, depth + 1]);
      else if (children.length) hide(item, children);
    }
  };
  const hide = (item, children) => {
    const stack = [...children];
    while (stack.length) {
      const row = stack.pop();
      if (visited.has(row.thread)) continue;
      visited.add(row.thread);
      item.below += 1;
      if (TROUBLE.has(stateOf(row))) item.trouble += 1;
      stack.push(...(kids.get(row.thread) ?? []));
    }
  };
  walk(roots);
  // Rows whose parents go in a circle have no root; they are shown all the same.
  if (!kept && visited.size < listed.length) walk(listed.filter((row) => !visited.has(row.thread)));
  return items;
}

/** Which rows a window shows: `[first, end)` with some more on both sides. */
export function windowOf(total, scrollTop, height, rowHeight, more = 6) {
  const first = Math.max(0, Math.min(total, Math.floor(scrollTop / rowHeight) - more));
  const end = Math.min(total, Math.ceil((scrollTop + height) / rowHeight) + more);
  return [first, Math.max(first, end)];
}
