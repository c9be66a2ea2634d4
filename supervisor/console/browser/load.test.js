// What the page costs: 2,000 threads whose turns make about 4,000 facts a second.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Served, Way, launch, open, until } from "./lib.js";

const THREADS = 2000;
/** How long each view is looked at, in s. */
const LOOK_S = 5;
/** Fewer facts a second are no load. */
const FACTS_MIN = 2000;
/** The share of its time that the page's main thread may be busy. */
const BUSY_MAX = 0.25;

let served, way, browser, page;

before(async () => {
  served = await Served.start("--threads", String(THREADS), "--turns", "100000", "--engine", "script", "--pace", process.env.PACE ?? "3s", "--deadline", "5s");
  way = await Way.to(served);
  browser = await launch();
  page = await open(browser, way.address);
});

after(async () => {
  await browser?.close();
  way?.stop();
  await served?.stop();
});

/** Looks at the page for a while: how busy its main thread was, what it did, and what happened meanwhile. */
async function look(session) {
  const read = async () => {
    const { metrics } = await session.send("Performance.getMetrics");
    const frames = Number(await page.getAttribute("html", "data-frames"));
    // What the log has, and had: "20 000 shown · the oldest 12 345 are gone".
    const logged = (await page.locator(".logview .bar > .muted").textContent()).replace(/\u2009/g, "").match(/\d+/g)?.map(Number) ?? [0];
    return { logged: logged.reduce((sum, n) => sum + n), ...Object.fromEntries(metrics.map(({ name, value }) => [name, value])), frames, seq: (await served.get("/api/tree")).seq, at: performance.now() };
  };
  const before = await read();
  await new Promise((resolve) => setTimeout(resolve, LOOK_S * 1000));
  const now = await read();
  const took = (now.at - before.at) / 1000;
  const share = (name) => (now[name] - before[name]) / took;
  return { busy: share("TaskDuration"), script: share("ScriptDuration"), layout: share("LayoutDuration") + share("RecalcStyleDuration"), facts: (now.seq - before.seq) / took, frames: (now.frames - before.frames) / took, logged: (now.logged - before.logged) / took };
}

test(`with ${THREADS} threads the page's main thread is busy less than ${BUSY_MAX * 100} % of the time`, async (t) => {
  await until("all threads are there", async () => Number((await page.locator(".foot").innerText()).replace(/\u2009/g, "").match(/^(\d+) rows/)?.[1]) >= THREADS);
  assert.ok((await page.locator(".grid .rows .row").count()) < 100, "rows are windowed");
  const session = await page.context().newCDPSession(page);
  await session.send("Performance.enable", { timeDomain: "timeTicks" });
  const views = [["tree", "1"], ["tree, sorted by turn", null], ["lanes", "2"], ["events, lifecycle", "3"], ["events, all kinds", null]];
  for (const [name, key] of views) {
    if (key) await page.keyboard.press(key);
    else if (name.startsWith("events")) await page.getByLabel("lifecycle only").click();
    else await page.locator(".row.head").getByRole("button", { name: "Turn", exact: true }).click();
    await page.evaluate(() => document.activeElement.blur());
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const { busy, script, layout, facts, frames, logged } = await look(session);
    const percent = (part) => `${(part * 100).toFixed(1)} %`;
    console.log(`busy: ${name}: ${percent(busy)} (script ${percent(script)}, style and layout ${percent(layout)}) at ${Math.round(facts)} facts/s, ${frames.toFixed(1)} frames/s${logged > 0 ? `, ${Math.round(logged)} facts/s into the log` : ""}`);
    t.diagnostic(`${name}: ${percent(busy)} busy at ${Math.round(facts)} facts/s`);
    assert.ok(busy > 0 && frames > 2 && facts > FACTS_MIN, `${name}: ${frames} frames/s and ${facts} facts/s: it was measured while nothing went on`);
    if (name.endsWith("all kinds")) assert.ok(logged > 0.8 * facts, `${logged} of ${facts} facts/s are in the log`);
    assert.ok(busy < BUSY_MAX, `${name}: busy ${percent(busy)} of the time`);
  }
  assert.deepEqual(page.wrong, []);
});
