// The console's page on a store that cannot write for a while. The store is that of `coppicer serve`; its process
// is given no room for any file (RLIMIT_FSIZE), so that each write really fails, until it is given room again.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { Served, assertQuiet, dialog, home, launch, open, show, until } from "./lib.js";

let served, browser, page;

before(async () => {
  served = await Served.roomy("--engine", "told");
  browser = await launch();
  page = await open(browser, served.address);
});

after(async () => {
  served?.room(true);
  await browser?.close();
  assert.equal(await served?.stop(), 0, "an interrupt ends it, and everything is closed");
});

beforeEach(() => home(page));
afterEach(() => assertQuiet(page));

const rows = () => page.locator(".grid .rows .row").evaluateAll((all) => all.map((one) => one.dataset.thread).sort());
const row = (id) => page.locator(`.grid [data-thread="${id}"]`);

async function spawn(nickname) {
  const { thread } = await served.post("/api/threads", { nickname, input: `I am ${nickname}` });
  await until(`${nickname} has said so`, async () => (await served.get(`/api/threads/${thread}`)).row?.status === "completed");
  await row(thread).waitFor();
  return thread;
}

test("trouble of the store is shown while it lasts, costs no thread, and is over when it is over", async () => {
  const ids = [];
  for (const nickname of ["one", "two", "three"]) ids.push(await spawn(nickname));
  assert.deepEqual(await rows(), [...ids].sort());

  served.room(false);
  // Of what cannot be written nobody says that it was.
  await page.evaluate((id) => { location.hash = `#/thread/${id}`; }, ids[0]);
  await page.locator(".threadview h1").waitFor();
  await page.keyboard.press("s");
  await dialog(page).locator("textarea").fill("while there is no room");
  await page.keyboard.press("Control+Enter");
  assert.match(await dialog(page).locator(".problem b").innerText(), /no_answer|store/);
  page.wrong = page.wrong.filter((text) => !/status of 50[34]/.test(text)); // the browser says so too
  await page.keyboard.press("Escape");
  await dialog(page).waitFor({ state: "detached" });

  // It is told on each view, listed on its own, and every thread is still there.
  const count = page.locator("#attention-count");
  await until("the header counts it", async () => (await count.isVisible()) && Number(await count.innerText()) >= 1);
  await show(page, "#/attention");
  const item = page.locator('.attention li[data-item^="store_ailing/"]');
  await item.waitFor();
  assert.match(await item.innerText(), /the runtime/);
  assert.equal(await item.evaluate((one) => one.dataset.tone), "bad");
  assert.ok((await item.locator(".what").innerText()).length > 5, "why");
  assert.equal((await fetch(`http://127.0.0.1:${served.port}/healthz`)).status, 503);
  await show(page, "#/tree");
  await until("every thread is listed", async () => (await rows()).join() === [...ids].sort().join());
  const state = await row(ids[1]).locator(".cell.state").innerText();
  assert.match(state, /completed/, "of who wanted nothing of the store nothing is changed");

  served.room(true);
  await show(page, "#/attention");
  await item.waitFor({ state: "detached" });
  await until("nothing is counted any more", async () => !(await count.isVisible()));
  await page.locator(".attentionview .empty b").waitFor();
  await show(page, "#/tree");
  await until("every thread is listed", async () => (await rows()).join() === [...ids].sort().join());
  for (const id of ids) {
    const { submission } = await served.post(`/api/threads/${id}/submit`, { input: "and again" });
    assert.ok(submission);
    await until("it goes on", async () => (await served.get(`/api/threads/${id}`)).row?.turns >= 2);
    await until("the page says so", async () => (await row(id).locator(".cell.state").innerText()).includes("completed"));
  }
});
