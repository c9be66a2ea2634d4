// The last so many entries, oldest first. No document here.

export class Ring {
  #items = [];
  #start = 0;
  dropped = 0;

  constructor(max) {
    this.max = max;
  }

  get length() {
    return this.#items.length - this.#start;
  }

  push(item) {
    this.#items.push(item);
    if (this.length > this.max) {
      this.#items[this.#start] = undefined;
      this.#start += 1;
      this.dropped += 1;
      if (this.#start >= this.max) {
        this.#items = this.#items.slice(this.#start);
        this.#start = 0;
      }
    }
  }

  at(index) {
    return this.#items[this.#start + index];
  }

  clear() {
    this.#items = [];
    this.#start = 0;
    this.dropped = 0;
  }

  *[Symbol.iterator]() {
    for (let at = this.#start; at < this.#items.length; at += 1) yield this.#items[at];
  }
}
