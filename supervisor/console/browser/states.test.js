// The console's page on what is not well: a damaged record, questions, a turn that makes no progress, budgets
// that are used up, a reader that is too slow. Against `coppicer serve` on a store with the recorded sessions of
// examples/, one byte of which was changed; turns do what they are told.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";

import * as lib from "./lib.js";
import { Served, Way, assertQuiet, home, launch, open, root, until } from "./lib.js";

/** The thread of the chat, and the record that is damaged in it. */
const DAMAGED = "01a2032d-a9a4-7001-8aea-b4350a6e6193";
const RECORD = 4;

let served, way, browser, page;

/** Changes one byte of the record where it stands in the file of the store. */
function flip(store) {
  const session = readFileSync(path.join(root, `examples/sessions/chat3/rollout-2026-11-22T12-14-13-${DAMAGED}.jsonl`), "utf8");
  const head = Buffer.from(session.split("\n")[RECORD]).subarray(0, 200);
  const at = store.indexOf(head);
  assert.ok(at > 0 && store.indexOf(head, at + 1) < 0, "the record is in the store as it was imported, once");
  store[at + 100] ^= 1;
}

before(async () => {
  served = await Served.stored("examples/sessions", flip, "--engine", "told");
  way = await Way.to(served);
  browser = await launch();
  page = await open(browser, way.address);
});

after(async () => {
  await browser?.close();
  way?.stop();
  assert.equal(await served?.stop(), 0, "an interrupt ends it, and everything is closed");
});

beforeEach(async () => {
  await home(page);
});

afterEach(() => assertQuiet(page));

const show = (hash) => lib.show(page, hash);
const dialog = () => lib.dialog(page);
const stateOf = (id) => page.locator(`.grid [data-thread="${id}"] .cell.state`).first().innerText();
const itemOf = (kind, id) => page.locator(`.attention li[data-item^="${kind}/${id}"]`);
const card = (name) => page.locator(`.threadview section[aria-label="${name}"]`);
const submit = (id, input) => served.post(`/api/threads/${id}/submit`, { input });

async function spawn(body) {
  const { thread } = await served.post("/api/threads", body);
  await page.locator(`.grid [data-thread="${thread}"]`).waitFor();
  return thread;
}

/** Opens the view of a thread, with its timeline or its history. */
async function look(id, tab) {
  await show(`#/thread/${id}`);
  await page.locator(".threadview").waitFor();
  await page.keyboard.press(tab);
}

/** What needs attention is told on each view, and listed on its own. */
async function attention(kind, id) {
  await page.waitForFunction(() => Number(document.getElementById("attention-count").textContent) >= 1);
  await show("#/attention");
  const item = itemOf(kind, id);
  await item.waitFor();
  return item;
}

test("a damaged record is marked where it stands, and its thread can be forked up to there", async () => {
  await look(DAMAGED, "h");
  const damaged = page.locator('.record[data-marks~="damaged"]');
  await damaged.waitFor();
  assert.equal(await damaged.count(), 1);
  assert.equal(Number(await damaged.getAttribute("data-seq")), RECORD);
  assert.match(await damaged.innerText(), /damaged[\s\S]*checksum/);
  assert.equal(await damaged.evaluate((one) => one.dataset.tone), "bad");
  assert.ok((await page.locator(".record").count()) > RECORD + 1, "what stands around it is shown");

  await page.keyboard.press("s");
  await dialog().locator("textarea").fill("go on");
  await page.keyboard.press("Control+Enter");
  assert.equal(await dialog().locator(".problem b").innerText(), "damaged", "what is refused says why");
  page.wrong = page.wrong.filter((text) => !/status of 410/.test(text)); // the browser says so too
  await page.keyboard.press("Escape");
  await dialog().waitFor({ state: "detached" });

  const item = await attention("damaged", DAMAGED);
  assert.match(await item.innerText(), new RegExp(`record ${RECORD}: its checksum does not match`));
  await item.getByRole("button", { name: "Fork" }).click();
  await dialog().getByLabel("First input").fill("what was left");
  await dialog().getByRole("button", { name: "Fork", exact: true }).click();
  const fork = await until("a fork of what can be read", async () => (await served.get("/api/tree")).rows.find((row) => row.forked_from === DAMAGED && row.status === "completed"));
  await look(fork.thread, "h");
  await page.locator(".record").first().waitFor();
  await until("it says what it was told", async () => (await page.locator('.record[data-class="assistant_message"]').last().innerText()).includes("what was left"));
  assert.equal(await damaged.count(), 0);
});

test("a question waits for its host, and is answered from the page", async () => {
  const id = await spawn({ nickname: "asker", input: "/ask <b>may I?</b>" });
  await until("the row says that it asks", async () => (await stateOf(id)) === "asking");
  await look(id, "t");
  assert.match(await until("why it waits", async () => /answer|host/.exec(await card("Why").innerText())?.[0]), /answer|host/);
  const item = await attention("asked", id);
  assert.match(await item.locator(".body").innerText(), /<b>may I\?<\/b>/, "as text");
  await item.getByRole("button", { name: "Answer" }).click();
  assert.match(await dialog().locator(".about").innerText(), /may I\?/);
  await dialog().getByLabel("Answer, as JSON").fill("yes");
  await dialog().getByRole("button", { name: "Answer" }).click();
  assert.match(await dialog().locator(".problem").innerText(), /no JSON/, "the page says so, and asks nobody");
  await dialog().getByLabel("Answer, as JSON").fill('{"allowed": true}');
  await dialog().getByRole("button", { name: "Answer" }).click();
  await item.waitFor({ state: "detached" });
  await look(id, "t");
  await page.locator(".turncard .badge", { hasText: "completed" }).waitFor();
  await page.locator(".turncard", { hasText: '{"allowed":true}' }).waitFor();
});

test("a turn that makes no progress is shown, is interrupted, and leaves a history that is closed", async () => {
  const id = await spawn({ nickname: "late", input: "/call shell\n/tool 300ms 10m" });
  await until("the row says where it is", async () => (await stateOf(id)) === "running");
  const item = await attention("stuck", id);
  assert.match(await item.innerText(), /at tool/);
  assert.match(await item.innerText(), /quiet for/);
  await item.getByRole("button", { name: "Interrupt" }).click();
  await item.waitFor({ state: "detached" });
  await look(id, "t");
  await page.locator(".turncard .badge", { hasText: "interrupted" }).first().waitFor();
  await page.locator(".turncard .badge", { hasText: "closed for it" }).waitFor();
  await page.keyboard.press("h");
  const closing = page.locator('.record[data-marks~="closing"]');
  await until("the output, the marker and the end of the turn", async () => {
    const classes = await closing.evaluateAll((all) => all.map((one) => one.dataset.class));
    return classes.includes("tool_output") && classes.includes("turn_aborted");
  });
  assert.equal(await closing.locator(".mark", { hasText: "closing" }).count(), await closing.count(), "in words too");
});

test("a budget is shown as it is used, given away and spent", async () => {
  const id = await spawn({ nickname: "spender", input: "/use 400", budget: { tokens: 1000 } });
  await look(id, "t");
  const figures = async () => (await card("Budget").locator("tbody tr", { hasText: "tokens" }).locator("td").allInnerTexts()).map((text) => text.replace(/\D/g, ""));
  await until("four tenths are used", async () => (await figures()).join() === "1000,400,0,600");
  // From here on what is read of the thread says what it said: only frames tell of its budget.
  const detail = JSON.stringify(await served.get(`/api/threads/${id}`));
  const ofIt = (url) => url.pathname === `/api/threads/${id}`;
  await page.route(ofIt, (route) => route.fulfill({ contentType: "application/json", body: detail }));
  const child = (await served.post("/api/threads", { parent: id, budget: { tokens: 500 } })).thread;
  await until("the sub-agent has a part", async () => (await figures()).join() === "1000,400,500,100");
  assert.equal(await card("Budget").locator("td.bad").count(), 1, "a tenth is left");
  await submit(child, "/use 200");
  await until("it has used some", async () => (await served.get(`/api/threads/${child}`)).row?.turns === 1);
  await served.post(`/api/threads/${child}/close`, {});
  await until("what it did not use is back", async () => (await figures()).at(-1) === "400");
  await page.unroute(ofIt);
  await submit(id, "/use 600\n/hang");
  const item = await attention("budget_spent", id);
  assert.match(await item.innerText(), /budget.*tokens/);
  await look(id, "t");
  await page.locator(".turncard .badge", { hasText: "budget_limited" }).first().waitFor();
  await until("nothing is left", async () => (await figures()).at(-1) === "0");

  // It is given more where it is listed, and goes on.
  await show("#/attention");
  await item.getByRole("button", { name: "Fund" }).click();
  await dialog().getByLabel("More tokens").fill("500"); // 200 more than it had are used
  await dialog().getByRole("button", { name: "Fund", exact: true }).click();
  await item.waitFor({ state: "detached" });
  await look(id, "t");
  await until("it has what it was given", async () => (await figures()).at(-1) === "300");
  await submit(id, "go on");
  await until("a turn runs again", async () => (await served.get(`/api/threads/${id}`)).row?.status === "completed");
});

test("the page asks for a thread's detail when a fact tells of a change, and not while nothing happens", async () => {
  const id = await spawn({ nickname: "quiet", input: "hello" });
  await until("it has said so", async () => (await stateOf(id)) === "completed");
  await look(id, "t");
  await card("Why").waitFor();
  let asked = 0;
  page.on("request", (request) => { asked += new URL(request.url()).pathname === `/api/threads/${id}` ? 1 : 0; });
  await page.waitForTimeout(2000); // the last of its facts may be told in a frame of its own
  asked = 0;
  await page.waitForTimeout(6000); // it used to ask every 5 s
  assert.equal(asked, 0, "nothing happened");
  // What is injected starts no turn and changes no status: a fact tells of it.
  await look(id, "h");
  const injected = page.locator(".record", { hasText: "by the way" });
  await page.locator(".record").first().waitFor();
  assert.equal(await injected.count(), 0);
  const items = [{ type: "message", role: "user", content: [{ type: "input_text", text: "by the way" }] }];
  await served.post(`/api/threads/${id}/submit`, { op: { inject: { items } } });
  await injected.first().waitFor();
  assert.ok(asked > 0, "it was read again");
});

test("what the store has is found, looked at and resumed", async () => {
  await page.keyboard.press("5");
  const stored = page.locator(".storedview");
  const items = stored.locator("li[data-thread]");
  await items.first().waitFor();
  const all = await items.count();
  assert.ok(all > 5, `${all} threads, none of which has a row in the tree`);
  assert.match(await stored.getByRole("status").first().innerText(), new RegExp(`${all} threads listed`));
  await page.keyboard.press("/");
  await page.keyboard.type("no such thread");
  await stored.locator(".empty", { hasText: "No stored thread matches" }).waitFor();
  await stored.locator(".search").fill("");
  await items.nth(all - 1).waitFor();
  await stored.locator(".search").press("ArrowDown");
  await page.keyboard.press("ArrowDown");
  const second = await items.nth(1).getAttribute("data-thread");
  assert.equal(await page.evaluate(() => document.activeElement.closest("li").dataset.thread), second);
  await items.nth(1).getByRole("button", { name: "Resume" }).click();
  await page.locator(".toast", { hasText: "Resumed" }).waitFor();
  await items.nth(1).locator("a").press("Enter");
  await page.locator(".threadview").waitFor();
  await show("#/tree");
  await page.locator(`.grid [data-thread="${second}"]`).waitFor();
});

test("a reader that is too slow is told what it lost, and goes on without a gap", async () => {
  const id = await spawn({ nickname: "talker" });
  const own = served.listen("lifecycle=true");
  await page.keyboard.press("3");
  await page.waitForSelector(".entry[data-seq]");
  await submit(id, "before");
  await until("there is something before", () => own.facts.length > 3);
  way.stall();
  // Each turn tells what it said twice: together more than a tap and the kernel hold. Few turns, so that it is
  // done long before the console gives up a reader that takes nothing.
  const text = "long ".repeat(40_000);
  for (let turns = 2; turns <= 31; turns += 1) {
    const heard = own.facts.length;
    await submit(id, text);
    await until("the turn ended, and who keeps up has heard of it", async () => own.facts.length > heard + 2 && (await served.get(`/api/threads/${id}`)).row?.turns === turns);
  }
  way.flow();
  const note = (text) => page.locator(".entry.note", { hasText: text }).first();
  await page.locator(".logview .search").fill("no such fact"); // what the page itself notes is left
  await note(/This page did not keep up: [\d\s\u2009]+ facts lost/).waitFor({ state: "attached" });
  await note("Connected again").waitFor({ state: "attached" });
  await page.locator(".logview .search").fill("");
  await page.evaluate(() => document.activeElement.blur());
  await submit(id, "after");
  await until("the page has the last fact", async () => {
    const [last] = own.facts.slice(-1);
    return (await page.locator(`.entry[data-seq="${last}"]`).count()) > 0 && last === own.facts.at(-1);
  });
  const facts = await own.stop();
  assert.ok(facts.length > 100, `${facts.length} facts`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("button", { name: "Download" }).click()]);
  const seqs = readFileSync(await download.path(), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line).seq);
  assert.deepEqual(seqs, [...new Set(seqs)].sort((a, b) => a - b), "in order, each once");
  assert.deepEqual(seqs.filter((seq) => seq >= facts[0]), facts, "just what a client heard that kept up");
});

test("a first look at the facts begins with what the journal still has, and goes on", async () => {
  const id = await spawn({ nickname: "verbose" });
  await show("#/events");
  await page.locator(".entry[data-seq]").first().waitFor();
  await show("#/tree");
  // Three facts of each turn tell what it said: in all more than the journal holds.
  const text = "word ".repeat(180_000);
  for (let turns = 1; turns <= 28; turns += 1) {
    await submit(id, text);
    await until("the turn ended", async () => (await served.get(`/api/threads/${id}`)).row?.turns === turns);
  }
  const other = await open(browser, way.address);
  try {
    await other.locator(".grid [data-thread]").first().waitFor();
    await other.evaluate(() => document.activeElement.blur());
    await other.keyboard.press("3");
    await other.locator(".entry[data-seq]").first().waitFor();
    await other.locator(".logview .search").fill("no such fact"); // what the page itself notes is left
    await other.locator(".entry.note", { hasText: "not kept any more" }).waitFor({ state: "attached" });
    await other.locator(".logview .search").fill("after the first look");
    await submit(id, "after the first look");
    await other.locator(".entry[data-seq]").first().waitFor();
    assertQuiet(other);
  } finally {
    await other.context().close();
  }
  // Who comes back where the journal has its place no more is told so, and has what it still has.
  await show("#/events");
  await page.locator(".logview .search").fill("no such fact");
  await page.locator(".entry.note", { hasText: "there is a gap here" }).waitFor({ state: "attached" });
  await page.locator(".logview .search").fill("after the first look");
  await page.locator(".entry[data-seq]").first().waitFor();
  await page.locator(".logview .search").fill("");
});

test("a role that turns the direction of text is shown by name", async () => {
  const id = await spawn({ role: "\u202egpj.\u001b[31mexe" });
  await look(id, "t");
  const role = page.locator('.threadview .badge[title="Its role"]');
  await role.waitFor();
  assert.match(await role.textContent(), /^U\+202Egpj\.\u241b\[31mexe$/);
});
