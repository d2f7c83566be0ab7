// The page of the emulator. No build step: what is here is what runs.
//
// Data flow in one direction: the server's stream and what one does change `state`, and `draw`
// shows all of it. What one looks at is in the address, so that it can be shared and gone back to.

import { render } from "./vendor/preact.mjs";
import { html } from "./ui.js";
import { count, read } from "./text.js";
import { Failures, Overview, keyOf } from "./overview.js";
import { Events } from "./events.js";
import { Users } from "./users.js";
import { Names } from "./names.js";
import { Faults } from "./faults.js";

const PARTS = { events: Events, users: Users, names: Names, faults: Faults };
const TITLES = { events: "Events", users: "Users", names: "Lexicon", faults: "Faults" };

// Rows that the page holds. More are found by searching, not by scrolling.
const MAX_ROWS = 100;

// More than these at once are a flood, which is not pointed out row by row.
const MAX_FRESH = 12;

const state = {
  connected: false,
  epoch: null,
  facts: null, // What the stream said last, by its keys.
  loading: true, // Whether the rows that belong here are still on their way.
  rows: [], // Newest first.
  waiting: [], // Rows that arrived during a pause, newest first.
  order: new Map(), // Failures by their key: when each was first seen.
  allFailures: false,
  hover: null, // The second of the chart that is pointed at.
  paused: false,
  open: new Set(), // Numbers of the rows that show their JSON.
  part: "events",
  name: null, // The event that is looked at, or null.
  user: null, // The user who is looked at, or null.
  search: "",
  only: "",
  often: "every request",
  path: "*",
};

// -- the stream ---------------------------------------------------------------------------------

const RETRY_MS = 1000;

let stream = null;
let retry = 0;
let isNew = false; // Whether nothing has come yet from a stream for something else.

function listen() {
  clearTimeout(retry);
  stream?.close();
  isNew = true;
  stream = new EventSource(`/_emulator/live?${question()}`);
  stream.onopen = () => change({ connected: true });
  stream.onerror = lose;
  stream.onmessage = (message) => receive(JSON.parse(message.data));
}

// The browser tries again by itself, but not after an answer that is no stream: that of another
// program which has the port by now, or of an emulator that is just starting.
function lose() {
  change({ connected: false });
  if (stream.readyState === EventSource.CLOSED) retry = setTimeout(listen, RETRY_MS);
}

// A browser has six connections to one address, for all of its tabs. So of those that nobody looks
// at only the last one listens.
const tabs = new BroadcastChannel("mixpanel-emulator");

function rest() {
  if (!document.hidden) return;
  clearTimeout(retry);
  stream.close();
  change({ connected: false });
}

function wake() {
  if (document.hidden) return;
  tabs.postMessage("awake");
  if (stream.readyState === EventSource.CLOSED) listen();
}

function question() {
  const { part, name, user, search, only } = state;
  const asked = new URLSearchParams({ part });
  if (name !== null) asked.set("name", name);
  if (user !== null) asked.set("user", user);
  if (part === "events") {
    if (search) asked.set("q", search);
    if (only === "repeated") asked.set("repeated", "1");
    else if (only) asked.set("endpoint", only);
  }
  return asked;
}

function receive({ events = [], ...told }) {
  const reset = "epoch" in told && told.epoch !== state.epoch;
  if (reset || isNew) Object.assign(state, { rows: [], waiting: [] });
  if (reset) Object.assign(state, { open: new Set(), order: new Map() });
  const facts = { ...state.facts, ...told };
  for (const one of [...facts.failures].reverse()) {
    if (!state.order.has(keyOf(one))) state.order.set(keyOf(one), state.order.size);
  }
  take(events);
  isNew = false;
  change({ facts, epoch: facts.epoch, loading: false });
}

function take(events) {
  const known = (state.waiting[0] ?? state.rows[0])?.id ?? 0;
  const rows = events.filter((row) => row.id > known).map(read);
  const fresh = !isNew && rows.length <= MAX_FRESH;
  const list = state.paused && !isNew ? "waiting" : "rows";
  state[list] = [...rows.map((row) => ({ ...row, fresh })), ...state[list]].slice(0, MAX_ROWS);
  const here = new Set(state.rows.map(({ id }) => id));
  state.open = new Set([...state.open].filter((id) => here.has(id)));
}

// -- what one can do ----------------------------------------------------------------------------

let typing = 0;

const act = {
  set: change,

  // Shows a part of the page, perhaps of one subject: it is in the address.
  go(part, subject) {
    window.location.hash = part + (subject === undefined ? "" : `/${encodeURIComponent(subject)}`);
  },

  pause() {
    const rows = [...state.waiting, ...state.rows].slice(0, MAX_ROWS);
    change(state.paused ? { paused: false, rows, waiting: [] } : { paused: true });
  },

  search(text) {
    change({ search: text });
    clearTimeout(typing);
    typing = setTimeout(listen, 150);
  },

  only(only) {
    change({ only });
    listen();
  },

  toggle(id) {
    const open = new Set(state.open);
    if (!open.delete(id)) open.add(id);
    change({ open });
  },

  send(method, path, content = {}) {
    return fetch(`/_emulator/${path}`, {
      method,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(content),
    }).catch(() => change({ connected: false }));
  },
};

function readAddress() {
  const [part, ...rest] = window.location.hash.slice(1).split("/");
  const known = part in PARTS ? part : "events";
  const chosen = rest.length ? decode(rest.join("/")) : null;
  change({
    part: known,
    name: known === "users" ? null : chosen,
    user: known === "users" ? chosen : null,
    paused: false,
    rows: [],
    waiting: [],
    loading: true,
  });
  listen();
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // An address that somebody typed.
  }
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  const number = Number(event.key);
  if (event.key === "/") focus("#search");
  else if (event.key === "p" && state.part === "events") act.pause();
  else if (number >= 1 && number <= 4) act.go(Object.keys(PARTS)[number - 1]);
  else return;
  event.preventDefault();
}

function focus(selector, tries = 10) {
  if (state.part !== "events") act.go("events");
  const element = document.querySelector(selector);
  if (element) element.focus();
  // The part is drawn when the address has changed, with the next frame.
  else if (tries) requestAnimationFrame(() => focus(selector, tries - 1));
}

// -- what one sees ------------------------------------------------------------------------------

function Page({ facts }) {
  return html`
    <header>
      <img src="/_emulator/page/favicon.svg" alt="" width="26" height="26" />
      <h1>Mixpanel emulator</h1>
      <${Connection} />
      <code class="address">${window.location.host}</code>
      <button type="button" id="reset" onClick=${() => act.send("POST", "reset")}
        title="Forget events, profiles, failures and faults">Reset</button>
    </header>
    ${facts && html`
      <main class=${state.connected ? "" : "stale"}>
        <p class="unseen" role="status">${news(facts.failures)}</p>
        <${Overview} facts=${facts} hover=${state.hover} onHover=${(hover) => change({ hover })} />
        <${Failures} failures=${inOrder(facts.failures)} all=${state.allFailures}
          onAll=${() => change({ allFailures: !state.allFailures })} />
        <${Tabs} faults=${facts.faults} />
        <section id=${state.part} role="tabpanel" aria-labelledby="tab-${state.part}">
          <${PARTS[state.part]} state=${state} act=${act} />
        </section>
      </main>
      <footer>
        <span><kbd>/</kbd> search</span><span><kbd>p</kbd> pause</span>
        <span><kbd>1</kbd>–<kbd>4</kbd> parts</span><span><kbd>↑</kbd><kbd>↓</kbd> rows</span>
      </footer>
    `}
  `;
}

function Connection() {
  const [kind, text] = state.connected ? ["good", "live"] : ["bad", "not connected"];
  return html`<span id="connection" class=${kind} role="status"><i></i>${text}</span>`;
}

// What is said aloud: once for each kind, since counts may change four times a second.
function news(failures) {
  const newest = inOrder(failures)[0];
  return newest && `A new kind of failure: ${newest.field} ${newest.message}`;
}

// New kinds on top, and none moves while it is read.
function inOrder(failures) {
  const { order } = state;
  return [...failures].sort((one, other) => order.get(keyOf(other)) - order.get(keyOf(one)));
}

function Tabs({ faults }) {
  const parts = Object.keys(PARTS);
  const turn = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = parts[(parts.indexOf(state.part) + step + parts.length) % parts.length];
    act.go(next);
    document.getElementById(`tab-${next}`).focus(); // Which becomes the selected one when drawn.
  };
  return html`
    <div role="tablist" aria-label="Parts of the page" onKeyDown=${turn}>
      ${parts.map((part) => html`
        <button type="button" role="tab" id="tab-${part}" key=${part}
          aria-selected=${part === state.part} tabindex=${part === state.part ? 0 : -1}
          onClick=${() => act.go(part)}>
          ${TITLES[part]}
          ${part === "faults" && faults.length > 0 && html`<span class="on">${faults.length}</span>`}
        </button>
      `)}
    </div>
  `;
}

// -- start --------------------------------------------------------------------------------------

const root = document.getElementById("page");
const title = document.title;

function change(changes) {
  Object.assign(state, changes);
  draw();
}

let isDue = false; // Whether the page will be drawn with the browser's next frame.

function draw() {
  const { rejected = 0, updates_rejected = 0 } = state.facts?.stats ?? {};
  const bad = rejected + updates_rejected;
  // At once: it is all that one sees of a page in the background, for which there are no frames.
  document.title = bad ? `(${count(bad)} rejected) ${title}` : title;
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    render(html`<${Page} facts=${state.facts} />`, root);
  });
}

window.addEventListener("hashchange", readAddress);
document.addEventListener("keydown", press);
document.addEventListener("visibilitychange", wake);
tabs.addEventListener("message", rest);
tabs.postMessage("awake");
readAddress();
