// Who did what: the users who sent something lately, and the timeline of one of them.

import { Badge, Summary, html } from "./ui.js";
import { Detail } from "./events.js";
import { count, day, moment, plain } from "./text.js";

export function Users({ state, act }) {
  return state.user === null
    ? html`<${List} users=${state.facts.users ?? []} act=${act} />`
    : html`<${Timeline} state=${state} act=${act} />`;
}

function List({ users, act }) {
  const find = (event) => {
    event.preventDefault();
    const text = event.target.elements.user.value;
    if (text) act.go("users", text);
  };
  return html`
    <form class="bar" onSubmit=${find}>
      <input type="search" name="user" placeholder="distinct_id" aria-label="distinct_id of a user" />
      <button type="submit">Show timeline</button>
    </form>
    ${users.length ? html`
      <ul class="card list">
        ${users.map((one) => html`
          <li key=${one.user}>
            <button type="button" onClick=${() => act.go("users", one.user)}>
              <span class="subject">${one.user}</span>
              <span class="detail">${one.name}</span>
              <span class="number">${count(one.count)} ${one.count === 1 ? "event" : "events"}</span>
              <time>${moment(one.last_ms)}</time>
            </button>
          </li>
        `)}
      </ul>
    ` : html`<p class="nothing">No user has sent an event yet.</p>`}
  `;
}

function Timeline({ state, act }) {
  const { user, rows, facts, open } = state;
  // By the time that the events say: they may arrive in another order.
  const ordered = [...rows].sort((one, other) => other.time - one.time || other.id - one.id);
  return html`
    <div class="bar">
      <button type="button" id="back" onClick=${() => act.go("users")}>← Users</button>
      <h2 class="subject">${user}</h2>
    </div>
    <div class="sides">
      <${Profile} profile=${facts.profile ?? {}} ids=${facts.ids ?? []} />
      <section aria-label="Timeline" id="timeline">
        ${!ordered.length && !state.loading && html`<p class="nothing">No event of this user is kept.</p>`}
        <ol>
          ${ordered.map((row, index) => html`
            ${isNewDay(ordered, index) && html`<li class="day">${day(row.time) || "Today"}</li>`}
            <li key=${row.id} class=${open.has(row.id) ? "open" : ""}>
              <button type="button" aria-expanded=${open.has(row.id)}
                onClick=${() => act.toggle(row.id)}>
                <time>${moment(row.time).split(" ").at(-1)}</time>
                <b class="name">${row.name}</b>
                ${row.duplicate && html`<${Badge} kind="odd">duplicate<//>`}
                <span class="properties"><${Summary} row=${row} /></span>
              </button>
              ${open.has(row.id) && html`<${Detail} row=${row} act=${act} />`}
            </li>
          `)}
        </ol>
      </section>
    </div>
  `;
}

const isNewDay = (rows, index) =>
  index === 0 || day(rows[index].time) !== day(rows[index - 1].time);

// The stream says one more if there are more.
const MAX_IDS = 100;

function Profile({ profile, ids }) {
  const entries = Object.entries(profile).sort(([one], [other]) => (one < other ? -1 : 1));
  return html`
    <section aria-labelledby="profile-title" id="profile" class="card">
      <h3 id="profile-title">Profile</h3>
      ${entries.length ? html`
        <dl>
          ${entries.map(([name, value]) => html`
            <dt key=${name}>${name}</dt><dd>${plain(value)}</dd>
          `)}
        </dl>
      ` : html`<p>Nothing was set on this user's profile.</p>`}
      ${ids.length > 1 && html`
        <h3>Merged ids</h3>
        <ul id="ids">
          ${ids.slice(0, MAX_IDS).map((id) => html`<li key=${id}><code>${id}</code></li>`)}
          ${ids.length > MAX_IDS && html`<li>and more</li>`}
        </ul>
      `}
    </section>
  `;
}
