// Elements and texts. Whatever comes from outside becomes a text node here: there is no way in this
// page to make markup out of a string, and the Content-Security-Policy (trusted types) holds us to it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return element;
}

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export function byId(id) {
  return document.getElementById(id);
}

// For who does not see the screen.
export function say(text) {
  byId("said").textContent = text;
}

export function showAlert(text) {
  byId("alert").textContent = text;
  byId("alert").hidden = text === "";
}

// ---- times and numbers -------------------------------------------------------

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

// 7384 -> "2 h 3 min"
export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  const first = UNITS.findIndex(([, length]) => s >= length);
  if (first < 0) return "0 s";
  const [unit, length] = UNITS[first];
  const whole = `${Math.floor(s / length)} ${unit}`;
  const next = UNITS[first + 1];
  const rest = next ? Math.floor((s % length) / next[1]) : 0;
  return rest > 0 ? `${whole} ${rest} ${next[0]}` : whole;
}

export function shortSeconds(seconds) {
  if (seconds === null) return "–";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : duration(seconds);
}

// A time as the reader's clock has it; the exact one is in the title.
export function time(iso) {
  if (!iso) return h("span", {class: "none"}, "–");
  const date = new Date(iso);
  const today = date.toDateString() === new Date().toDateString();
  const clock = date.toLocaleTimeString([], {hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23"});
  const day = date.toLocaleDateString([], {year: "numeric", month: "short", day: "numeric"});
  return h("time", {datetime: iso, title: iso}, today ? clock : `${day} ${clock}`);
}

// "in 4 min" or "3 h ago"
export function fromNow(iso) {
  if (!iso) return h("span", {class: "none"}, "–");
  const seconds = (new Date(iso) - Date.now()) / 1000;
  const text = seconds > 0 ? `in ${duration(seconds)}` : `${duration(-seconds)} ago`;
  return h("time", {datetime: iso, title: iso}, text);
}

export function number(n) {
  return Number(n).toLocaleString("en");
}

export function bytes(n) {
  if (n < 1024) return `${n} bytes`;
  return n < 1048576 ? `${(n / 1024).toFixed(1)} KB` : `${(n / 1048576).toFixed(1)} MB`;
}

// ---- parts that several views show --------------------------------------------

const TONES = {delivered: "good", bounced: "bad", expired: "bad", suppressed: "bad", deferred: "warn",
               held: "warn", queued: "calm", cancelled: "calm", in_flight: "calm", inflight: "calm"};

export function badge(status) {
  return h("span", {class: `badge ${TONES[status] ?? "calm"}`}, status);
}

// What the remote said, to the letter; a finding of our own has no code.
export function reply(response) {
  if (!response) return h("span", {class: "none"}, "–");
  const codes = [response.code, response.enhanced].filter((c) => c !== null && c !== undefined);
  return h("div", {class: "reply"},
    h("code", {}, [...codes, response.text].join(" ")),
    response.mx ? h("span", {class: "hint"}, ` ${response.mx}`) : null);
}

// columns: [label, class], a label being text or an element with data-name; rows: arrays of cells. On a narrow screen each row is a card, and the
// label stands before its cell.
export function table(caption, columns, rows, empty) {
  const head = columns.map(([label, kind]) => h("th", {scope: "col", class: kind}, label));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, i) =>
    h("td", {class: columns[i][1], "data-label": textOf(columns[i][0])}, h("div", {}, cell)))));
  if (rows.length === 0)
    body.push(h("tr", {class: "empty"}, h("td", {colspan: columns.length}, empty)));
  return h("table", {}, h("caption", {class: "unseen"}, caption), h("thead", {}, h("tr", {}, head)),
    h("tbody", {}, body));
}

function textOf(label) {
  return label instanceof Node ? label.dataset.name : label;
}

// True when the user said yes.
export function confirmed(title, text, yes, dangerous = false) {
  const dialog = byId("confirm-dialog");
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = yes;
  byId("confirm-yes").className = dangerous ? "main danger" : "main";
  dialog.returnValue = "no";
  dialog.showModal();
  byId("confirm-no").focus();
  return new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), {once: true}));
}
