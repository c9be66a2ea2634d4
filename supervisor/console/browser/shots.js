// The pictures of docs/console, made anew: `node shots.js` behind `cargo build --all-features`.

import { mkdirSync } from "node:fs";
import path from "node:path";

import { Served, Way, launch, open, root } from "./lib.js";

const folder = path.join(root, "docs", "console");
mkdirSync(folder, { recursive: true });
const served = await Served.start("examples/sessions", "--crash", "0.25", "--seed", "5", "--turns", "60", "--pace", "900ms");
const way = await Way.to(served);
const browser = await launch();
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const page = await open(browser, way.address, { viewport: { width: 1280, height: 560 } });
await page.waitForSelector(".grid .rows .row");
await wait(Number(process.env.LET_RUN_MS ?? 40_000));
const { rows } = await served.get("/api/tree");
const ids = Object.fromEntries(rows.filter((row) => row.path).map((row) => [row.path.split("/").pop(), row.thread]));
await served.post(`/api/threads/${rows.find((row) => !row.path && !row.turn)?.thread ?? rows[0].thread}/park`, {});
const closing = await served.post(`/api/threads/${rows[2].thread}/fork`, { nickname: "what if", at: "interrupted", input: "Try it the other way." });
await wait(1500);
await served.post(`/api/threads/${closing.thread}/close`, {});
const child = ids.child_a ?? rows.find((row) => row.crashes).thread;
const views = [["tree", "#/tree"], ["thread", `#/thread/${child}`], ["lanes", "#/lanes"], ["events", "#/events"], ["attention", "#/attention"]];
for (const dark of [false, true]) {
  await page.emulateMedia({ colorScheme: dark ? "dark" : "light" });
  for (const [name, hash] of views) {
    await page.evaluate((to) => { location.hash = to; }, hash);
    if (name === "lanes") await page.getByRole("button", { name: "1 min", exact: true }).click();
    await wait(2000);
    await page.screenshot({ path: path.join(folder, `${name}-${dark ? "dark" : "light"}.png`) });
  }
}
console.log(page.wrong);
await browser.close();
way.stop();
await served.stop();
