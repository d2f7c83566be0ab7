// Is it working: numbers, the last minute, and what failed. These stay in view.

import { Badge, Copy, Json, html } from "./ui.js";
import { count, curl, moment, origin } from "./text.js";

export function Overview({ facts, hover, onHover }) {
  return html`
    <section aria-label="Traffic" id="traffic" class="card">
      <div id="rate">
        <span class="name">Events per second</span>
        <span class="value">${count(facts.rate)}</span>
        <${Statuses} requests=${facts.stats.requests} />
      </div>
      <${Chart} accepted=${facts.history} failing=${facts.failing} hover=${hover}
        onHover=${onHover} />
    </section>
    <${Numbers} stats=${facts.stats} />
  `;
}

function Statuses({ requests }) {
  const known = Object.entries(requests).sort();
  const total = known.reduce((sum, [, number]) => sum + number, 0);
  return html`
    <div id="requests">
      <span class="value">${count(total)}</span> ${total === 1 ? "request" : "requests"}
      <span class="statuses">
        ${known.map(([status, number]) => html`
          <span key=${status} class=${status.startsWith("2") ? "good" : "bad"}>
            <b>${status}</b> ${count(number)}
          </span>
        `)}
      </span>
    </div>
  `;
}

// -- the last minute ----------------------------------------------------------------------------

const HEIGHT = 100;

function Chart({ accepted, failing, hover, onHover }) {
  const seconds = accepted.length;
  const totals = accepted.map((number, second) => number + failing[second]);
  const top = ceiling(Math.max(...totals));
  const scale = (number) => (HEIGHT * number) / top;
  return html`
    <figure id="chart">
      <svg viewBox="0 0 ${seconds} ${HEIGHT}" preserveAspectRatio="none" role="img"
        aria-label="Events in each of the last ${seconds} seconds, at most ${Math.max(...totals)}"
        onPointerMove=${(event) => onHover(secondAt(event, seconds))}
        onPointerLeave=${() => onHover(null)}>
        <line x1="0" x2=${seconds} y1="0" y2="0" />
        <line x1="0" x2=${seconds} y1=${HEIGHT / 2} y2=${HEIGHT / 2} />
        ${hover !== null && html`
          <rect class="hover" x=${hover} width="1" y="0" height=${HEIGHT} />
        `}
        ${totals.map((total, second) => total > 0 && html`
          <rect key=${second} class="accepted" x=${second + 0.12} width="0.76"
            y=${HEIGHT - scale(accepted[second])} height=${scale(accepted[second])} />
          <rect class="failing" x=${second + 0.12} width="0.76"
            y=${HEIGHT - scale(total)} height=${scale(failing[second])} />
        `)}
      </svg>
      <figcaption>
        <span>60 s ago</span>
        <span aria-live="off">${hover === null ? "" : told(hover, seconds, accepted, failing)}</span>
        <span>now</span>
      </figcaption>
      <span class="top">${count(top)}</span>
    </figure>
  `;
}

function secondAt(event, seconds) {
  const box = event.currentTarget.getBoundingClientRect();
  const second = Math.floor((seconds * (event.clientX - box.left)) / box.width);
  return Math.min(Math.max(second, 0), seconds - 1);
}

function told(second, seconds, accepted, failing) {
  const failed = failing[second] ? `, ${count(failing[second])} failed` : "";
  return `${seconds - second} s ago: ${count(accepted[second])} accepted${failed}`;
}

// The next of 1, 2, 5, 10, 20, 50 … that is enough: an axis that hardly ever moves.
function ceiling(peak) {
  const power = 10 ** Math.floor(Math.log10(Math.max(peak, 1)));
  return [1, 2, 5, 10].map((step) => step * power).find((value) => value >= peak && value >= 4) ?? 5;
}

// -- numbers ------------------------------------------------------------------------------------

function Numbers({ stats }) {
  return html`
    <section aria-label="Numbers" id="numbers" class="card">
      <${Tile} id="imported" name="imported" value=${stats.imported}
        hint="Events that were accepted and stored, repeated ones too" />
      <${Tile} id="distinct" name="distinct" value=${stats.distinct}
        hint="Different by event, time, distinct_id and $insert_id: what reports show" />
      <${Tile} id="duplicates" name="duplicates" value=${stats.duplicates}
        hint="Repetitions of the same four fields; reports do not show them" />
      <${Tile} id="rejected" name="rejected" value=${stats.rejected + stats.updates_rejected}
        kind="bad" hint="Events and profile updates that broke a rule" />
      <${Tile} id="vanished" name="vanished" value=${stats.vanished} kind="odd"
        hint="Events and updates that were answered with success and not stored" />
      <${Tile} id="profiles" name="profiles" value=${stats.profiles + stats.groups}
        hint="Of users and groups" />
    </section>
  `;
}

function Tile({ id, name, value, hint, kind = "" }) {
  return html`
    <div id=${id} class="tile ${value ? kind : "zero"}" title=${hint}>
      <span class="name">${name}</span>
      <span class="value">${count(value)}</span>
    </div>
  `;
}

// -- failures -----------------------------------------------------------------------------------

// Groups that are shown before one asks for all.
const FEW = 5;

export function Failures({ failures, all, onAll }) {
  if (!failures.length) return null;
  const shown = all ? failures : failures.slice(0, FEW);
  return html`
    <section aria-labelledby="failures-title" id="failures">
      <h2 id="failures-title">Failures</h2>
      <div class="card">
        ${shown.map((one) => html`<${Failure} key=${keyOf(one)} failure=${one} />`)}
        ${failures.length > FEW && html`
          <button type="button" class="quiet more" onClick=${onAll}>
            ${all ? "Show fewer" : `Show all ${failures.length} kinds`}
          </button>
        `}
      </div>
    </section>
  `;
}

export const keyOf = ({ kind, endpoint, field, message }) =>
  [kind, endpoint, field, message].join("\n");

function Failure({ failure }) {
  const { kind, endpoint, field, message, sample, whole } = failure;
  const record = parsed(sample);
  const place = origin(record);
  return html`
    <details>
      <summary>
        <span class="count">${count(failure.count)}</span>
        <code class="field">${kind === "rejected" ? field : `${endpoint} ${field}`}</code>
        <span class="message">${message}</span>
        <${Badge} kind=${kind} title=${KINDS[kind]}>${kind}<//>
        <time>${moment(failure.last_ms)}</time>
      </summary>
      <dl>
        <dt>What</dt>
        <dd>${KINDS[kind]}, sent to <code>${endpoint}</code></dd>
        <dt>Rule</dt>
        <dd class="rule">${failure.source ? html`
          <${Badge} kind="origin" title=${ORIGINS[failure.origin]}>${failure.origin}<//>
          ${" "}${failure.source}
        ` : "of this emulator, or a fault that was asked for"}</dd>
        ${place && html`<dt>Code</dt><dd class="place"><code>${place}</code></dd>`}
      </dl>
      <div class="actions">
        <h3>The latest one${whole || !sample ? "" : ", its beginning"}</h3>
        ${whole && record && html`
          <${Copy} text=${() => curl(endpoint, sample)}>Copy as curl<//>
          <${Copy} text=${sample}>Copy JSON<//>
        `}
      </div>
      ${whole || sample
        ? html`<${Json} text=${sample} culprit=${field} />`
        : html`<p class="facts">It is too large to be kept.</p>`}
    </details>
  `;
}

// The JSON that something is, or null. Only that may be copied: in other texts there may be signs that
// a terminal takes for more than a text.
function parsed(sample) {
  try {
    return JSON.parse(sample);
  } catch {
    return null;
  }
}

const KINDS = {
  rejected: "An event or a profile update that broke a rule",
  refused: "A whole request that was refused",
  vanished: "Answered with success, but not stored, or not as it was meant",
};

const ORIGINS = {
  sourced: "In Mixpanel's documentation, or in an official SDK that relies on it",
  live: "Somebody wrote down what the running service answered",
  guess: "Nothing is published; chosen here, and nothing should depend on the words",
};
