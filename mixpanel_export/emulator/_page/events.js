// What arrives, as it arrives.

import { Badge, Copy, Json, Summary, html } from "./ui.js";
import { count, curl, moment, origin } from "./text.js";

export function Events({ state, act }) {
  const { rows, waiting, paused, search, only, name } = state;
  return html`
    <div class="bar">
      <input type="search" id="search" placeholder="Search names, users, properties" value=${search}
        aria-label="Search events" aria-keyshortcuts="/"
        onInput=${(event) => act.search(event.target.value)} />
      <select id="only" aria-label="Show" value=${only}
        onChange=${(event) => act.only(event.target.value)}>
        ${Object.entries(FILTERS).map(([value, text]) => html`
          <option value=${value}>${text}</option>
        `)}
      </select>
      <button type="button" id="pause" aria-pressed=${paused} aria-keyshortcuts="p"
        onClick=${act.pause}>
        ${paused ? `Resume${waiting.length ? ` (${many(waiting)} new)` : ""}` : "Pause"}
      </button>
    </div>
    ${name !== null && html`
      <p class="chips">
        <button type="button" class="chip" id="any-name" onClick=${() => act.go("events")}
          aria-label="Show events of all names again">
          event is <b>${name}</b><span aria-hidden="true">×</span>
        </button>
      </p>
    `}
    ${rows.length
      ? html`<${Table} rows=${rows} open=${state.open} act=${act} />`
      : html`<${Nothing} state=${state} />`}
  `;
}

export const FILTERS = {
  "": "All events",
  repeated: "Duplicates",
  "/import": "/import",
  "/track": "/track",
};

const MANY = 100;

const many = (rows) => (rows.length < MANY ? rows.length : `${MANY}+`);

function Nothing({ state }) {
  if (state.loading) return null;
  const imported = state.facts.stats.imported;
  if (state.search || state.only || state.name !== null) {
    return html`<p class="nothing">No event matches.</p>`;
  }
  if (imported) return html`<p class="nothing">No event is kept any more.</p>`;
  return html`<${Welcome} />`;
}

const EXAMPLE = '{"event":"Signed Up","properties":{"distinct_id":"u-1","time":'
  + `${Math.floor(Date.now() / 1000)},"$insert_id":"first-1","plan":"pro"}}`;

function Welcome() {
  const address = window.location.origin;
  const ways = [
    ["Point an application here", `export MIXPANEL_BASE_URL=${address} MIXPANEL_TOKEN=any`],
    ["or send an event by hand", curl("/import", EXAMPLE)],
  ];
  return html`
    <div class="nothing">
      <p>Nothing has arrived yet.</p>
      ${ways.map(([title, command]) => html`
        <div class="way">
          <h3>${title}</h3><${Copy} text=${command} />
          <pre>${command}</pre>
        </div>
      `)}
    </div>
  `;
}

function Table({ rows, open, act }) {
  return html`
    <table class="card" onKeyDown=${walk}>
      <thead>
        <tr><th scope="col">Arrived</th><th scope="col">Event</th><th scope="col">User</th>
          <th scope="col">Properties</th></tr>
      </thead>
      ${rows.map((row) => html`
        <${Row} key=${row.id} row=${row} open=${open.has(row.id)} act=${act} />
      `)}
    </table>
  `;
}

// The arrow keys go from event to event.
function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || !event.target.matches("td.event button")) return;
  const buttons = [...event.currentTarget.querySelectorAll("td.event button")];
  buttons[buttons.indexOf(event.target) + step]?.focus();
  event.preventDefault();
}

function Row({ row, open, act }) {
  const toggle = (event) => {
    // A text that was selected is to be copied, not to be hidden; and links lead elsewhere.
    const elsewhere = event.target.closest("button:not(.toggle)");
    if (!elsewhere && window.getSelection().isCollapsed) act.toggle(row.id);
  };
  return html`
    <tbody class="${open ? "open" : ""} ${row.fresh ? "fresh" : ""}">
      <tr onClick=${toggle}>
        <td class="time"><time title="It says: ${moment(row.time)}">${moment(row.received_ms)}</time></td>
        <td class="event">
          <button type="button" class="toggle" aria-expanded=${open}>${row.name}</button>
          ${row.duplicate && html`
            <${Badge} kind="odd" title="The same event, time, distinct_id and $insert_id as an earlier one">
              duplicate
            <//>
          `}
          ${row.endpoint !== "/import" && html`<${Badge}>${row.endpoint}<//>`}
        </td>
        <td class="user">${row.user === "" ? html`<i>nobody</i>` : html`
          <button type="button" title="Timeline of this user"
            onClick=${() => act.go("users", row.user)}>${row.user}</button>
        `}</td>
        <td class="properties"><${Summary} row=${row} /></td>
      </tr>
      ${open && html`
        <tr class="json"><td colspan="4"><${Detail} row=${row} act=${act} /></td></tr>
      `}
    </tbody>
  `;
}

export function Detail({ row, act }) {
  const place = origin(row.record);
  const text = JSON.stringify(row.record);
  return html`
    <div class="actions">
      <span class="facts">
        ${count(row.id)}. event, to <code>${row.endpoint}</code>, dated ${moment(row.time)}
        ${place && html`, from <code>${place}</code>`}
        ${!row.whole && ", cut: it is too large to be shown"}
      </span>
      ${row.whole && html`
        <${Copy} text=${() => curl(row.endpoint, row.line)}>Copy as curl<//>
        <${Copy} text=${row.line}>Copy JSON<//>
      `}
      <button type="button" class="quiet" onClick=${() => act.go("names", row.name)}>
        Its properties
      </button>
    </div>
    <${Json} text=${text} />
  `;
}
