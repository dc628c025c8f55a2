// Calls of the gateway's API. The key goes in a header field, never in an address, and lives in this
// tab's sessionStorage.

const KEY = "stagepost.key";
const TENANT = "stagepost.tenant";

export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail || problem.title || `the gateway answered ${status}`);
    this.status = status;
    this.code = problem.code || "";
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  tenant: () => sessionStorage.getItem(TENANT) ?? "",
  set(value, tenant) {
    sessionStorage.setItem(KEY, value);
    sessionStorage.setItem(TENANT, tenant);
  },
  forget() {
    sessionStorage.removeItem(KEY);
    sessionStorage.removeItem(TENANT);
  },
};

function withQuery(path, query) {
  const all = new URLSearchParams();
  for (const [name, value] of Object.entries(query))
    if (value !== "" && value !== null && value !== undefined) all.set(name, value);
  // "+" would be read as itself.
  const text = all.toString().replaceAll("+", "%20");
  return text === "" ? path : `${path}?${text}`;
}

async function problemOf(response) {
  try {
    return await response.json();
  } catch {
    return {};
  }
}

async function ask(method, path, options, authorized) {
  const headers = {...options.headers};
  if (authorized && key.get() !== "") headers.Authorization = `Bearer ${key.get()}`;
  let response;
  try {
    response = await fetch(path, {method, headers, body: options.body, cache: "no-store",
                                  credentials: "omit", redirect: "error", referrerPolicy: "no-referrer"});
  } catch {
    throw new Refused(0, {detail: "The gateway does not answer."});
  }
  if (!response.ok) throw new Refused(response.status, await problemOf(response));
  return response;
}

// JSON from /v1; null for 204.
export async function call(method, path, {query = {}, body} = {}) {
  const options = body === undefined ? {} :
    {body: JSON.stringify(body), headers: {"Content-Type": "application/json"}};
  const tenant = key.tenant();
  const response = await ask(method, withQuery(path, tenant === "" ? query : {...query, tenant}),
    options, true);
  return response.status === 204 ? null : response.json();
}

// Text from outside /v1: metrics, captures.
export async function text(path, query = {}) {
  return (await ask("GET", withQuery(path, query), {}, true)).text();
}

// JSON of the page's own and of the sandbox: no key.
export async function open(path, query = {}) {
  return (await ask("GET", withQuery(path, query), {}, false)).json();
}

export function segment(part) {
  return encodeURIComponent(part);
}
