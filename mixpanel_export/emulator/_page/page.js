// The page of the emulator: numbers, failures, events. No build step: what is here is what runs.
//
// Data flow in one direction: the server's stream changes `state`, and `draw` shows all of it.
// Texts are only ever shown through the templates below, which never make markup of them.

import { h, render } from "./vendor/preact.mjs";
import htm from "./vendor/htm.mjs";

const html = htm.bind(h);

// Rows that the table holds. More are found by searching, not by scrolling.
const MAX_ROWS = 200;

const state = {
  connected: false,
  update: null,
  rows: [], // Newest first.
  waiting: [], // Rows that arrived during a pause, newest first.
  paused: false,
  search: "",
  open: new Set(), // Numbers of the rows that show their JSON.
};

// -- the stream ---------------------------------------------------------------------------------

let stream = null;

function listen() {
  stream?.close();
  stream = new EventSource(`/_emulator/live?q=${encodeURIComponent(state.search)}`);
  stream.onopen = () => change({ connected: true });
  stream.onerror = () => change({ connected: false }); // The browser tries again by itself.
  stream.onmessage = (message) => receive(JSON.parse(message.data));
}

function receive(update) {
  if (state.update?.epoch !== update.epoch) {
    Object.assign(state, { rows: [], waiting: [], open: new Set() });
  }
  const known = (state.waiting[0] ?? state.rows[0])?.id ?? 0;
  const fresh = update.events.filter((row) => row.id > known).map(read);
  const list = state.paused ? "waiting" : "rows";
  change({ update, [list]: [...fresh, ...state[list]].slice(0, MAX_ROWS) });
}

function read(row) {
  const { event, properties = {} } = JSON.parse(row.line);
  const { time, distinct_id, ...others } = properties;
  delete others.$insert_id;
  delete others.token;
  return {
    ...row,
    name: event,
    user: distinct_id ?? properties.$user_id ?? properties.$device_id ?? "",
    time: instant(time) ?? row.received_ms,
    summary: summarise(others),
    json: JSON.stringify(JSON.parse(row.line), null, 2),
  };
}

// Seconds or milliseconds, told apart as the service does.
function instant(time) {
  if (typeof time !== "number") return null;
  return Math.abs(time) >= 1e11 ? time : time * 1000;
}

function summarise(properties) {
  return Object.entries(properties).map(([name, value]) => ({
    name,
    value: typeof value === "string" ? value : JSON.stringify(value),
  }));
}

// -- what one can do ----------------------------------------------------------------------------

function togglePause() {
  const rows = [...state.waiting, ...state.rows].slice(0, MAX_ROWS);
  change(state.paused ? { paused: false, rows, waiting: [] } : { paused: true });
}

let typing = 0;

function search(text) {
  change({ search: text, paused: false });
  clearTimeout(typing);
  typing = setTimeout(() => {
    change({ rows: [], waiting: [], open: new Set() });
    listen();
  }, 200);
}

function toggleRow(id) {
  const open = new Set(state.open);
  if (!open.delete(id)) open.add(id);
  change({ open });
}

function reset() {
  fetch("/_emulator/reset", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{}",
  }).catch(() => change({ connected: false }));
}

// -- what one sees ------------------------------------------------------------------------------

const number = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false,
});
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

function moment(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "?";
  const today = date.toDateString() === new Date().toDateString();
  return today ? clock.format(date) : `${day.format(date)} ${clock.format(date)}`;
}

function Page({ update }) {
  return html`
    <header>
      <h1>Mixpanel emulator</h1>
      <${Connection} />
      <button type="button" onClick=${reset} title="Forget events, profiles, failures and faults">
        Reset
      </button>
    </header>
    <main>
      ${update && html`<${Numbers} ...${update} />`}
      ${update && html`<${Failures} failures=${update.failures} />`}
      ${update && html`<${Events} imported=${update.stats.imported} />`}
    </main>
  `;
}

function Connection() {
  const [kind, text] = state.connected ? ["good", "live"] : ["bad", "connecting …"];
  return html`<span id="connection" class=${kind}><i></i>${text}</span>`;
}

function Numbers({ stats, rate, history }) {
  return html`
    <section aria-label="Traffic" class="numbers wide">
      <${Tile} id="rate" name="events/s" value=${rate}><${Chart} history=${history} /><//>
      <${Tile} id="requests" name="requests" value=${total(stats.requests)}>
        <${Statuses} requests=${stats.requests} />
      <//>
    </section>
    <section aria-label="Numbers" class="numbers">
      <${Tile} id="imported" name="imported" value=${stats.imported}
        hint="Events that were accepted and stored, repeated ones too" />
      <${Tile} id="distinct" name="distinct" value=${stats.distinct}
        hint="Different by event, time, distinct_id and $insert_id: what reports show" />
      <${Tile} id="duplicates" name="duplicates" value=${stats.duplicates}
        hint="Repetitions of the same four fields; reports do not show them" />
      <${Tile} id="rejected" name="rejected" value=${stats.rejected}
        kind=${stats.rejected ? "bad" : ""} hint="Events that broke a rule" />
      ${stats.vanished > 0 && html`<${Tile} id="vanished" name="vanished" kind="odd"
        value=${stats.vanished} hint="Answered with success and not stored" />`}
      ${stats.profiles + stats.groups > 0 && html`<${Tile} id="profiles" name="profiles"
        value=${stats.profiles + stats.groups} hint="Of users and groups" />`}
    </section>
  `;
}

function total(counts) {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

function Tile({ id, name, value, hint, kind = "", children }) {
  return html`
    <div id=${id} class="tile ${kind}" title=${hint}>
      <span class="name">${name}</span>
      <span class="value">${number.format(value)}</span>
      ${children}
    </div>
  `;
}

function Chart({ history }) {
  const peak = Math.max(...history, 1);
  const line = history.map((count, x) => `${x},${(20 - (19 * count) / peak).toFixed(2)}`);
  const last = history.length - 1;
  return html`
    <svg viewBox="0 0 ${last} 20" preserveAspectRatio="none" role="img"
      aria-label="Events in each of the last ${history.length} seconds, at most ${peak}">
      <polygon points="0,20 ${line.join(" ")} ${last},20" />
      <polyline points=${line.join(" ")} />
    </svg>
  `;
}

function Statuses({ requests }) {
  const known = Object.entries(requests).sort();
  return html`
    <span class="statuses">
      ${known.map(([status, count]) => html`
        <span key=${status} class=${status.startsWith("2") ? "good" : "bad"}>
          <b>${status}</b> ${number.format(count)}
        </span>
      `)}
    </span>
  `;
}

function Failures({ failures }) {
  if (!failures.length) return null;
  return html`
    <section aria-labelledby="failures-title" id="failures">
      <h2 id="failures-title">Failures</h2>
      ${failures.map((one) => html`
        <details key=${[one.kind, one.endpoint, one.field, one.message].join("\n")}>
          <summary>
            <span class="badge ${one.kind}" title=${KINDS[one.kind]}>${one.kind}</span>
            <code>${one.field || one.endpoint}</code>
            <span class="message">${one.message}</span>
            <span class="count">${number.format(one.count)}×</span>
            <time>${moment(one.last_ms)}</time>
          </summary>
          <p>${KINDS[one.kind]}, sent to <code>${one.endpoint}</code>. The latest one:</p>
          <pre>${pretty(one.sample)}</pre>
        </details>
      `)}
    </section>
  `;
}

const KINDS = {
  rejected: "An event or a profile update that broke a rule",
  refused: "A whole request that was refused",
  vanished: "Answered with success and not stored",
};

function pretty(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text || "(an empty body)"; // A body that is no JSON is often the reason of the failure.
  }
}

function Events({ imported }) {
  return html`
    <section aria-labelledby="events-title" id="events">
      <div class="bar">
        <h2 id="events-title">Events</h2>
        <input type="search" placeholder="Search names, users, properties" value=${state.search}
          aria-label="Search events" onInput=${(event) => search(event.target.value)} />
        <button type="button" id="pause" aria-pressed=${state.paused} onClick=${togglePause}>
          ${state.paused ? `Resume${state.waiting.length ? ` (${news()} new)` : ""}` : "Pause"}
        </button>
      </div>
      ${state.rows.length ? html`<${Table} rows=${state.rows} />` : html`<${Nothing} imported=${imported} />`}
    </section>
  `;
}

function news() {
  return state.waiting.length < MAX_ROWS ? state.waiting.length : `${MAX_ROWS}+`;
}

function Nothing({ imported }) {
  if (state.search) return html`<p class="nothing">No event contains “${state.search}”.</p>`;
  if (imported) return html`<p class="nothing">No events yet since this page was opened.</p>`;
  const address = window.location.origin;
  const data = '[{"event":"Signed Up","properties":{"distinct_id":"u-1"}}]';
  return html`
    <div class="nothing">
      <p>Nothing has arrived yet. Point an application here, or try it by hand:</p>
      <pre>export MIXPANEL_BASE_URL=${address}</pre>
      <pre>curl ${address}/import -u TOKEN: --json '${data}'</pre>
    </div>
  `;
}

function Table({ rows }) {
  return html`
    <table>
      <thead>
        <tr><th scope="col">event</th><th scope="col">distinct_id</th><th scope="col">time</th>
          <th scope="col">properties</th></tr>
      </thead>
      ${rows.map((row) => html`<${Row} key=${row.id} row=${row} open=${state.open.has(row.id)} />`)}
    </table>
  `;
}

function Row({ row, open }) {
  return html`
    <tbody class=${open ? "open" : ""}>
      <tr onClick=${() => toggleRow(row.id)}>
        <td class="event">
          <button type="button" aria-expanded=${open} title="Show the whole event">${row.name}</button>
          ${row.duplicate && html`<span class="badge duplicate">duplicate</span>`}
          ${row.endpoint !== "/import" && html`<span class="badge">${row.endpoint}</span>`}
        </td>
        <td class="user">${row.user === "" ? html`<i>nobody</i>` : String(row.user)}</td>
        <td class="time"><time>${moment(row.time)}</time></td>
        <td class="properties">
          ${row.summary.map(({ name, value }) => html`<span><b>${name}</b> ${value}</span> `)}
        </td>
      </tr>
      ${open && html`<tr class="json"><td colspan="4"><pre>${row.json}</pre></td></tr>`}
    </tbody>
  `;
}

// -- start --------------------------------------------------------------------------------------

const root = document.getElementById("page");
const title = document.title;

function change(changes) {
  Object.assign(state, changes);
  draw();
}

function draw() {
  const rejected = state.update?.stats.rejected ?? 0;
  document.title = rejected ? `(${number.format(rejected)} rejected) ${title}` : title;
  render(html`<${Page} update=${state.update} />`, root);
}

draw();
listen();
