// Facts as the event stream has them: which kind each is, and a line for people. No document here.

import { span, words } from "./text.js";

/** The kind of each fact, as docs/events.md has them; `test/page.test.js` compares. */
export const KIND_OF = {
  thread_spawned: "runtime", thread_described: "runtime", spawn_refused: "runtime", spawn_undone: "runtime",
  thread_ended: "runtime", restart_scheduled: "runtime", thread_restarted: "runtime", thread_parked: "runtime",
  close_started: "runtime", close_ended: "runtime", thread_archived: "runtime", thread_unarchived: "runtime",
  thread_patched: "runtime", thread_adopted: "runtime", thread_deleted: "runtime", store_ailing: "runtime", store_recovered: "runtime",
  recovery_failed: "runtime", runtime_ended: "runtime",
  status_changed: "status",
  submission_accepted: "submission", submission_ended: "submission", steered: "submission",
  turn_started: "turn", turn_retried: "turn", turn_ended: "turn", turn_fenced: "turn", turn_stuck: "turn",
  wait_cycle: "turn", budget_spent: "turn", budget_funded: "turn",
  crashed: "crash", backoff_started: "crash",
  record_appended: "record",
  mail_received: "mail", mail_delivered: "mail",
  question_asked: "question", question_answered: "question",
  usage_reported: "usage",
  delta: "delta",
  damage_found: "damage",
};

/** All kinds, in the order in which they are listed. */
export const KINDS = ["runtime", "status", "submission", "turn", "crash", "record", "mail", "question", "usage", "delta", "damage"];

/** Kinds that the journal does not keep, in part or in all. */
export const EPHEMERAL = new Set(["record", "usage", "delta"]);

const BAD = new Set(["crashed", "turn_fenced", "damage_found", "recovery_failed", "store_ailing"]);
const WARN = new Set([
  "backoff_started", "restart_scheduled", "thread_parked", "turn_stuck", "wait_cycle", "budget_spent", "spawn_refused",
  "spawn_undone", "turn_retried", "question_asked",
]);

/** The tone in which a fact is shown. */
export function toneOf(fact) {
  if (BAD.has(fact.event)) return "bad";
  if (WARN.has(fact.event)) return "warn";
  const outcome = typeof fact.outcome === "object" ? fact.outcome?.outcome : null;
  if (outcome === "failed" || outcome === "crashed") return "bad";
  if (outcome === "interrupted") return "warn";
  return "";
}

function isDuration(value) {
  return value && typeof value === "object" && "secs" in value && "nanos" in value;
}

/** A length of time of a fact, in ms. */
export function durationMs(value) {
  return value.secs * 1000 + value.nanos / 1e6;
}

const ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

function say(value) {
  if (value === null || value === undefined) return "";
  if (isDuration(value)) return span(durationMs(value));
  if (typeof value === "string") return ID.test(value) ? `\u2026${value.slice(-8)}` : value;
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) return value.map(say).join(", ");
  if (typeof value.outcome === "string") {
    const text = value.message ?? value.error ?? value.cause;
    return text ? `${value.outcome}: ${text}` : value.outcome;
  }
  const entries = Object.entries(value);
  if (entries.length === 1) {
    const inner = say(entries[0][1]);
    return inner ? `${words(entries[0][0])}: ${inner}` : words(entries[0][0]);
  }
  return entries.map(([name, inner]) => `${words(name)} ${say(inner)}`).join(", ");
}

/** A line of what a fact says, without its name. Not made safe to look at yet. */
export function describe(fact) {
  const { event, ...rest } = fact;
  if (event === "delta") return rest.text ?? "";
  const parts = [];
  for (const [name, value] of Object.entries(rest)) {
    const text = say(value);
    if (text === "" || value === false) continue;
    if (name === "status_seq") continue;
    if (name === "outcome" || name === "status" || name === "cause" || name === "reason" || name === "how" || name === "usage") parts.push(text);
    else parts.push(`${words(name)} ${text}`);
  }
  return parts.join(" \u00b7 ");
}

/** The fact in an event's data: `fact` has one member, `runtime` or `thread`. */
export function factOf(data) {
  return data.fact?.runtime ?? data.fact?.thread ?? { event: "unknown" };
}
