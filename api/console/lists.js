// Suppressed addresses, and in development mode the mail that the sandbox has captured.

import {call, open, segment, text} from "/console/api.js";
import {bytes, confirmed, h, say, table, time} from "/console/dom.js";

const PAGE = 100;

// ---- suppressions -------------------------------------------------------------------

const REASONS = {manual: "by hand", hard_bounce: "bounced", complaint: "complained"};
const COLUMNS = [["Address", "wide"], ["Reason", ""], ["Since", "narrow"], ["", "narrow"]];

async function remove(entry, again) {
  if (!await confirmed(`Send to ${entry.email} again?`, "Mail to this address will be delivered again.", "Remove")) return;
  await call("DELETE", `/v1/suppressions/${segment(entry.email)}`, {query: entry.tenant ? {tenant: entry.tenant} : {}});
  say(`${entry.email} is no longer suppressed`);
  await again();
}

function row(entry, guarded, again) {
  return [[entry.email, entry.tenant ? h("span", {class: "hint"}, ` ${entry.tenant}`) : null],
          REASONS[entry.reason] ?? entry.reason, time(entry.created_at),
          h("button", {type: "button", "aria-label": `Remove ${entry.email}`,
                       onclick: () => guarded(() => remove(entry, again))}, "Remove")];
}

function addForm(guarded, again) {
  const address = h("input", {id: "suppress-address", type: "text", inputmode: "email", required: true,
    autocomplete: "off", spellcheck: "false", autocapitalize: "none", placeholder: "anna@customer.example"});
  const reason = h("select", {id: "suppress-reason"},
    Object.entries(REASONS).map(([value, label]) => h("option", {value}, label)));
  return h("form", {class: "search", onsubmit: (event) => {
    event.preventDefault();
    guarded(async () => {
      await call("PUT", `/v1/suppressions/${segment(address.value.trim())}`, {body: {reason: reason.value}});
      say(`${address.value.trim()} is suppressed`);
      await again();
    });
  }},
  h("div", {class: "grow"}, h("label", {for: "suppress-address"}, "Address that gets no more mail"), address),
  h("div", {}, h("label", {for: "suppress-reason"}, "Reason"), reason),
  h("button", {type: "submit", class: "main"}, "Add"));
}

export async function suppressionsView(place, [after = ""], guarded) {
  const again = () => suppressionsView(place, [after], guarded);
  const page = await call("GET", "/v1/suppressions", {query: {limit: PAGE, after}});
  place.replaceChildren(h("h1", {}, "Suppressions"), addForm(guarded, again),
    table("Suppressed addresses", COLUMNS, page.data.map((e) => row(e, guarded, again)), "No address is suppressed."),
    page.has_more ? h("p", {}, h("a", {href: `#/suppressions/${segment(page.next)}`}, "Next page")) : "");
}

// ---- captured mail ------------------------------------------------------------------

export async function capturedView(place) {
  const list = await open("/sandbox/messages", {limit: PAGE});
  const rows = list.data.map((c) => [
    h("a", {href: `#/captured/${segment(c.id)}`}, c.subject || "(no subject)"), c.to.join(", "), c.from || "<>",
    bytes(c.size), h("a", {href: `#/message/${segment(c.message)}`}, "trace")]);
  place.replaceChildren(h("h1", {}, "Captured mail"),
    h("p", {class: "hint"}, "Development mode: what the recipients' servers would have received."),
    table("Captured mail", [["Subject", "wide"], ["To", "wide"], ["From", "wide"], ["Size", "narrow"], ["", "narrow"]],
      rows, "Nothing has been delivered yet."));
}

export async function captureView(place, [id]) {
  const raw = await text(`/sandbox/messages/${segment(id)}/raw`);
  place.replaceChildren(h("h1", {}, "Captured mail"), h("p", {}, h("a", {href: "#/captured"}, "All captured mail")),
    h("pre", {class: "raw", tabindex: "0", "aria-label": "The message as it arrived"}, raw));
}
