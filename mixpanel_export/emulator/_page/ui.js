// What all parts of the page are made of. Texts are only ever shown through these templates, which
// never make markup of them.

import { h } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

export const html = htm.bind(h);

// -- copying ------------------------------------------------------------------------------------

export function Copy({ text, children, label }) {
  const copy = async (event) => {
    const button = event.currentTarget;
    await write(typeof text === "function" ? text() : text);
    button.dataset.done = "";
    setTimeout(() => delete button.dataset.done, 1200);
  };
  return html`
    <button type="button" class="quiet copy" aria-label=${label} onClick=${copy}>
      <span>${children ?? "Copy"}</span>
    </button>
  `;
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers offer no clipboard to a page that came over plain HTTP from another machine.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

// -- JSON ---------------------------------------------------------------------------------------

// A value that is longer gets no colours.
const MAX_COLOURED = 30_000;

// JSON of `text`, in lines, with `culprit` (such as "properties.time") marked. Texts that are no
// JSON are shown as they are: that is often what is wrong with them.
export function Json({ text, culprit }) {
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    return html`<pre>${text || "(an empty body)"}</pre>`;
  }
  if (text.length > MAX_COLOURED) return html`<pre>${JSON.stringify(value, null, 2)}</pre>`;
  return html`<pre class="json">${lines(value, "", "", wanted(culprit))}</pre>`;
}

// The paths under which a culprit may stand: what the service calls "$insert_id" is a property.
function wanted(culprit) {
  return culprit ? new Set([culprit, `properties.${culprit}`]) : new Set();
}

function lines(value, path, indent, culprits) {
  if (value === null || typeof value !== "object") {
    return html`<span class=${value === null ? "null" : typeof value}>${JSON.stringify(value)}</span>`;
  }
  const list = Array.isArray(value);
  const entries = list ? value.map((inner) => [null, inner]) : Object.entries(value);
  const [first, last] = list ? "[]" : "{}";
  if (!entries.length) return first + last;
  const inside = `${indent}  `;
  const rows = entries.map(([name, inner], index) => {
    const here = list ? path : `${path}${path && "."}${name}`;
    const end = index < entries.length - 1 ? "," : "";
    const key = list ? "" : html`<span class="key">${JSON.stringify(name)}</span>: `;
    const row = html`${inside}${key}${lines(inner, here, inside, culprits)}${end}${"\n"}`;
    return culprits.has(here) ? html`<mark>${row}</mark>` : row;
  });
  return html`${first}${"\n"}${rows}${indent}${last}`;
}

// -- small things -------------------------------------------------------------------------------

export function Badge({ kind = "", title, children }) {
  return html`<span class="badge ${kind}" title=${title}>${children}</span>`;
}

export function Summary({ row }) {
  return row.summary.map(({ name, value }) => html`<span><b>${name}</b> ${value}</span> `);
}

// A moment in the page's narrow columns: the whole one is in the title.
export function Time({ children, title }) {
  return html`<time title=${title}>${children}</time>`;
}
