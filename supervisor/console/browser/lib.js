// What the browser test stands on: the command with its console, a way to it that can be cut, a browser.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

import { chromium } from "playwright-core";

import { SseParser } from "../page/sse.js";

export const root = fileURLToPath(new URL("../../../", import.meta.url));
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, "target");
const binary = process.env.COPPICER ?? path.join(target, "debug", "coppicer");
/** How long anything may take, in ms. The machine may be busy. */
export const PATIENCE_MS = 20_000;

/** `coppicer run … --console` or `coppicer serve …` in a folder of its own. */
export class Served {
  constructor() {
    this.folder = mkdtempSync(path.join(tmpdir(), "coppicer-browser-"));
  }

  static start(...args) {
    return new Served().#start("run", ...args, "--memory", "--console");
  }

  /** Serves a store with these sessions, to which `spoil(bytes)` did something while nobody used it. */
  static stored(sessions, spoil, ...args) {
    const served = new Served();
    const store = path.join(served.folder, "store.db");
    execFileSync(binary, ["import", "--store", store, sessions], { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
    const bytes = readFileSync(store);
    spoil(bytes);
    writeFileSync(store, bytes);
    return served.#start("serve", "--store", store, ...args);
  }

  /** Serves a new store, which can be given no room: see `room()`. */
  static roomy(...args) {
    const served = new Served();
    // A write past the limit fails, instead of ending the process.
    served.through = ["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"];
    return served.#start("serve", "--store", path.join(served.folder, "store.db"), ...args);
  }

  /** Whether any file of the process may be written. */
  room(any) {
    execFileSync("prlimit", ["--pid", String(this.child.pid), `--fsize=${any ? "unlimited" : 0}:`]);
  }

  /** The address that opens the page. */
  get address() {
    return `http://127.0.0.1:${this.port}/#token=${this.token}`;
  }

  async #start(...args) {
    const served = this;
    const [command, ...before] = [...(served.through ?? []), binary];
    served.child = spawn(command, [...before, ...args, "--listen", "127.0.0.1:0", "--token-file", path.join(served.folder, "token")], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let said = "";
    served.ended = new Promise((resolve) => served.child.once("close", resolve));
    const address = await new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no address was printed: ${said}`)), PATIENCE_MS);
      served.child.once("error", reject);
      served.child.once("close", (code) => reject(new Error(`ended with ${code}: ${said}`)));
      served.child.stdout.resume();
      served.child.stderr.setEncoding("utf8").on("data", (text) => {
        said += text;
        const found = /http:\/\/127\.0\.0\.1:(\d+)\/#token=([0-9a-f]+)/.exec(said);
        if (found) {
          clearTimeout(timer);
          resolve(found);
        }
      });
    });
    [, served.port, served.token] = address;
    return served;
  }

  async get(place) {
    const response = await fetch(`http://127.0.0.1:${this.port}${place}`, { headers: { Authorization: `Bearer ${this.token}` } });
    if (!response.ok) throw new Error(`${place}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  async post(place, body) {
    const headers = { Authorization: `Bearer ${this.token}`, "Content-Type": "application/json" };
    const response = await fetch(`http://127.0.0.1:${this.port}${place}`, { method: "POST", headers, body: JSON.stringify(body) });
    if (!response.ok) throw new Error(`${place}: ${response.status} ${await response.text()}`);
    return response.json();
  }

  /** Reads facts by itself, straight from the server, until `stop()`; that gives their numbers. */
  listen(query) {
    const abort = new AbortController();
    const facts = [];
    const done = (async () => {
      const response = await fetch(`http://127.0.0.1:${this.port}/api/events?${query}`, { headers: { Authorization: `Bearer ${this.token}` }, signal: abort.signal });
      const parser = new SseParser();
      for await (const piece of response.body.pipeThrough(new TextDecoderStream())) {
        for (const event of parser.push(piece)) {
          if (event.event !== "fact") throw new Error(`a fact was expected: ${JSON.stringify(event)}`);
          facts.push(JSON.parse(event.data).seq);
        }
      }
    })().catch((error) => {
      if (error.name !== "AbortError") throw error;
    });
    return {
      facts,
      stop: async () => {
        abort.abort();
        await done;
        return facts;
      },
    };
  }

  async stop() {
    this.child.kill("SIGINT");
    const timer = setTimeout(() => this.child.kill("SIGKILL"), PATIENCE_MS);
    const code = await this.ended;
    clearTimeout(timer);
    rmSync(this.folder, { recursive: true, force: true });
    return code;
  }
}

/** A way to the console that can be cut: passes requests on under the name that the console goes by. */
export class Way {
  static async to(served) {
    const way = new Way();
    way.sockets = new Set();
    way.isCut = false;
    way.facts = new Set();
    way.server = http.createServer((asked, answer) => {
      const host = `127.0.0.1:${served.port}`;
      const headers = { ...asked.headers, host };
      if (headers.origin) headers.origin = `http://${host}`;
      const onward = http.request({ host: "127.0.0.1", port: served.port, path: asked.url, method: asked.method, headers }, (got) => {
        answer.writeHead(got.statusCode, got.headers);
        got.pipe(answer);
        if (asked.url.startsWith("/api/events")) way.facts.add({ got, answer });
        answer.once("close", () => got.destroy());
      });
      onward.once("error", () => answer.destroy());
      asked.pipe(onward);
    });
    way.server.on("connection", (socket) => {
      if (way.isCut) return void socket.destroy();
      way.sockets.add(socket);
      socket.once("close", () => way.sockets.delete(socket));
    });
    await new Promise((resolve) => way.server.listen(0, "127.0.0.1", resolve));
    way.address = `http://127.0.0.1:${way.server.address().port}/#token=${served.token}`;
    return way;
  }

  cut() {
    this.isCut = true;
    for (const socket of this.sockets) socket.destroy();
  }

  mend() {
    this.isCut = false;
  }

  /** Passes no facts on that are being read: who asked for them is a slow reader. */
  stall() {
    for (const { got, answer } of this.facts) got.unpipe(answer).pause();
  }

  /** Passes on what waits, and goes on. */
  flow() {
    for (const { got, answer } of this.facts) if (!got.destroyed) got.pipe(answer);
    this.facts.clear();
  }

  stop() {
    this.cut();
    this.server.close();
  }
}

/** A browser of its own, with nothing that calls home. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--force-color-profile=srgb"],
  });
}

/** Opens the console in a new tab. What goes wrong in the page is kept in `page.wrong`. */
export async function open(browser, address, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1360, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE_MS);
  page.wrong = [];
  page.mayFail = false; // while the way is cut, the browser says so of each request
  page.on("pageerror", (error) => page.wrong.push(`error: ${error.stack}`));
  page.on("dialog", (dialog) => {
    page.wrong.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  page.on("console", (message) => {
    const text = message.text();
    if (message.type() !== "error" && message.type() !== "warning") return;
    if (page.mayFail && /net::ERR_(CONNECTION|SOCKET|EMPTY_RESPONSE|INCOMPLETE)/.test(text)) return;
    page.wrong.push(`${message.type()}: ${text} (${message.location().url})`);
  });
  await page.goto(address);
  return page;
}

/** Has the page show one of its views. */
export const show = (page, hash) => page.evaluate((to) => { location.hash = to; }, hash);

export const dialog = (page) => page.locator("dialog[open]");

/** Where each test begins: the tree, with no dialog above it and nothing that has the focus. */
export async function home(page) {
  for (let left = await dialog(page).count(); left > 0; left -= 1) await page.keyboard.press("Escape");
  await show(page, "#/tree");
  await page.locator(".grid").waitFor();
  await page.evaluate(() => document.activeElement.blur());
}

/** Fails with what went wrong in the page since it was last asked. */
export function assertQuiet(page) {
  assert.deepEqual(page.wrong.splice(0), [], "the page has nothing to complain of");
}

/** Waits until `holds` gives something; tells what it was waiting for if it never does. */
export async function until(what, holds) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await holds();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
