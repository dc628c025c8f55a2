// The queue by destination, and rates.

import {call} from "/console/api.js";
import {fromNow, h, number, reply, shortSeconds, svg, table} from "/console/dom.js";
import * as metrics from "/console/metrics.js";

// ---- the queue ---------------------------------------------------------------------

const QUEUE_ROWS = 100;
const sorting = {column: "waiting", down: true};

const waiting = (row) => row.queued + row.deferred + row.held + row.inflight;
const COLUMNS = [
  {name: "domain", label: "Destination", kind: "wide", of: (r) => r.domain},
  {name: "tenant", label: "Tenant", kind: "", of: (r) => r.tenant ?? ""},
  {name: "class", label: "Class", kind: "narrow", of: (r) => r.class},
  {name: "waiting", label: "All", kind: "number", of: waiting},
  {name: "queued", label: "Queued", kind: "number", of: (r) => r.queued},
  {name: "deferred", label: "Deferred", kind: "number", of: (r) => r.deferred},
  {name: "held", label: "Held", kind: "number", of: (r) => r.held},
  {name: "inflight", label: "In flight", kind: "number", of: (r) => r.inflight},
  {name: "oldest", label: "Oldest", kind: "narrow", of: (r) => r.oldest_at ?? "", cell: (r) => fromNow(r.oldest_at)},
  {name: "next", label: "Next attempt", kind: "narrow", of: (r) => r.next_attempt_at ?? "", cell: (r) => fromNow(r.next_attempt_at)},
  {name: "last", label: "Last reply", kind: "widest", of: (r) => r.last_response?.text ?? "", cell: (r) => reply(r.last_response)},
];

function compare(a, b) {
  const column = COLUMNS.find((c) => c.name === sorting.column);
  const [x, y] = [column.of(a), column.of(b)];
  const order = x < y ? -1 : x > y ? 1 : 0;
  return sorting.down ? -order : order;
}

function sortButton(column, again) {
  const mark = column.name === sorting.column ? (sorting.down ? " ▾" : " ▴") : "";
  return h("button", {type: "button", class: "sort", "data-sort": column.name, "data-name": column.label, onclick: () => {
    sorting.down = sorting.column === column.name ? !sorting.down : column.kind === "number";
    sorting.column = column.name;
    again();
    document.querySelector(`[data-sort="${column.name}"]`)?.focus();
  }}, column.label, h("span", {"aria-hidden": "true"}, mark));
}

function queueTable(answer, again) {
  const shown = COLUMNS.filter((c) => c.name !== "tenant" || answer.data.some((r) => r.tenant));
  const rows = [...answer.data].sort(compare).map((row) => shown.map((c) => {
    if (c.cell) return c.cell(row);
    return c.kind === "number" ? number(c.of(row)) : c.of(row);
  }));
  const made = table("The queue by destination", shown.map((c) => [sortButton(c, again), c.kind]), rows,
    "Nothing waits.");
  made.querySelectorAll("th").forEach((th, i) => {
    if (shown[i].name === sorting.column) th.setAttribute("aria-sort", sorting.down ? "descending" : "ascending");
  });
  return made;
}

function tile(name, value, more = null) {
  return h("div", {class: "tile"}, h("dt", {}, name), h("dd", {}, value), more);
}

export async function queueView(place) {
  const answer = await call("GET", "/v1/queues", {query: {limit: QUEUE_ROWS}});
  const focused = document.activeElement?.dataset?.sort;
  const body = h("div", {});
  const draw = () => body.replaceChildren(queueTable(answer, draw));
  draw();
  const t = answer.total;
  place.replaceChildren(h("h1", {}, "Queue by destination"),
    h("dl", {class: "tiles"}, tile("Queued", number(t.queued)), tile("Deferred", number(t.deferred)),
      tile("Held", number(t.held)), tile("In flight", number(t.inflight))),
    body,
    h("p", {class: "hint"}, answer.truncated ? "Only the fullest are shown. " : "", "Renewed every 5 seconds."));
  if (focused) document.querySelector(`[data-sort="${focused}"]`)?.focus();
}

// ---- rates ------------------------------------------------------------------------

const WIDTH = 240, HEIGHT = 48;
const ATTEMPTS = "stagepost_delivery_attempts_total";
const SPEED = "stagepost_time_to_delivery_seconds";
const RATES = [
  ["Accepted", "stagepost_accepted_messages_total", {}, "calm"],
  ["Delivered", ATTEMPTS, {result: "delivered"}, "good"],
  ["Deferred", ATTEMPTS, {result: "deferred"}, "warn"],
  ["Bounced", ATTEMPTS, {result: "bounced"}, "bad"],
];

// The line has a number beside it: it is for the eye only.
function sparkline(points, tone) {
  const most = Math.max(1, ...points.map((p) => p.value));
  const from = points[0]?.at ?? 0, span = Math.max(1, (points.at(-1)?.at ?? 1) - from);
  const line = points.map((p) => `${((p.at - from) / span * WIDTH).toFixed(1)},${(HEIGHT - 2 - p.value / most * (HEIGHT - 4)).toFixed(1)}`);
  return svg("svg", {class: `spark ${tone}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true"},
    svg("line", {x1: 0, y1: HEIGHT - 1, x2: WIDTH, y2: HEIGHT - 1}),
    line.length > 1 ? svg("polyline", {points: line.join(" ")}) : null);
}

function rateTile([name, series, labels, tone]) {
  const now = metrics.lastMinute(series, labels);
  const value = now === null ? "–" : now.toFixed(now < 10 ? 1 : 0);
  return tile(`${name} per minute`, value, h("dd", {class: "chart"}, sparkline(metrics.rates(series, labels), tone)));
}

function speedTile(label, q) {
  const recent = metrics.quantile(SPEED, q);
  return tile(`${label} delivered within`, shortSeconds(recent ?? metrics.quantileOfAll(SPEED, q)),
    h("dd", {class: "hint"}, recent === null ? "since the start" : "in the last minutes"));
}

export function ratesView(place) {
  const now = metrics.latest();
  const version = now?.series.find((s) => s.name === "stagepost_build_info")?.labels.version ?? "";
  place.replaceChildren(h("h1", {}, "Rates"),
    h("dl", {class: "tiles rates"}, RATES.map(rateTile)),
    h("h2", {}, "Time to delivery"),
    h("dl", {class: "tiles"}, speedTile("Half are", 0.5), speedTile("99 of 100 are", 0.99)),
    h("p", {class: "hint"}, "From acceptance to the remote's 250, all tenants. The lines begin when this page was opened and keep ten minutes. ",
      version ? `Stagepost ${version}.` : ""));
}
