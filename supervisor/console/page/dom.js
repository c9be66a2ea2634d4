// Elements without HTML: text goes in as text alone.

import { age, date, hasHidden, oneLine, pieces, visible } from "./text.js";

/** An element: `h("button.quiet", {type: "button", onclick}, "Close")`. */
export function h(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag || "div");
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key === "value" || key === "checked" || key === "disabled" || key === "hidden") element[key] = value;
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === false || child === "") continue;
    element.append(child instanceof Node ? child : String(child));
  }
}

/** Replaces what is in `element`. */
export function fill(element, ...children) {
  element.replaceChildren();
  add(element, children);
  return element;
}

/** Puts foreign text into `element`: hidden characters get names, and it turns no neighbour's direction. */
export function setForeign(element, text, { line = false, max } = {}) {
  const shown = line ? oneLine(text, max) : max && text.length > max ? `${text.slice(0, max)}\u2026` : text;
  if (!element.classList.contains("foreign")) element.classList.add("foreign");
  if (!hasHidden(shown)) {
    element.textContent = shown;
    return element;
  }
  element.replaceChildren(...pieces(shown).map((piece) => {
    if (!piece.hidden) return document.createTextNode(piece.text);
    return h("span.hid", { title: "a character that cannot be seen or steers what follows" }, piece.text);
  }));
  return element;
}

/** An element with foreign text. */
export function foreign(text, options = {}) {
  return setForeign(document.createElement(options.tag ?? "span"), text ?? "", options);
}

/** Sets text only if it is another one: spares the layout. */
export function setText(element, text) {
  if (element.firstChild?.nodeType === 3 && element.childNodes.length === 1) {
    if (element.firstChild.data !== text) element.firstChild.data = text;
  } else if (element.textContent !== text) {
    element.textContent = text;
  }
}

/** Sets an attribute only if it is another one; null takes it away. */
export function setAttr(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== String(value)) {
    element.setAttribute(name, value);
  }
}

/** A state with its tone. The word is always there: the colour says nothing that it does not. It may be foreign. */
export function badge(word, tone = "off") {
  return setForeign(h("span.badge", { dataset: { tone } }), String(word), { line: true, max: 120 });
}

/** A tooltip of foreign text. */
export function tip(element, text) {
  setAttr(element, "title", text ? visible(text.slice(0, 1000)) : null);
  return element;
}

/** When, as an age that `tickAges` keeps true. */
export function ago(ms, now, suffix = " ago") {
  const element = h("time.ago", { datetime: new Date(ms).toISOString(), title: date(ms), dataset: { at: ms, suffix } });
  element.textContent = age(now - ms) + suffix;
  return element;
}

/** Brings the ages below `root` up to date. */
export function tickAges(root, now) {
  for (const element of root.querySelectorAll("time.ago")) {
    setText(element, age(now - Number(element.dataset.at)) + element.dataset.suffix);
  }
}

/** What an error says, for people. */
export function problemBox(problem, again) {
  return h("div.problem", { role: "alert" },
    h("b", {}, problem.code ?? "error"), " ", foreign(problem.message ?? String(problem)),
    again ? h("button", { type: "button", onclick: again }, "Try again") : null);
}

/**
 * A dialog with a form. `fields`: `{name, label, kind: text|area|number|select|check, value, options, hint, required}`.
 * `run(values, dialog)` may throw a `Problem`, which is shown; what it returns closes the dialog, unless it is `"stay"`.
 */
export function ask({ title, about, fields = [], action, danger = false, run, note }) {
  const before = document.activeElement;
  const inputs = new Map();
  const error = h("div.problem", { role: "alert", hidden: true });
  const output = h("div.output", { "aria-live": "polite" });
  const go = h("button.primary", { type: "submit", dataset: danger ? { danger: "" } : {} }, action);
  const cancel = h("button", { type: "button", onclick: () => dialog.close() }, "Cancel");
  const rows = fields.map((field) => {
    const id = `field-${field.name}`;
    const common = { id, name: field.name, required: field.required, "aria-describedby": field.hint ? `${id}-hint` : null };
    let input;
    if (field.kind === "area") input = h("textarea", { ...common, rows: field.rows ?? 4, spellcheck: "false" });
    else if (field.kind === "select") input = h("select", common, ...field.options.map(([value, text]) => h("option", { value }, text)));
    else if (field.kind === "check") input = h("input", { ...common, type: "checkbox" });
    else input = h("input", { ...common, type: field.kind ?? "text", min: field.min, max: field.max, step: field.step, autocomplete: "off", spellcheck: "false", placeholder: field.placeholder });
    if (field.kind === "check") input.checked = Boolean(field.value);
    else if (field.value !== undefined) input.value = field.value;
    inputs.set(field.name, input);
    return h("div.field", {}, h("label", { for: id }, field.label), input, field.hint ? h("small", { id: `${id}-hint` }, field.hint) : null);
  });
  const form = h("form", { method: "dialog" },
    h("h2", { id: "dialog-title" }, title), about ? h("p.about", {}, about) : null, ...rows, note ? h("p.note", {}, note) : null,
    error, output, h("div.buttons", {}, cancel, go));
  const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    error.hidden = true;
    go.disabled = true;
    dialog.dataset.busy = "";
    try {
      const values = Object.fromEntries([...inputs].map(([name, input]) => [name, input.type === "checkbox" ? input.checked : input.value]));
      const result = await run(values, { output, go, cancel, form, dialog });
      if (result !== "stay") dialog.close();
    } catch (problem) {
      fill(error, h("b", {}, problem.code ?? "error"), " ", foreign(problem.message));
      error.hidden = false;
      go.disabled = false;
    } finally {
      delete dialog.dataset.busy;
    }
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
    event.stopPropagation();
  });
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  (inputs.values().next().value ?? go).focus();
  return dialog;
}
