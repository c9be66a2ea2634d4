"use strict";
// The token is in the fragment, which is not sent; it stays in this tab, and leaves the address bar.
const found = /(?:^#|&)token=([0-9a-f]+)/.exec(location.hash);
if (found) {
  sessionStorage.setItem("token", found[1]);
  history.replaceState(null, "", location.pathname);
}
const token = sessionStorage.getItem("token");
const state = document.getElementById("state");
const rows = new Map();

function show() {
  const body = document.querySelector("tbody");
  document.querySelector("table").hidden = false;
  body.replaceChildren(...[...rows.values()].map((row) => {
    const tr = document.createElement("tr");
    for (const text of [row.path ?? row.thread, row.status, row.turns, row.crashes]) {
      tr.insertCell().textContent = text;
    }
    return tr;
  }));
}

async function read(lastId) {
  const headers = { Authorization: `Bearer ${token}` };
  if (lastId) headers["Last-Event-ID"] = lastId;
  const response = await fetch("/api/tree/stream", { headers });
  if (!response.ok) throw new Error((await response.json()).detail);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text += value;
    let end;
    while ((end = text.indexOf("\n\n")) >= 0) {
      const lines = text.slice(0, end).split("\n");
      text = text.slice(end + 2);
      const data = lines.find((line) => line.startsWith("data:"));
      if (!data || !lines.includes("event: frame")) continue;
      const frame = JSON.parse(data.slice(5));
      if (frame.full) rows.clear();
      for (const row of frame.rows) rows.set(row.thread, row);
      for (const thread of frame.removed) rows.delete(thread);
      state.textContent = `${frame.totals.threads} threads`;
      show();
    }
  }
}

if (token) read().catch((error) => { state.textContent = error.message; });
else state.textContent = "Open the address that was printed at the start: it has the token.";
