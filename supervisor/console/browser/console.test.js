// The console's page in a browser, against `coppicer run --console` on the recorded sessions of examples/.
// Run by `.ci/browser`; `docs/http-api.md` is what both sides keep to.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, afterEach, before, beforeEach, test } from "node:test";

import * as lib from "./lib.js";
import { Served, Way, assertQuiet, home, launch, open, until } from "./lib.js";

let served, way, browser, page;

before(async () => {
  served = await Served.start("examples/sessions", "--crash", "0.35", "--seed", "7", "--turns", "8", "--pace", "120ms", "--console-for", "10m");
  way = await Way.to(served);
  browser = await launch();
  page = await open(browser, way.address);
});

after(async () => {
  await browser?.close();
  way?.stop();
  assert.ok([0, 130].includes(await served?.stop()), "an interrupt ends the run, and everything is closed");
});

beforeEach(async () => {
  await home(page);
  await page.keyboard.press("Escape"); // clears the filter, if a test left one
});

afterEach(() => assertQuiet(page));

const rowOf = (id) => page.locator(`.grid [data-thread="${id}"]`);
const cell = (id, name) => rowOf(id).locator(`.cell.${name}`).first().innerText();
const shown = () => page.$$eval(".grid .rows .row", (rows) => rows.map((row) => [Number(row.getAttribute("aria-rowindex")), row.dataset.thread, Number(row.getAttribute("aria-level"))]).sort((a, b) => a[0] - b[0]));
const dialog = () => lib.dialog(page);
const show = (hash) => lib.show(page, hash);

async function focus(id) {
  await show("#/tree");
  await page.locator(".grid").waitFor();
  await rowOf(id).locator(".cell.state").click();
  assert.equal(await page.evaluate(() => document.activeElement.dataset.thread), id);
}

async function spawn(body) {
  const { thread } = await served.post("/api/threads", body);
  await rowOf(thread).waitFor();
  return thread;
}

test("the tree appears, and the token leaves the address bar", async () => {
  await page.waitForSelector(".grid .rows .row");
  assert.match(page.url(), /\/#\/tree$/);
  assert.equal(await page.evaluate(() => sessionStorage.getItem("coppicer.token")), served.token);
  const { rows } = await served.get("/api/tree");
  assert.ok(rows.length >= 12, `${rows.length} threads of the recorded sessions`);
  const tree = await until("all rows are there", async () => {
    const now = await shown();
    return now.length === rows.length && now;
  });
  assert.deepEqual(new Set(tree.map(([, id]) => id)), new Set(rows.map((row) => row.thread)));
  const level = new Map(tree.map(([, id, deep]) => [id, deep]));
  for (const { thread, parent } of rows) assert.equal(level.get(thread), parent ? level.get(parent) + 1 : 1);
  assert.equal(Math.max(...level.values()), 3, "a sub-agent of a sub-agent");
  await page.waitForSelector('.connection[data-state="live"]');
});

test("a crash shows as a restart", async () => {
  const crashed = await until("a thread that crashed, came back and went on", async () =>
    (await served.get("/api/tree")).rows.find((row) => row.crashes > 0 && row.turns > row.crashes && row.phase !== "running"));
  const id = crashed.thread;
  await until("the row counts the crash", async () => Number(await cell(id, "crashes")) >= crashed.crashes);
  assert.match(await cell(id, "error"), /crash by lot/);
  await rowOf(id).locator("a.name").click();
  const restarts = page.locator('section[aria-label="Restarts"]');
  await restarts.locator(".badge", { hasText: "crash" }).first().waitFor();
  await restarts.locator(".badge", { hasText: /backoff|restart/ }).first().waitFor();
  assert.match(await restarts.innerText(), /crash by lot/);
  // Its history has what closed the turn, marked, and its timeline the turn.
  await page.locator(".turncard .badge", { hasText: "crashed" }).first().waitFor();
  await page.keyboard.press("h");
  await page.locator('.record[data-marks~="closing"]').first().waitFor();
  await page.keyboard.press("Escape");
  await page.waitForURL(/#\/tree$/);
  await until("the focus is back on its row", () => page.evaluate((thread) => document.activeElement.dataset?.thread === thread, id));
});

test("input is submitted by the keyboard alone, and hostile text is shown as text", async () => {
  const id = await spawn({ nickname: "hostile", role: "of\u202eelor" });
  await focus(id);
  await page.keyboard.press("s");
  const hostile = "<img src=x onerror=alert(1)><b>bold</b> \u202egnp.exe \u001b[31mred\u0007 \u200bzero";
  await dialog().locator("textarea").fill(hostile);
  await page.keyboard.press("Control+Enter");
  await dialog().waitFor({ state: "detached" });
  assert.equal(await page.evaluate(() => document.activeElement.dataset.thread), id, "the focus comes back");
  await page.keyboard.press("Enter");
  await page.locator(".threadview").waitFor();
  await page.keyboard.press("t");
  const message = page.locator(".turncard .message");
  await message.waitFor();
  const text = await message.innerText();
  assert.equal(text, "<img src=x onerror=alert(1)><b>bold</b> U+202Egnp.exe \u241b[31mred\u2407 U+200Bzero");
  assert.equal(await message.locator(".hid").count(), 4);
  assert.equal(await page.locator("main img, main b:text-is('bold')").count(), 0);
  assert.equal(await page.evaluate(() => /[\u202e\u001b\u0007\u200b]/.test(document.body.innerText)), false, "nowhere on the page");
});

test("fork works from the page: at the end, and behind a record", async () => {
  const source = await spawn({ nickname: "source", input: "one" });
  await until("its turn ended", async () => (await served.get(`/api/threads/${source}`)).row?.turns === 1);
  const { head } = (await served.get(`/api/threads/${source}`)).stored;
  const known = new Set((await served.get("/api/tree")).rows.map((row) => row.thread));
  const made = () => until("a fork is in the page's tree", async () => {
    const { rows } = await served.get("/api/tree");
    const fork = rows.find((row) => !known.has(row.thread) && row.forked_from === source);
    if (fork) known.add(fork.thread);
    return fork?.thread;
  });

  await focus(source);
  await page.keyboard.press("f");
  await dialog().getByLabel("First input").fill("two");
  await dialog().getByRole("button", { name: "Fork", exact: true }).click();
  const whole = await made();
  await rowOf(whole).waitFor();
  await until("the fork ran its input", async () => (await served.get(`/api/threads/${whole}`)).row?.turns === 1);
  await page.locator(".toast", { hasText: "Forked" }).getByRole("button", { name: "Open it" }).click();
  await page.waitForURL(new RegExp(whole));
  await page.locator(".threadview").waitFor();
  await page.keyboard.press("h");
  await page.locator('.record[data-marks~="shared"]').first().waitFor();

  await show(`#/thread/${source}`);
  await page.locator(".record").first().waitFor();
  const record = page.locator('.record[data-class="user_message"]').first();
  const at = Number(await record.getAttribute("data-seq"));
  await record.getByRole("button", { name: "Fork here" }).click();
  await dialog().getByRole("button", { name: "Fork", exact: true }).click();
  const cut = await made();
  const { stored } = await served.get(`/api/threads/${cut}`);
  assert.equal(stored.base.thread, source);
  assert.ok(stored.base.cut <= at + 1, `cut at ${stored.base.cut}, behind record ${at}`);
  assert.equal((await served.get(`/api/threads/${source}`)).stored.head, head, "the source is not written");
});

test("close works from the page, shows the rungs, and the row fades", async () => {
  const parent = await spawn({ nickname: "parent" });
  const child = await spawn({ parent, name: "leaf", input: "slow" });
  await focus(parent);
  await page.keyboard.press("c");
  assert.match(await dialog().locator(".about").innerText(), /1 thread below/);
  await dialog().getByLabel("Deadline").fill("4");
  await page.keyboard.press("Enter");
  await dialog().locator(".output", { hasText: "Closed." }).waitFor();
  assert.equal(await dialog().locator(".rungs li").count(), 2);
  assert.match(await dialog().locator(".rungs").innerText(), /drained|stopped/);
  await page.keyboard.press("Enter"); // the button that is left
  await dialog().waitFor({ state: "detached" });
  for (const id of [parent, child]) {
    await until("the row says how it ended", async () => /^closed, (drained|stopped)$/.test(await cell(id, "state")));
    assert.equal(await rowOf(id).getAttribute("data-over"), "");
  }
  const opacity = () => rowOf(parent).evaluate((row) => Number(row.style.opacity || 1));
  const first = await opacity();
  await until("it fades", async () => (await opacity()) < first);
  assert.equal((await served.get(`/api/threads/${parent}`)).stored.status, "shutdown");
});

test("a thread is parked, needs attention, and is revived", async () => {
  const id = await spawn({ nickname: "napper" });
  await focus(id);
  await page.keyboard.press("p");
  await dialog().getByRole("button", { name: "Park" }).click();
  await until("the row says so", async () => (await cell(id, "state")) === "parked");
  await page.keyboard.press("4");
  const item = page.locator(`.attention li[data-item^="parked/${id}"]`);
  await item.waitFor();
  await page.waitForFunction(() => Number(document.getElementById("attention-count").textContent) >= 1);
  await item.getByRole("button", { name: "Revive" }).click();
  await item.waitFor({ state: "detached" });
  assert.equal((await served.get(`/api/threads/${id}`)).row.phase, "idle");
});

test("a thread is spawned from the page, and what is refused says why", async () => {
  await show("#/tree");
  await page.getByRole("button", { name: "Spawn" }).click();
  await dialog().getByLabel("First input").fill("hello");
  await dialog().getByLabel("Nickname").fill("from the page");
  await dialog().getByRole("button", { name: "Spawn" }).click();
  await page.locator(".grid .row", { hasText: "from the page" }).waitFor();
  const id = await page.locator(".grid .row", { hasText: "from the page" }).getAttribute("data-thread");
  await focus(id);
  await page.keyboard.press("n");
  await dialog().getByLabel("Name in its path").fill("Not A Name!");
  await dialog().getByRole("button", { name: "Spawn" }).click();
  await dialog().locator(".problem").waitFor();
  assert.match(await dialog().locator(".problem b").innerText(), /^bad_/);
  page.wrong = page.wrong.filter((text) => !/status of 400/.test(text)); // the browser says so too
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });
});

test("the tree is sorted, filtered and collapsed", async () => {
  await show("#/tree");
  const sort = (name) => page.locator(".row.head").getByRole("button", { name }).click();
  await page.keyboard.press("l");
  await sort("Crashes");
  const crashes = () => page.$$eval(".grid .rows .row", (rows) => rows.sort((a, b) => a.getAttribute("aria-rowindex") - b.getAttribute("aria-rowindex")).map((row) => Number(row.querySelector(".crashes").textContent)));
  await until("the most crashes come first", async () => {
    const now = await crashes();
    return now[0] > 0 && now.join() === [...now].sort((a, b) => b - a).join();
  });
  assert.equal(await page.locator('.head .crashes[aria-sort="descending"]').count(), 1);
  await sort("Thread");
  await page.keyboard.press("l");

  await page.keyboard.press("/");
  await page.keyboard.type("child_a/grandchild");
  const found = await until("what matches and what is above it", async () => {
    const now = await shown();
    return now.length === 3 && now;
  });
  assert.deepEqual(found.map(([, , level]) => level), [1, 2, 3]);
  assert.equal(await page.locator(".grid .rows .row.dim").count(), 2);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Escape");
  await until("the filter is gone", async () => (await shown()).length > 3);

  const root = found[0][1];
  await focus(root);
  const before = (await shown()).length;
  await page.keyboard.press("ArrowLeft");
  await until("three are hidden", async () => (await shown()).length === before - 3);
  assert.equal(await rowOf(root).getAttribute("aria-expanded"), "false");
  assert.match(await rowOf(root).locator(".below").innerText(), /^\+3/);
  await page.keyboard.press("ArrowRight");
  await until("they are back", async () => (await shown()).length === before);

  const chip = page.locator('.chip[data-state="completed"]');
  await chip.click();
  assert.equal(await chip.getAttribute("aria-pressed"), "true");
  const states = () => page.$$eval(".grid .rows .row:not(.dim) .state .state", (cells) => [...new Set(cells.map((one) => one.textContent))]);
  await until("only those are shown", async () => (await states()).join() === "completed");
  await chip.click();
});

test("a reconnect leaves no gap, and nothing comes twice", async () => {
  await until("the run's own turns have ended, so that there is a last fact", async () => (await served.get("/api/tree")).rows.every((row) => row.phase !== "running"));
  const id = await spawn({ nickname: "talker" });
  const own = served.listen("lifecycle=true");
  await page.keyboard.press("3");
  await page.waitForSelector(".entry[data-seq]");
  const talk = async (times) => {
    for (let n = 0; n < times; n += 1) await served.post(`/api/threads/${id}/submit`, { input: `word ${n}` });
    await until("its turns ended", async () => (await served.get(`/api/threads/${id}`)).row?.phase === "idle");
  };
  await talk(3);
  await until("there is something before the cut", () => own.facts.length > 10);
  page.mayFail = true;
  for (const pause of [0, 1200]) {
    way.cut();
    await page.waitForSelector("#banner:not([hidden])");
    assert.match(await page.locator("#connection").innerText(), /lost|reconnecting/);
    await talk(3);
    await new Promise((resolve) => setTimeout(resolve, pause));
    way.mend();
    await page.waitForSelector('.connection[data-state="live"]');
    await talk(2);
  }
  page.mayFail = false;
  await until("the page has the last fact", async () => {
    const [last] = own.facts.slice(-1);
    return last && (await page.locator(`.entry[data-seq="${last}"]`).count()) > 0 && last === own.facts.at(-1);
  });
  const facts = await own.stop();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  const lines = readFileSync(await download.path(), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
  const seqs = lines.map((line) => line.seq);
  assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), "in order, each once");
  assert.deepEqual(seqs.filter((seq) => seq >= facts[0]), facts, "just what a client heard that was never cut off");
  assert.ok(lines.filter((line) => line.thread === id && line.fact.thread?.event === "turn_ended").length >= 13);
  await page.locator(".logview .search").fill("no such fact"); // what the page itself notes is left
  await page.locator(".entry.note", { hasText: "Connected again" }).first().waitFor({ state: "attached" });
  await page.locator(".logview .search").fill("");
  await page.evaluate(() => document.activeElement.blur());

  // The tree is what the server has, and was gone on with: not read anew.
  await page.keyboard.press("1");
  const { rows } = await served.get("/api/tree");
  const turns = Object.fromEntries(rows.map((row) => [row.thread, row.turns]));
  await until("the rows are those of the server", async () => {
    const page_turns = await page.$$eval(".grid .rows .row", (all) => Object.fromEntries(all.map((row) => [row.dataset.thread, Number(row.querySelector(".turns").textContent)])));
    return Object.keys(turns).every((thread) => page_turns[thread] === turns[thread]);
  });
});

test("the log pauses, filters at the source, and shows one fact whole", async () => {
  const id = await spawn({ nickname: "logged" });
  await page.keyboard.press("3");
  await page.locator('.chip[data-kind="turn"]').click();
  await page.waitForFunction(() => [...document.querySelectorAll(".entry:not(.note) .name")].every((name) => /^(turn_|wait_|budget_)/.test(name.textContent)));
  await page.locator(".log").click({ position: { x: 4, y: 4 } });
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press(" ");
  assert.equal(await page.getByRole("button", { name: "Go on" }).getAttribute("aria-pressed"), "true");
  await served.post(`/api/threads/${id}/submit`, { input: "while it is paused" });
  await page.getByRole("button", { name: /Go on \(\d+ new\)/ }).waitFor();
  assert.equal(await page.locator(".entry", { hasText: "while it is paused" }).count(), 0);
  await page.getByRole("button", { name: "Go on" }).click();
  await page.locator('.entry[aria-selected="true"]').waitFor(); // who chose one reads on where it is
  await page.getByRole("button", { name: "Newest" }).click();
  await page.locator(".entry", { hasText: "while it is paused" }).first().waitFor();
  await page.locator(".log").focus();
  await page.keyboard.press("ArrowUp");
  await page.locator(".detail", { hasText: '"seq"' }).waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".detail").waitFor({ state: "hidden" });
  await page.locator('.chip[data-kind="turn"]').click();
});

test("turns are drawn in lanes, and can be read out by the keyboard", async () => {
  await page.keyboard.press("2");
  await page.locator(".lanesview .muted", { hasText: /threads? with turns/ }).waitFor();
  const painted = await page.$eval(".lanes canvas", (canvas) => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    const colours = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) colours.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2]);
    return colours.size;
  });
  assert.ok(painted > 5, `${painted} colours`);
  await page.locator(".lanes").focus();
  await page.keyboard.press("ArrowDown");
  const read = () => page.locator(".readout").innerText();
  assert.match(await read(), /turns? kept/);
  await page.keyboard.press("ArrowLeft");
  assert.match(await read(), /completed|crashed|running|interrupted/);
  const pause = page.locator(".lanesview").getByRole("button", { name: /Pause|Go on/ });
  for (const pressed of ["true", "false"]) {
    await page.keyboard.press(" "); // where the arrows are
    assert.equal(await pause.getAttribute("aria-pressed"), pressed);
  }
  await page.keyboard.press("Enter");
  await page.waitForURL(/#\/thread\//);
});

test("everything has a name and a visible focus, and a walk by Tab comes round", async () => {
  for (const [key, view, most = 60] of [["1", "tree"], ["2", "lanes"], ["3", "events"], ["4", "attention"], ["5", "stored", 400]]) {
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press(key);
    await page.locator(`#views a[data-view="${view}"][aria-current]`).waitFor();
    if (view === "stored") await page.locator(".stored li").first().waitFor();
    const nameless = await page.evaluate(() => [...document.querySelectorAll("button, a[href], input, select, textarea, [tabindex], [role=treegrid], [role=table]")]
      .filter((one) => one.checkVisibility() && one.id !== "main")
      .filter((one) => !(one.getAttribute("aria-label") || one.getAttribute("aria-labelledby") || one.textContent.trim() || one.labels?.length))
      .map((one) => one.outerHTML.slice(0, 120)));
    assert.deepEqual(nameless, []);
    await page.evaluate(() => document.querySelector(".skip").focus());
    const walked = [];
    for (let steps = 0; steps < most; steps += 1) {
      await page.keyboard.press("Tab");
      const now = await page.evaluate(() => {
        const one = document.activeElement;
        const style = getComputedStyle(one);
        return { who: `${one.tagName} ${one.className} ${one.textContent.slice(0, 20)}`, end: one === document.body || one.classList.contains("skip"), seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2 };
      });
      if (now.end) break;
      walked.push(now);
    }
    assert.ok(walked.length >= 5 && walked.length < most, `${walked.length} stops`);
    assert.deepEqual(walked.filter((stop) => !stop.seen).map((stop) => stop.who), [], "each stop has an outline");
  }
  await page.evaluate(() => document.activeElement.blur());
  await page.keyboard.press("?");
  await dialog().locator("kbd").first().waitFor();
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });

  // The tree by the keyboard: one stop, arrows inside, far rows too.
  await page.keyboard.press("1");
  assert.equal(await page.locator('.grid .row[tabindex="0"]').count(), 1);
  await page.locator('.grid .row[tabindex="0"]').focus();
  await page.keyboard.press("End");
  const last = await page.evaluate(() => document.activeElement.getAttribute("aria-rowindex"));
  assert.equal(last, await page.locator(".grid").getAttribute("aria-rowcount"));
  await page.keyboard.press("Home");
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-rowindex")), "2");
});

test("it follows dark, light and less motion", async () => {
  const background = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await background();
  await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  assert.notEqual(await background(), light);
  assert.equal(await page.$eval(".grid .row[data-thread]", (row) => getComputedStyle(row).transitionDuration), "0s");
  await page.emulateMedia({ colorScheme: "light", reducedMotion: "no-preference" });
  assert.equal(await background(), light);
});

test("without a good token the page says so, and asks for one", async () => {
  const other = await open(browser, way.address.replace(/token=.*/, `token=${"0".repeat(64)}`));
  await other.getByRole("heading", { name: "This token is not valid" }).waitFor();
  await other.getByLabel("Token").fill(served.token);
  await other.keyboard.press("Enter");
  await other.waitForSelector(".grid .rows .row");
  assert.deepEqual(other.wrong.filter((text) => !/status of 401/.test(text)), []);
  await other.context().close();
});
