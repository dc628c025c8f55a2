// Search, recent failures, and what happened to one message.

import {call, segment} from "/console/api.js";
import {badge, bytes, confirmed, fromNow, h, reply, say, table, time} from "/console/dom.js";

const STATUSES = ["queued", "deferred", "held", "delivered", "bounced", "expired", "suppressed", "cancelled"];
const FAILED = ["bounced", "expired", "deferred", "suppressed"];
const PAGE = 25;

function messageLink(message) {
  return h("a", {href: `#/message/${segment(message.id)}`, title: message.id}, message.subject || "(no subject)");
}

function recipientsOf(message) {
  const [first, ...others] = message.recipients;
  if (!first) return "–";
  return others.length === 0 ? first.email : `${first.email} and ${others.length} more`;
}

// ---- search ---------------------------------------------------------------------

const LIST_COLUMNS = [["Time", "narrow"], ["Status", "narrow"], ["To", "wide"], ["Subject", "wide"], ["From", "wide"]];

function listRow(message) {
  return [time(message.created_at), badge(message.status), recipientsOf(message), messageLink(message),
          message.from || "<>"];
}

function searchForm(to, status, onSearch) {
  const address = h("input", {id: "search-to", type: "text", inputmode: "email", value: to, autocomplete: "off",
    spellcheck: "false", placeholder: "anna@customer.example", autocapitalize: "none"});
  const state = h("select", {id: "search-status"}, h("option", {value: ""}, "any status"),
    STATUSES.map((s) => h("option", {value: s, selected: s === status}, s)));
  return h("form", {class: "search", role: "search", onsubmit: (event) => {
    event.preventDefault();
    onSearch(address.value.trim(), state.value);
  }},
  h("div", {class: "grow"}, h("label", {for: "search-to"}, "Recipient, or the id of a message"), address),
  h("div", {}, h("label", {for: "search-status"}, "Status"), state),
  h("button", {type: "submit", class: "main"}, "Search"));
}

async function addPage(place, messages, query, after) {
  const page = await call("GET", "/v1/messages", {query: {...query, limit: PAGE, after}});
  messages.push(...page.data);
  const found = table("Messages found", LIST_COLUMNS, messages.map(listRow),
    page.has_more ? "Nothing yet." : "No message matches.");
  const more = h("button", {type: "button", onclick: async () => {
    more.disabled = true;
    await addPage(place, messages, query, page.next);
  }}, messages.length === 0 ? "Search further back" : "Show more");
  place.replaceChildren(found, page.has_more ? h("p", {class: "buttons"}, more) : "");
  say(`${messages.length} messages`);
}

const ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

export async function searchView(place, [to = "", status = ""]) {
  const results = h("div", {});
  place.replaceChildren(h("h1", {}, "Find a message"), searchForm(to, status, (address, state) => {
    const wanted = ID.test(address) ? `#/message/${segment(address)}`
      : `#/search/${segment(address)}/${segment(state)}`;
    if (location.hash === wanted) dispatchEvent(new HashChangeEvent("hashchange"));
    else location.hash = wanted;
  }), h("h2", {}, to === "" && status === "" ? "Latest" : "Found"), results);
  if (to === "") document.getElementById("search-to").focus({preventScroll: true});
  await addPage(results, [], {to, status});
}

// ---- failures ---------------------------------------------------------------------

function failureRows(message) {
  return message.recipients.filter((r) => FAILED.includes(r.status)).map((r) =>
    [time(message.created_at), badge(r.status), r.email, reply(r.last_response), messageLink(message)]);
}

const FAILURE_COLUMNS = [["Sent", "narrow"], ["Status", "narrow"], ["To", "wide"], ["Last reply", "widest"], ["Subject", "wide"]];

export async function failuresView(place) {
  const pages = await Promise.all(FAILED.map((status) => call("GET", "/v1/messages", {query: {status, limit: PAGE}})));
  const byId = new Map(pages.flatMap((p) => p.data).map((m) => [m.id, m]));
  const messages = [...byId.values()].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
  place.replaceChildren(h("h1", {}, "Recent failures"),
    h("p", {class: "hint"}, "The latest recipients that bounced, expired, are suppressed, or wait for another attempt."),
    table("Recent failures", FAILURE_COLUMNS, messages.flatMap(failureRows), "Nothing has failed."));
}

// ---- one message --------------------------------------------------------------------

const TITLES = {"message.accepted": "Accepted", "delivery.deferred": "Deferred", "delivery.succeeded": "Delivered",
  "delivery.bounced": "Bounced", "delivery.expired": "Given up", "delivery.suppressed": "Suppressed",
  "delivery.held": "Held", "message.cancelled": "Cancelled", "message.released": "Released",
  "message.retried": "Retried by hand", "ndr.sent": "Report sent to the sender"};
const TONES = {"delivery.succeeded": "good", "delivery.deferred": "warn", "delivery.held": "warn",
  "delivery.bounced": "bad", "delivery.expired": "bad", "delivery.suppressed": "bad"};

function timelineItem(event) {
  return h("li", {class: TONES[event.type] ?? "calm"},
    h("div", {class: "line"}, h("strong", {}, TITLES[event.type] ?? event.type), " ", time(event.time)),
    event.recipient ? h("div", {}, event.recipient,
      event.attempt > 0 ? h("span", {class: "hint"}, `, attempt ${event.attempt}`) : null) : null,
    event.response ? reply(event.response) : null,
    event.retry_at ? h("div", {class: "hint"}, "next attempt ", time(event.retry_at)) : null,
    event.ndr_id ? h("div", {}, h("a", {href: `#/message/${segment(event.ndr_id)}`}, "the report")) : null,
    event.uncertain ? h("div", {class: "hint"},
      "The connection was lost before the reply to the last dot: it may arrive twice.") : null);
}

function facts(message) {
  const rows = [["Id", h("code", {}, message.id)], ["From", message.from || "<>"], ["Accepted", time(message.created_at)],
    ["Size", bytes(message.size)]];
  if (message.tenant) rows.push(["Tenant", message.tenant]);
  return h("dl", {class: "facts"}, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));
}

const ACTIONS = [
  {name: "retry", label: "Retry now", states: ["queued", "deferred"],
   text: "Its next attempt is made at once, whatever the schedule says."},
  {name: "hold", label: "Hold", states: ["queued", "deferred"], text: "No attempts are made until it is released."},
  {name: "release", label: "Release", states: ["held"], text: "Attempts go on."},
  {name: "cancel", label: "Cancel", states: ["queued", "deferred", "held"],
   yes: "Cancel it", text: "It will not be delivered to recipients that do not have it yet, and no report is sent. This cannot be undone."},
];

async function act(message, action, again) {
  if (!await confirmed(`${action.label} this message?`, action.text, action.yes ?? action.label, action.name === "cancel")) return;
  try {
    const answer = await call("POST", `/v1/messages/${segment(message.id)}/${action.name}`);
    say(`${action.label}: ${answer.affected} recipients`);
  } finally {
    await again();
  }
}

function actionsOf(message, guarded, again) {
  const states = new Set(message.recipients.map((r) => r.status));
  const useful = ACTIONS.filter((a) => a.states.some((s) => states.has(s)));
  if (useful.length === 0) return "";
  return h("p", {class: "buttons"}, useful.map((a) => h("button", {type: "button", "data-action": a.name,
    class: a.name === "cancel" ? "danger" : "", onclick: () => guarded(() => act(message, a, again))}, a.label)));
}

const RECIPIENT_COLUMNS = [["Recipient", "wide"], ["Status", "narrow"], ["Attempts", "number"], ["Next attempt", "narrow"], ["Last reply", "widest"]];

function recipientRow(r) {
  return [r.email, [badge(r.status), r.uncertain ? h("span", {class: "hint"}, " uncertain") : null], r.attempts,
          fromNow(r.next_attempt_at), reply(r.last_response)];
}

export async function messageView(place, [id], guarded) {
  const again = () => messageView(place, [id], guarded);
  const path = `/v1/messages/${segment(id)}`;
  const [message, events] = await Promise.all([call("GET", path), call("GET", `${path}/events`)]);
  place.replaceChildren(
    h("h1", {}, message.subject || "(no subject)", " ", badge(message.status)),
    facts(message), actionsOf(message, guarded, again),
    h("h2", {}, "Recipients"),
    table("Recipients", RECIPIENT_COLUMNS, message.recipients.map(recipientRow), "None."),
    h("h2", {}, "What happened"),
    events.dropped > 0 ? h("p", {class: "hint"}, `${events.dropped} events in the middle are not kept.`) : "",
    h("ol", {class: "timeline"}, events.data.map(timelineItem)));
}
