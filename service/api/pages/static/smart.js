// The SMART app: on to the EHR's authorization server, and back; then the chart is read with the reader's token, sent to
// /explain, and shown. Nothing of it is kept here.
import { explanation } from "./explain.js";

const MOST_PAGES = 20;
const app = document.getElementById("smart");
const say = (words) => (document.getElementById("said").textContent = words);

/** The token response lives in this page alone: what the client library keeps for a reload is given up. */
async function opened() {
  const client = await FHIR.oauth2.ready();
  sessionStorage.clear();
  const { tokenResponse, serverUrl } = client.state;
  if (!tokenResponse?.patient) throw new Error("The EHR did not say which patient is open.");
  return { iss: serverUrl, ...tokenResponse };
}

/** The queries of the service with the ids of this chart; one whose id is not known is not asked. */
function filled(queries, ids) {
  const known = ([, query]) => [...query.matchAll(/{{context\.(\w+)}}/g)].every(([, name]) => ids[name]);
  const fill = (query) => query.replace(/{{context\.(\w+)}}/g, (_, name) => encodeURIComponent(ids[name]));
  return Object.entries(queries).filter(known).map(([key, query]) => [key, fill(query)]);
}

async function get(address, token) {
  const answer = await fetch(address, {
    headers: { Accept: "application/fhir+json", Authorization: `Bearer ${token}` },
    redirect: "error",
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  const text = await answer.text();
  const resource = JSON.parse(text);
  if (!answer.ok || !resource.resourceType) throw new Error(`status ${answer.status}`);
  return { text, resource };
}

const FAILED = JSON.stringify({
  resourceType: "OperationOutcome",
  issue: [{ severity: "error", code: "exception", diagnostics: "not read" }],
});

/**
 * One query's answer as JSON text: as it came, so that no digit changes; of several pages, joined. What failed stands as
 * an OperationOutcome, and where a further page could not be had, its link stays: the service then knows that it is a part.
 */
async function read(query, { iss, access_token: token }) {
  try {
    const first = await get(`${iss.replace(/\/$/, "")}/${query}`, token);
    const count = Number(/[?&]_count=(\d+)/.exec(query)?.[1] ?? Infinity);
    return await joined(first, count, iss, token);
  } catch {
    return FAILED;
  }
}

const next = (bundle) => bundle.link?.find((link) => link.relation === "next")?.url;

/** The pages of a search until it has brought as many as it asked for; one page stays as it came. */
async function joined(first, count, iss, token) {
  const whole = { ...first.resource, entry: [...(first.resource.entry ?? [])] };
  const more = () => next(whole) && whole.entry.length < count;
  if (!more()) return first.text;
  try {
    for (let page = 1; more() && page < MOST_PAGES; page += 1) {
      const address = new URL(next(whole), `${iss}/`);
      if (address.origin !== new URL(iss).origin) break;
      const { resource } = await get(address, token);
      whole.entry.push(...(resource.entry ?? []));
      whole.link = resource.link ?? [];
    }
  } catch {
    // the link to the page that could not be read stays
  }
  return JSON.stringify(whole);
}

/** What the card was about, if the EHR passed on what it carried. */
function asked(appContext) {
  try {
    const said = typeof appContext === "string" ? JSON.parse(appContext) : appContext;
    return (said?.rules ?? []).filter((rule) => /^R-\d{3}$/.test(rule));
  } catch {
    return [];
  }
}

function mark(part, rules) {
  const found = rules.map((rule) => [rule, part.querySelector(`#${rule}`)]);
  for (const [, element] of found) element?.classList.add("asked");
  const gone = found.filter(([, element]) => !element).map(([rule]) => rule);
  say(gone.length ? `${app.dataset.gone} ${gone.join(", ")}` : "");
}

/** To the authorization server, which the server of this page holds on its list; what a FHIR server says is not enough. */
async function go({ iss, client, scope, hosts }) {
  const launch = new URLSearchParams(location.search).get("launch") ?? undefined;
  history.replaceState({}, "", location.pathname); // the client library would take more from the address than that
  const address = await FHIR.oauth2.authorize({
    iss,
    clientId: client,
    scope,
    redirectUri: "app",
    launch,
    pkceMode: "required",
    completeInTarget: true,
    noRedirect: true,
  });
  const { origin } = new URL(address, location.href);
  if (hosts && !hosts.split(" ").includes(origin)) throw new Error(`${origin} is not an authorization server of this EHR.`);
  location.replace(address);
}

async function show({ queries, reading, judging }) {
  const chart = await opened();
  say(reading);
  const ids = { patientId: chart.patient, encounterId: chart.encounter };
  const asking = filled(JSON.parse(queries), ids).map(async ([key, query]) => `${JSON.stringify(key)}:${await read(query, chart)}`);
  const prefetch = (await Promise.all(asking)).join(",");
  say(judging);
  const body = `{"hook":"patient-view","context":${JSON.stringify(ids)},"prefetch":{${prefetch}}}`;
  const headers = { Authorization: `Bearer ${chart.access_token}` };
  const part = await explanation(`../explain?iss=${encodeURIComponent(chart.iss)}`, body, headers);
  app.replaceChildren(part);
  mark(part, asked(chart.appContext));
}

if (app) {
  try {
    await (app.dataset.queries ? show : go)(app.dataset);
  } catch (error) {
    say(`${app.dataset.failed} ${error.message} ${app.dataset.again}`);
  }
}
