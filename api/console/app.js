// The page: which view is shown, the key, and what is renewed by itself.

import {key, open, Refused} from "/console/api.js";
import {byId, h, showAlert} from "/console/dom.js";
import {captureView, capturedView, suppressionsView} from "/console/lists.js";
import {failuresView, messageView, searchView} from "/console/messages.js";
import {EVERY_MS, takeSample} from "/console/metrics.js";
import {queueView, ratesView} from "/console/traffic.js";

// `nav`: its name in the header. `renew`: drawn again every five seconds.
const VIEWS = {
  "": {nav: "Search", show: searchView},
  search: {under: "", show: searchView},
  message: {under: "", show: messageView},
  queue: {nav: "Queue", show: queueView, renew: () => true},
  rates: {nav: "Rates", show: ratesView, renew: () => true, keyless: true},
  failures: {nav: "Failures", show: failuresView, renew: () => true},
  suppressions: {nav: "Suppressions", show: suppressionsView},
  captured: {nav: "Captured", show: (place, args, guarded) =>
    (args.length > 0 ? captureView : capturedView)(place, args), development: true, keyless: true,
    renew: (args) => args.length === 0},
};

let development = false;
let turn = 0; // an answer that comes after another view was chosen is not shown
let metricsAway = "";
let metricsRefused = false; // this key is not asked with again

function whereabouts() {
  const [name, ...args] = location.hash.replace(/^#\/?/, "").split("/").map(decoded);
  return {name: name in VIEWS ? name : "", args: name in VIEWS ? args : []};
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function drawViews(current) {
  const active = VIEWS[current].under ?? current;
  const shown = Object.entries(VIEWS).filter(([, v]) => v.nav && (development || !v.development));
  byId("views").replaceChildren(...shown.map(([name, v]) => h("li", {},
    h("a", {href: `#/${name}`, "aria-current": name === active ? "page" : null}, v.nav))));
}

function explain(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) {
    showAlert(key.get() === "" ? "A key is needed." : "This key is not known here.");
    openKeyDialog();
  } else {
    showAlert(error.message);
  }
}

// Runs something that a click asked for; what goes wrong is shown.
async function guarded(work) {
  try {
    showAlert("");
    await work();
  } catch (error) {
    explain(error);
  }
}

// ---- views ------------------------------------------------------------------------

async function draw(name, args, mine) {
  const place = {replaceChildren: (...nodes) => {
    if (mine === turn) byId("main").replaceChildren(...nodes);
  }};
  if (name === "rates" && metricsAway !== "") showAlert(metricsAway);
  await VIEWS[name].show(place, args, guarded);
}

async function show() {
  const mine = ++turn;
  const {name, args} = whereabouts();
  drawViews(name);
  byId("main").replaceChildren(h("p", {class: "hint"}, "One moment …"));
  document.title = VIEWS[name].nav ? `${VIEWS[name].nav} – Stagepost` : "Stagepost";
  if (key.get() === "" && !VIEWS[name].keyless) {
    byId("main").replaceChildren(h("h1", {}, "Stagepost"), h("p", {}, "Give a key to look inside."));
    openKeyDialog();
    return;
  }
  await guarded(() => draw(name, args, mine));
}

async function renew() {
  await sample();
  const {name, args} = whereabouts();
  const blocked = document.hidden || document.querySelector("dialog[open]") !== null;
  if (!VIEWS[name].renew?.(args) || blocked || (key.get() === "" && !VIEWS[name].keyless)) return;
  try {
    await draw(name, args, turn);
    if (!(name === "rates" && metricsAway !== "")) showAlert("");
  } catch (error) {
    explain(error);
  }
}

// Rates need the samples of all the time that the page is open.
async function sample() {
  if (metricsRefused) return;
  try {
    await takeSample();
    metricsAway = "";
  } catch (error) {
    metricsRefused = error.status === 401 || error.status === 403;
    metricsAway = metricsRefused ? "Rates need the admin key, or a browser on the gateway's machine." : error.message;
  }
}

// ---- the key ------------------------------------------------------------------------

function openKeyDialog() {
  if (byId("key-dialog").open) return;
  byId("key-input").value = key.get();
  byId("tenant-input").value = key.tenant();
  byId("key-dialog").showModal();
}

function setUpKey() {
  byId("key-button").addEventListener("click", openKeyDialog);
  byId("key-form").addEventListener("submit", () => {
    key.set(byId("key-input").value.trim(), byId("tenant-input").value.trim());
    byId("key-input").value = "";
    metricsRefused = false;
    show();
  });
  byId("key-forget").addEventListener("click", () => {
    key.forget();
    byId("key-dialog").close();
    show();
  });
}

async function start() {
  setUpKey();
  try {
    ({development} = await open("/console/about"));
  } catch (error) {
    explain(error);
  }
  if (development && key.get() === "") key.set("dev", "");
  addEventListener("hashchange", () => {
    show();
    byId("main").focus({preventScroll: true});
  });
  await sample();
  await show();
  setInterval(renew, EVERY_MS);
}

start();
