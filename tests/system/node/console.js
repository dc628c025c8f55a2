// Drives the web console in a real browser, as a person would. Called by tests/system/test_console.py with one
// JSON argument {step, base, dir, ...}; prints what it saw as JSON.
"use strict";
const { chromium } = require("playwright-core");

const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];
const wanted = JSON.parse(process.argv[2]);
const trouble = []; // what the page or its policy complained about
const requests = [];

async function texts(page, selector) {
  return page.locator(selector).allTextContents();
}

async function search(page, what) {
  await page.goto(`${wanted.base}/#/`);
  await page.getByLabel("Recipient, or the id of a message").fill(what);
  await page.getByRole("button", { name: "Search", exact: true }).click();
  await page.getByRole("heading", { name: "Found" }).waitFor();
}

async function openMessage(page, recipient) {
  await search(page, recipient);
  await page.locator("tbody a").first().click();
  await page.locator(".timeline li").first().waitFor();
}

async function giveKey(page, key) {
  await page.getByRole("button", { name: "Key", exact: true }).click();
  await page.getByLabel("API key or admin key").fill(key);
  await page.getByRole("button", { name: "Use this key" }).click();
}

const STEPS = {
  async search(page) {
    await search(page, wanted.to);
    await page.locator("tbody a").first().waitFor();
    return { rows: await texts(page, "tbody tr"), hash: await page.evaluate(() => location.hash) };
  },

  async by_id(page) {
    await page.goto(wanted.base);
    await page.getByLabel("Recipient, or the id of a message").fill(wanted.id);
    await page.keyboard.press("Enter");
    await page.locator(".timeline li").first().waitFor();
    return { heading: await texts(page, "h1") };
  },

  async trace(page) {
    await openMessage(page, wanted.to);
    return { timeline: await texts(page, ".timeline li"), replies: await texts(page, ".timeline .reply code"),
      bold: await page.locator("main b, main img, main script").count() };
  },

  async cancel(page) {
    await openMessage(page, wanted.to);
    await page.locator("[data-action=cancel]").click();
    await page.getByRole("button", { name: "Do nothing" }).click();
    const kept = await texts(page, "h1 .badge");
    await page.locator("[data-action=cancel]").click();
    await page.getByRole("button", { name: "Cancel it" }).click();
    await page.locator("h1 .badge", { hasText: "cancelled" }).waitFor();
    return { kept, now: await texts(page, "h1 .badge"), actions: await page.locator("[data-action]").count() };
  },

  async key(page) {
    await page.goto(wanted.base);
    await page.locator("tbody").waitFor();
    await giveKey(page, "wrong");
    await page.locator("#alert", { hasText: "not known" }).waitFor();
    const alert = await texts(page, "#alert");
    await page.getByLabel("API key or admin key").fill("dev2");
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.locator("tbody").waitFor();
    const other = await texts(page, "tbody tr");
    const kept = await page.evaluate(() => [Object.values(sessionStorage), Object.values(localStorage), document.cookie]);
    return { alert, other, kept };
  },

  async suppressions(page) {
    await page.goto(`${wanted.base}/#/suppressions`);
    await page.getByLabel("Address that gets no more mail").fill(wanted.to);
    await page.getByRole("button", { name: "Add" }).click();
    await page.locator("tbody tr", { hasText: wanted.to }).waitFor();
    const added = await texts(page, "tbody tr");
    await page.getByRole("button", { name: `Remove ${wanted.to}` }).click();
    await page.locator("#confirm-yes").click();
    await page.locator(".empty").waitFor();
    return { added };
  },

  async views(page) {
    const seen = {};
    for (const view of ["queue", "failures", "rates", "captured"]) {
      await page.goto(`${wanted.base}/#/${view}`);
      await page.locator(view === "rates" ? ".tile" : "tbody tr").first().waitFor();
      seen[view] = await texts(page, "main");
      seen[`${view} too wide`] = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    }
    return seen;
  },

  async captured(page) {
    await page.goto(`${wanted.base}/#/captured`);
    await page.getByRole("link", { name: wanted.subject, exact: true }).click();
    await page.locator("pre.raw").waitFor();
    const raw = await texts(page, "pre.raw");
    await page.getByRole("link", { name: "All captured mail" }).click();
    await page.getByRole("link", { name: "trace" }).first().click();
    await page.locator(".timeline li").first().waitFor();
    return { raw, heading: await texts(page, "h1") };
  },

  // Outside development: a key is asked for, the admin key shows all tenants, and some things need a tenant.
  async operator(page) {
    await page.goto(wanted.base);
    await page.locator("#key-dialog[open]").waitFor();
    const before = await texts(page, "#views li");
    await page.getByLabel("API key or admin key").fill(wanted.key);
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.locator("tbody tr", { hasText: wanted.to }).waitFor();
    await page.goto(`${wanted.base}/#/queue`);
    await page.locator("[data-sort=tenant]").waitFor();
    const queue = await texts(page, "tbody tr");
    await page.locator("[data-sort=domain]").click();
    const sorted = await page.locator("th[aria-sort]").getAttribute("aria-sort");
    await page.goto(`${wanted.base}/#/suppressions`);
    await page.getByLabel("Address that gets no more mail").fill("no-more@good.test");
    await page.getByRole("button", { name: "Add" }).click();
    await page.locator("#alert", { hasText: "tenant" }).waitFor();
    await page.getByRole("button", { name: "Key", exact: true }).click();
    await page.getByLabel("Tenant").fill(wanted.tenant);
    await page.getByRole("button", { name: "Use this key" }).click();
    await page.locator("#alert").waitFor({ state: "hidden" });
    await page.getByLabel("Address that gets no more mail").fill("no-more@good.test");
    await page.getByRole("button", { name: "Add" }).click();
    await page.locator("tbody tr", { hasText: "no-more@good.test" }).waitFor();
    return { before, queue, sorted };
  },

  // The keyboard alone: to the field, a search, the message, its buttons.
  async keyboard(page) {
    await page.goto(wanted.base);
    await page.locator("tbody a").first().waitFor();
    await page.keyboard.type(wanted.to);
    await page.keyboard.press("Enter");
    await page.getByRole("heading", { name: "Found" }).waitFor();
    await page.locator("tbody a").first().waitFor();
    for (let i = 0; i < 30 && !(await page.evaluate(() => document.activeElement.matches("tbody a"))); i++)
      await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.locator(".timeline li").first().waitFor();
    return { heading: await texts(page, "h1") };
  },
};

async function main() {
  const context = await chromium.launchPersistentContext(wanted.dir, { executablePath: "/usr/bin/chromium",
    args: FLAGS, ignoreHTTPSErrors: true, viewport: wanted.viewport ?? { width: 1280, height: 800 }, colorScheme: wanted.colours ?? "light" });
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(wanted.limit_ms);
  page.on("pageerror", (e) => trouble.push(`error: ${e.message}`));
  page.on("console", (m) => { if (m.type() === "error" || m.type() === "warning") trouble.push(m.text()); });
  page.on("request", (r) => requests.push(r.url()));
  await page.addInitScript(() => addEventListener("securitypolicyviolation",
    (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`)));
  const seen = await STEPS[wanted.step](page);
  if (wanted.picture) await page.screenshot({ path: wanted.picture, fullPage: true });
  await context.close();
  console.log(JSON.stringify({ seen, trouble, requests }));
}

main().catch((e) => {
  console.error(e, trouble);
  process.exit(1);
});
