// What Mixpanel does on a bad day, at the flick of a switch.

import { Badge, html } from "./ui.js";
import { count } from "./text.js";

const SWITCHES = [
  { title: "Too many requests", text: "429, asking to wait for five seconds",
    fault: { action: "respond", status: 429, headers: { "retry-after": "5" } } },
  { title: "Server error", text: "503 with a proxy's page",
    fault: { action: "respond", status: 503 } },
  { title: "Too large", text: "413: send less at once",
    fault: { action: "respond", status: 413 } },
  { title: "Wrong credentials", text: "401, as with a token that was revoked",
    fault: { action: "respond", status: 401 } },
  { title: "Slow", text: "answers after two seconds",
    fault: { action: "pass", delay: 2 } },
  { title: "Connection reset", text: "nothing arrives, nothing is answered",
    fault: { action: "reset" } },
  { title: "Lost answer", text: "stored, then the connection is cut: the client sends it again",
    fault: { action: "reset", store: true } },
  { title: "Silence", text: "no answer until the client gives up",
    fault: { action: "hang" } },
];

const DEFAULTS = { action: "pass", status: 200, headers: {}, body: null, delay: null, store: false };

const OFTEN = {
  "every request": {},
  "every 3rd request": { every: 3 },
  "1 in 5, by chance": { probability: 0.2 },
  "the next request only": { times: 1 },
};

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

const matches = (armed, fault) =>
  Object.entries({ ...DEFAULTS, ...fault }).every(([key, value]) => same(armed[key], value));

export function Faults({ state, act }) {
  const { faults } = state.facts;
  const others = faults.filter((armed) => !SWITCHES.some(({ fault }) => matches(armed, fault)));
  return html`
    <div class="bar" id="scope">
      <label>Hit <select id="often" value=${state.often}
        onChange=${(event) => act.set({ often: event.target.value })}>
        ${Object.keys(OFTEN).map((text) => html`<option>${text}</option>`)}
      </select></label>
      <label>to <select id="path" value=${state.path}
        onChange=${(event) => act.set({ path: event.target.value })}>
        <option value="*">any endpoint</option>
        ${["/import", "/track", "/engage", "/groups"].map((path) => html`<option>${path}</option>`)}
      </select></label>
      ${faults.length > 0 && html`
        <button type="button" class="quiet" id="calm" onClick=${() => act.send("DELETE", "faults")}>
          Switch all off
        </button>
      `}
    </div>
    <ul class="card list">
      ${SWITCHES.map((one) => html`
        <${Switch} key=${one.title} ...${one} state=${state} act=${act}
          armed=${faults.filter((armed) => matches(armed, one.fault))} />
      `)}
      ${others.map((armed) => html`
        <${Switch} key=${armed.id} title=${summary(armed)} text="asked for by hand"
          armed=${[armed]} act=${act} />
      `)}
    </ul>
    <p class="note">A fault that is switched on acts on requests to Mixpanel's endpoints, never on
      this page. Of several that are due the first one acts.</p>
  `;
}

function Switch({ title, text, fault, armed, state, act }) {
  const on = armed.length > 0;
  const flick = () => {
    if (on) return armed.forEach(({ id }) => act.send("DELETE", `faults/${id}`));
    return act.send("POST", "faults", [{ ...fault, ...OFTEN[state.often], path: state.path }]);
  };
  return html`
    <li class="fault ${on ? "on" : ""}">
      <button type="button" role="switch" aria-checked=${on} onClick=${flick}>
        <span class="track" aria-hidden="true"></span>
        <span class="subject">${title}</span>
        <span class="detail">${text}</span>
        ${armed.map((one) => html`
          <span class="number" key=${one.id}>
            ${scope(one)} · hit ${count(one.acted)} of ${count(one.seen)}
            ${one.times !== null && one.acted >= one.times && html` <${Badge}>spent<//>`}
          </span>
        `)}
      </button>
    </li>
  `;
}

function scope({ path, every, probability, times }) {
  const parts = [
    path === "*" ? "" : path,
    every > 1 ? `1 of ${every}` : "",
    probability < 1 ? `${Math.round(100 * probability)} %` : "",
    times === null ? "" : `${times}×`,
  ].filter(Boolean);
  return parts.join(" ") || "every request";
}

function summary({ action, status, delay }) {
  const what = action === "respond" ? `respond ${status}` : action;
  return delay ? `${what} after ${delay} s` : what;
}
