// Values -> texts: numbers, moments, commands for a shell.

export const count = (value) => numbers.format(value);

const numbers = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false,
});
const calendar = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

// The day of an instant in milliseconds, "" for today.
export function day(ms) {
  const date = new Date(ms);
  if (Number.isNaN(date.getTime())) return "?";
  return date.toDateString() === new Date().toDateString() ? "" : calendar.format(date);
}

export function moment(ms) {
  const date = new Date(ms);
  return Number.isNaN(date.getTime()) ? "?" : `${day(ms)} ${clock.format(date)}`.trim();
}

// Seconds or milliseconds, told apart as the service does.
export function instant(time) {
  if (typeof time !== "number") return null;
  return Math.abs(time) >= 1e11 ? time : time * 1000;
}

export function share(part, whole) {
  const percent = (100 * part) / Math.max(whole, 1);
  return percent > 0 && percent < 1 ? "< 1 %" : `${Math.floor(percent)} %`;
}

export const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

// -- events -------------------------------------------------------------------------------------

// What has a place of its own on the page, or is the same in every event.
const DULL = new Set(["time", "distinct_id", "$insert_id", "token", "mp_lib", "$lib_version"]);

// What libraries and the service add; the application's own properties come first.
const COMMON = /^(\$|mp_|ip$|trace_id$|span_)/;

// A row of the stream with what the page shows of it; `user` is whose it is, after all merging.
export function read(row) {
  const record = JSON.parse(row.line);
  const { event, properties = {} } = record;
  const { time } = properties;
  return {
    ...row,
    record,
    name: String(event),
    time: instant(time) ?? row.received_ms,
    summary: Object.entries(properties)
      .filter(([name, value]) => !DULL.has(name) && !(name === "ip" && value === "0"))
      .sort(([one], [other]) => COMMON.test(one) - COMMON.test(other))
      .map(([name, value]) => ({ name, value: plain(value) })),
  };
}

// Where in an application the event was made, if it says so.
export function origin(record) {
  const properties = record?.properties ?? {};
  const file = properties["code.file.path"] ?? properties.code_file_path;
  const line = properties["code.line.number"] ?? properties.code_line_number;
  return file ? `${file}${line ? `:${line}` : ""}` : "";
}

// -- commands -----------------------------------------------------------------------------------

// The command that sends the same thing to this emulator again.
export function curl(endpoint, json) {
  const text = json.trim();
  const body = text.startsWith("[") ? text : `[${text}]`;
  const ways = {
    "/import": ["/import?strict=1", ' -u "${MIXPANEL_TOKEN:-token}:"'],
  };
  const [path, user] = ways[endpoint] ?? [`${endpoint}?verbose=1`, ""];
  const address = quote(window.location.origin + path);
  const data = quote(body.replace(UNSEEN, escaped));
  return `curl ${address}${user} -H 'content-type: application/json' --data-raw ${data}`;
}

// What JSON lets stand as it is and a terminal does not show: controls, and signs that turn the
// direction of what follows.
const UNSEEN = /[\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const escaped = (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`;

// One word for a POSIX shell, whatever is in it.
export const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;
