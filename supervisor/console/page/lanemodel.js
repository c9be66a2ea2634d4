// Turns of the last minutes by thread, taken in from `/api/lanes`. No document here.

export class Lanes {
  lanes = new Map(); // thread: {spans: Map, marks: [], last}
  next = null;
  nowMs = 0;
  keepMs = 600_000;
  completeFromMs = 0;

  /** Takes in an answer. */
  merge(answer) {
    if (answer.full) this.lanes.clear();
    for (const span of answer.spans) {
      const lane = this.#lane(span.thread);
      lane.spans.set(`${span.turn}@${span.from_ms}`, span);
      lane.last = Math.max(lane.last, span.to_ms ?? answer.now_ms);
      lane.first = Math.min(lane.first, span.from_ms);
    }
    for (const mark of answer.marks) {
      const lane = this.#lane(mark.thread);
      lane.marks.push(mark);
      lane.last = Math.max(lane.last, mark.at_ms);
      lane.first = Math.min(lane.first, mark.at_ms);
    }
    this.next = answer.next;
    this.nowMs = answer.now_ms;
    this.keepMs = answer.keep_ms;
    this.completeFromMs = answer.complete_from_ms;
    this.#forget(answer.now_ms - answer.keep_ms);
  }

  #lane(thread) {
    let lane = this.lanes.get(thread);
    if (!lane) {
      lane = { thread, spans: new Map(), marks: [], last: 0, first: Infinity };
      this.lanes.set(thread, lane);
    }
    return lane;
  }

  #forget(before) {
    for (const lane of this.lanes.values()) {
      for (const [key, span] of lane.spans) if (span.to_ms != null && span.to_ms < before) lane.spans.delete(key);
      if (lane.marks.length && lane.marks[0].at_ms < before) lane.marks = lane.marks.filter((mark) => mark.at_ms >= before);
      if (!lane.spans.size && !lane.marks.length) this.lanes.delete(lane.thread);
    }
  }

  /** Whether something of the lane lies in `[from, to]`. */
  static touches(lane, from, to) {
    for (const span of lane.spans.values()) if (span.from_ms <= to && (span.to_ms ?? Infinity) >= from) return true;
    return lane.marks.some((mark) => mark.at_ms >= from && mark.at_ms <= to);
  }
}
