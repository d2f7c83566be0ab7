// Which events there are, what they carry, and what of that does not fit together.

import { Badge, html } from "./ui.js";
import { count, moment, share } from "./text.js";

// As many as are kept.
const MAX_NAMES = 300;

export function Names({ state, act }) {
  const { names = [], behind = 0 } = state.facts;
  if (!names.length) return html`<p class="nothing">No event has been seen yet.</p>`;
  const chosen = names.find((one) => one.name === state.name);
  return html`
    ${behind > 0 && html`
      <p class="note" role="status">Still looking at ${count(behind)} events …</p>
    `}
    ${names.length >= MAX_NAMES && html`
      <p class="note">These are the first ${MAX_NAMES} names. An application has dozens: what varies
        belongs into properties.</p>
    `}
    <div class="sides ${chosen ? "chosen" : ""}">
      <ul class="card list">
        ${names.map((one) => html`
          <li key=${one.name}>
            <button type="button" aria-pressed=${one === chosen}
              onClick=${() => act.go("names", one === chosen ? undefined : one.name)}>
              <span class="subject">${one.name}</span>
              ${one.drifting > 0 && html`<${Badge} kind="odd">${one.drifting} drifting<//>`}
              ${twin(one, names) && html`
                <${Badge} kind="odd" title="Reports show these as different events">
                  like ${twin(one, names)}
                <//>
              `}
              <span class="number">${count(one.count)}</span>
            </button>
          </li>
        `)}
      </ul>
      ${chosen
        ? html`<${Properties} chosen=${chosen} properties=${state.facts.properties ?? []} act=${act} />`
        : html`<p class="nothing">Choose an event to see its properties and their types.</p>`}
    </div>
  `;
}

// Another name that differs only in case, blanks and signs.
function twin(one, names) {
  const bare = (name) => name.toLowerCase().replace(/[^\p{L}\p{N}]/gu, "");
  return names.find((other) => other !== one && bare(other.name) === bare(one.name))?.name;
}

function Properties({ chosen, properties, act }) {
  return html`
    <section aria-labelledby="properties-title" id="properties" class="card">
      <div class="bar">
        <h2 id="properties-title">${chosen.name}</h2>
        <button type="button" class="quiet" onClick=${() => act.go("events", chosen.name)}>
          Show these events
        </button>
      </div>
      <p class="facts">${count(chosen.count)} events, the last at ${moment(chosen.last_ms)}</p>
      ${properties.length ? html`
        <table>
          <thead><tr><th scope="col">Property</th><th scope="col">In</th>
            <th scope="col">Types, each with one value</th></tr></thead>
          <tbody>
            ${properties.map((one) => html`
              <${Property} key=${one.name} property=${one} events=${chosen.count} />
            `)}
          </tbody>
        </table>
      ` : html`<p class="facts">It carries nothing but who and when.</p>`}
    </section>
  `;
}

function Property({ property, events }) {
  const { name, types, drifts } = property;
  return html`
    <tr class=${drifts ? "drifts" : ""}>
      <th scope="row">${name} ${drifts && html`
        <${Badge} kind="odd" title="Mixpanel decides for one type; values of the others are lost to it">
          drifts
        <//>
      `}</th>
      <td class="number">${share(property.count, events)}</td>
      <td>${types.map((one) => html`
        <span class="type"><b>${one.type}</b>
          ${types.length > 1 && html`<i>${share(one.count, property.count)}</i>`}
          <code>${one.example}</code></span>
      `)}</td>
    </tr>
  `;
}
