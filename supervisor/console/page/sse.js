// Server-sent events out of pieces of text, cut anywhere.

/** Takes pieces of a stream, gives whole events: `{event, id, data}`. */
export class SseParser {
  /** The id of the last block that has ended and had one. One without data is no event, and says only this. */
  lastId = null;
  #rest = "";
  #event = "";
  #id;
  #data = [];
  #started = false;

  /** The events that end in `piece`, in order. */
  push(piece) {
    if (!this.#started && piece) {
      this.#started = true;
      if (piece.charCodeAt(0) === 0xfeff) piece = piece.slice(1);
    }
    const text = this.#rest + piece;
    const events = [];
    let from = 0;
    for (;;) {
      const end = text.indexOf("\n", from);
      if (end < 0) break;
      const line = text.slice(from, end > from && text[end - 1] === "\r" ? end - 1 : end);
      from = end + 1;
      this.#line(line, events);
    }
    this.#rest = text.slice(from);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#id) this.lastId = this.#id;
      if (this.#data.length) {
        events.push({ event: this.#event || "message", id: this.#id, data: this.#data.join("\n") });
      }
      this.#event = "";
      this.#id = undefined;
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return; // a comment
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(line[colon + 1] === " " ? colon + 2 : colon + 1);
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#event = value;
    else if (name === "id") this.#id = value;
  }
}
