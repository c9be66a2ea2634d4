// The console's API: requests with the token, and streams that come back by themselves.

import { SseParser } from "./sse.js";

/** Nothing for so long (comments come every 15 s) means that the connection is dead, in ms. */
export const SILENCE_MS = 40_000;
/** Pauses before the next attempts, in ms; the last one goes on. */
export const RETRY_MS = [250, 500, 1000, 2000, 5000, 10_000];
/** The pause after the server said that it has ended, in ms. */
export const ENDED_RETRY_MS = 10_000;

/** A piece of a stream that is smaller than this, in bytes, is followed by a pause of so many ms. */
const PIECE_MIN = 32 * 1024;
const GATHER_MS = 50;

const KEY = "coppicer.token";

/** The token out of the fragment or of this tab's storage. Takes it out of the address bar. */
export function takeToken(place = location, store = sessionStorage, past = history) {
  const found = /^#(?:.*&)?token=([0-9A-Za-z]+)/.exec(place.hash);
  if (found) {
    store.setItem(KEY, found[1]);
    past.replaceState(null, "", `${place.pathname}#/tree`);
  }
  return store.getItem(KEY) ?? "";
}

export function keepToken(token) {
  sessionStorage.setItem(KEY, token);
}

/** A refusal: what the API says, or that it could not be asked. */
export class Problem extends Error {
  constructor(status, body) {
    super(body.detail ?? body.title ?? "no reason given");
    this.status = status;
    this.code = body.code ?? "unknown";
    this.body = body;
  }
}

async function refusalOf(response) {
  try {
    return new Problem(response.status, await response.json());
  } catch {
    return new Problem(response.status, { code: `http_${response.status}`, detail: response.statusText || `HTTP ${response.status}` });
  }
}

function unreachable(error) {
  if (error instanceof Problem || error.name === "AbortError") return error;
  return new Problem(0, { code: "unreachable", detail: "the console does not answer" });
}

export class Api {
  constructor(token) {
    this.token = token;
  }

  headers(more) {
    return { Authorization: `Bearer ${this.token}`, ...more };
  }

  async #ask(path, options) {
    try {
      const response = await fetch(path, { cache: "no-store", credentials: "omit", ...options });
      if (!response.ok) throw await refusalOf(response);
      return await response.json();
    } catch (error) {
      throw unreachable(error);
    }
  }

  get(path, signal) {
    return this.#ask(path, { headers: this.headers(), signal });
  }

  post(path, body = {}, signal) {
    const headers = this.headers({ "Content-Type": "application/json" });
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  }

  thread(id, rest = "") {
    return `/api/threads/${encodeURIComponent(id)}${rest}`;
  }

  /** A stream; see `Stream`. */
  stream(path, handlers, lastId) {
    return new Stream(this, path, handlers, lastId);
  }
}

/**
 * A stream of events that reconnects from the last id that was taken in. `onEvents(events)` gets whole
 * batches, in order; `onState(state)` where the connection is: `connecting`, `live`, `waiting` (with
 * `retryAt`), `ended` (the server said so; asks again later), `refused` (it will not change by itself).
 */
export class Stream {
  #api;
  #path;
  #handlers;
  #abort = null;
  #timer = null;
  #attempts = 0;
  #stopped = true;

  constructor(api, path, handlers, lastId = null) {
    this.#api = api;
    this.#path = path;
    this.#handlers = handlers;
    this.lastId = lastId;
    this.state = { kind: "stopped" };
  }

  start() {
    if (!this.#stopped) return this;
    this.#stopped = false;
    this.#run();
    return this;
  }

  stop() {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#set({ kind: "stopped" });
  }

  /** Does not wait for the next attempt. */
  retryNow() {
    if (this.#stopped || this.state.kind === "live" || this.state.kind === "connecting") return;
    clearTimeout(this.#timer);
    this.#run();
  }

  #set(state) {
    this.state = state;
    this.#handlers.onState?.(state);
  }

  async #run() {
    this.#set({ kind: "connecting", attempts: this.#attempts });
    const abort = new AbortController();
    this.#abort = abort;
    let ended = null;
    let problem = null;
    let watch = null;
    const alive = () => {
      clearTimeout(watch);
      watch = setTimeout(() => abort.abort(), SILENCE_MS);
    };
    try {
      alive();
      const headers = this.#api.headers({ Accept: "text/event-stream" });
      if (this.lastId != null) headers["Last-Event-ID"] = this.lastId;
      const response = await fetch(this.#path, { headers, cache: "no-store", credentials: "omit", signal: abort.signal });
      if (!response.ok) throw await refusalOf(response);
      this.#set({ kind: "live" });
      const parser = new SseParser();
      const decoder = new TextDecoder();
      const reader = response.body.getReader();
      while (!ended) {
        const { done, value } = await reader.read();
        if (done) break;
        alive();
        const events = parser.push(decoder.decode(value, { stream: true }));
        if (this.#stopped) continue;
        if (events.length) {
          this.#attempts = 0;
          ended = events.find((event) => event.event === "end") ?? null;
          this.#handlers.onEvents(events);
        }
        this.lastId = parser.lastId ?? this.lastId;
        if (!events.length) continue;
        // Thousands of events a second come in as many pieces, and each piece wakes the page: what comes
        // meanwhile is one piece.
        if (value.length < PIECE_MIN) await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
      }
      if (ended) abort.abort();
    } catch (error) {
      problem = unreachable(error);
    } finally {
      clearTimeout(watch);
    }
    if (this.#stopped || this.#abort !== abort) return;
    if (problem && (problem.status === 401 || (problem.status >= 400 && problem.status < 500 && problem.status !== 408 && problem.status !== 429))) {
      this.#set({ kind: "refused", problem });
      return;
    }
    const pause = ended
      ? ENDED_RETRY_MS
      : RETRY_MS[Math.min(this.#attempts, RETRY_MS.length - 1)] * (0.8 + 0.4 * Math.random());
    this.#attempts += 1;
    const reason = ended ? safeReason(ended.data) : null;
    this.#set({ kind: ended ? "ended" : "waiting", reason, problem, retryAt: Date.now() + pause });
    this.#timer = setTimeout(() => this.#run(), pause);
  }
}

function safeReason(data) {
  try {
    return JSON.parse(data).reason ?? null;
  } catch {
    return null;
  }
}
