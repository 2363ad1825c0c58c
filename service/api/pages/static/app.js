// The start page: lists the services, and in development fires the real hooks for an invented patient or one's own.
// Everything that comes from the network becomes DOM text nodes; no string is parsed as HTML here.
import { explanation } from "./explain.js";

const byId = (id) => document.getElementById(id);

/** Create an element: el("p", {class: "x", onclick: f}, "text", child). */
function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** An https link, or one to this service; anything else is shown as plain text. */
function link(label, url) {
  const target = address(url);
  const safe = target && (target.protocol === "https:" || target.origin === location.origin);
  return safe ? el("a", { href: target.href, target: "_blank", rel: "noopener noreferrer" }, label) : el("span", {}, label);
}

function address(url) {
  try {
    return new URL(url, document.baseURI);
  } catch {
    return null;
  }
}

const items = (value) => (Array.isArray(value) ? value : []);
const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

// --- Markdown: paragraphs, headings, lists, tables, bold, emphasis, code, links ---------------------------------

const INLINE = new RegExp(
  [
    "\\\\([!-/:-@\\[-`{-~])", // 1 an escaped character
    "&(lt|gt|amp|quot|#\\d{1,6});", // 2 an entity
    "`([^`]+)`", // 3 code
    "\\*\\*(?=\\S)((?:\\\\.|[^\\\\])+?)\\*\\*", // 4 bold
    "\\*(?=\\S)((?:\\\\.|[^*\\\\])+)\\*", // 5 emphasis
    "\\b_((?:\\\\.|[^_\\\\])+)_\\b", // 6 emphasis
    "\\[((?:\\\\.|[^\\]\\\\])+)\\]\\(([^()\\s]+)\\)", // 7 label, 8 address
    "<?(https://[^\\s<>]*[^\\s<>.,;:!?)\\]])>?", // 9 a bare address
    "(\\\\\\n| {2,}\\n)", // 10 a line break
  ].join("|"),
  "g",
);
const ENTITIES = { lt: "<", gt: ">", amp: "&", quot: '"' };
const entity = (name) => ENTITIES[name] ?? String.fromCodePoint(Math.min(Number(name.slice(1)), 0x10ffff));
const unescaped = (url) => url.replace(/\\([^\w\s])/g, "$1").replaceAll("&amp;", "&");

function inline(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    const [, mark, named, code, bold, emphasis, underlined, label, url, bare] = match;
    nodes.push(text.slice(end, match.index));
    end = match.index + match[0].length;
    if (mark) nodes.push(mark);
    else if (named) nodes.push(entity(named));
    else if (code) nodes.push(el("code", {}, code));
    else if (bold) nodes.push(el("strong", {}, inline(bold)));
    else if (emphasis || underlined) nodes.push(el("em", {}, inline(emphasis || underlined)));
    else if (label) nodes.push(link(inlineText(label), unescaped(url)));
    else if (bare) nodes.push(link(bare, bare));
    else nodes.push(el("br"));
  }
  return [...nodes, text.slice(end)];
}

const inlineText = (text) => el("span", {}, inline(text)).textContent;

const ITEM = /^(\s*)(?:[-*+]|(\d+)[.)])\s+(.*)$/;
const RULE = /^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$/;
const HEADING = /^#{1,6}\s+(.*?)\s*#*$/;

function markdown(text) {
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  const blocks = [];
  while (lines.length) {
    if (!lines[0].trim()) lines.shift();
    else if (HEADING.test(lines[0])) blocks.push(el("h5", {}, inline(lines.shift().match(HEADING)[1])));
    else if (isTable(lines)) blocks.push(table(take(lines, (line) => line.includes("|"))));
    else if (ITEM.test(lines[0])) blocks.push(list(take(lines, (line) => ITEM.test(line) || /^\s+\S/.test(line))));
    else blocks.push(el("p", {}, inline(take(lines, isParagraph).join("\n"))));
  }
  return blocks;
}

const isTable = (lines) => lines.length > 1 && lines[0].includes("|") && lines[1].includes("-") && RULE.test(lines[1]);
const isParagraph = (line) => line.trim() && !ITEM.test(line) && !HEADING.test(line);

function take(lines, belongs) {
  const taken = [lines.shift()];
  while (lines.length && belongs(lines[0])) taken.push(lines.shift());
  return taken;
}

function list(lines) {
  const [, indent, number] = lines[0].match(ITEM);
  const entries = [];
  for (const line of lines) {
    const match = line.match(ITEM);
    if (match && match[1].length <= indent.length) entries.push({ text: match[3], below: [] });
    else if (match || entries.at(-1).below.length) entries.at(-1).below.push(line);
    else entries.at(-1).text += "\n" + line.trim();
  }
  const bullets = entries.map(({ text, below }) => el("li", {}, inline(text), below.length ? list(below) : ""));
  return el(number ? "ol" : "ul", number && number !== "1" ? { start: number } : {}, bullets);
}

function table(lines) {
  const cells = (line) => line.trim().replace(/^\||(?<!\\)\|$/g, "").split(/(?<!\\)\|/).map((cell) => cell.trim());
  const row = (tag, line) => el("tr", {}, cells(line).map((cell) => el(tag, {}, inline(cell))));
  const [head, , ...body] = lines;
  return scrolling("Table", el("table", {}, el("thead", {}, row("th", head)), el("tbody", {}, body.map((line) => row("td", line)))));
}

const scrolling = (label, child) => el("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, child);

/** Mark direction block by block: a sentence that has no Persian letters stays left to right. */
function direct(root, language) {
  root.lang = language;
  root.dir = language === "fa" ? "rtl" : "ltr";
  if (language !== "fa") return;
  for (const block of root.querySelectorAll("p, li, h4, h5, td, th, .choices button, .reasons button")) {
    block.dir = /[\u0600-\u06ff]/.test(block.textContent) ? "rtl" : "ltr";
  }
}

// --- JSON to read and to copy --------------------------------------------------------------------------------

/** JSON with whatever fits on one line on one line: FHIR in a third of the height. */
function pretty(value, indent = "", lead = 0) {
  const flat = JSON.stringify(value)?.replace(/("(?:\\.|[^"\\])*")|([:,])/g, (_, string, mark) => string ?? `${mark} `);
  if (value === null || typeof value !== "object" || flat.length + indent.length + lead < 88) return flat;
  const inner = indent + "  ";
  const parts = Array.isArray(value)
    ? value.map((item) => inner + pretty(item, inner))
    : Object.entries(value).map(([key, item]) => `${inner}${JSON.stringify(key)}: ${pretty(item, inner, key.length + 4)}`);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  return `${open}\n${parts.join(",\n")}\n${indent}${close}`;
}

function coloured(text) {
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(/("(?:\\.|[^"\\])*")(:?)|-?\d[\d.eE+-]*|\b(?:true|false|null)\b/g)) {
    const kind = match[2] ? "k" : match[1] ? "s" : "n";
    nodes.push(text.slice(end, match.index), el("span", { class: kind }, match[1] ?? match[0]), match[2] ?? "");
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

function jsonBlock(title, note, value, { open = false, extra = [] } = {}) {
  const text = typeof value === "string" ? value : pretty(value);
  const shown = el("pre", { tabindex: "0", "aria-label": title });
  const block = el("details", { class: "json" },
    el("summary", {}, `${title} `, el("span", {}, note)),
    el("div", { class: "tools" }, copyButton("Copy", text, shown), extra),
    shown);
  block.addEventListener("toggle", () => block.open && !shown.firstChild && shown.append(...coloured(text)));
  block.open = open;
  return block;
}

function copyButton(label, text, shown) {
  const button = el("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    const copied = await navigator.clipboard?.writeText(text).then(() => true, () => false);
    if (!copied) getSelection().selectAllChildren(shown);
    button.textContent = copied ? "Copied" : "Selected: press Ctrl+C";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

const curl = (url, language, body) =>
  `curl -s '${new URL(url, document.baseURI)}' -H 'Content-Type: application/json' -H 'Accept-Language: ${language}' ` +
  `--data-binary @- <<'END'\n${pretty(body)}\nEND`;

// --- Calls ---------------------------------------------------------------------------------------------------

/** -> {status, ms, body, text, language, size}; status 0 if the service did not answer. */
async function call(url, body, language) {
  const started = performance.now();
  const init = body && {
    method: "POST",
    headers: { "Content-Type": "application/json", ...(language && { "Accept-Language": language }) },
    body: JSON.stringify(body),
  };
  try {
    const response = await fetch(url, init);
    const text = await response.text();
    const ms = Math.max(1, Math.round(performance.now() - started));
    const spoken = response.headers.get("Content-Language") ?? language;
    return { status: response.status, ok: response.ok, ms, text, body: parsed(text), language: spoken };
  } catch {
    return { status: 0, ok: false, ms: Math.round(performance.now() - started), text: "", body: null, language };
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function uuid() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const hex = [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4}).(.{3}).(.{3})(.{12})$/, "$1-$2-4$3-8$4-$5");
}

// --- Failures in words -----------------------------------------------------------------------------------------

const STATUS_WORDS = {
  0: "The service did not answer",
  400: "The request could not be understood",
  401: "The caller did not prove who it is",
  404: "There is nothing at this address",
  412: "Data needed for an honest answer are missing",
  413: "The request is too large",
  429: "Too many requests",
  500: "A fault in the service",
  503: "The service is not ready",
};

function problem(result) {
  const issues = items(result.body?.issue);
  return el("div", { class: "problem" },
    el("p", { class: "indicator" }, icon("critical"), result.status ? `Refused, status ${result.status}` : "No answer"),
    el("h4", {}, STATUS_WORDS[result.status] ?? "The call failed"),
    issues.length ? el("ul", {}, issues.map(issueLine)) : el("p", {}, result.text.slice(0, 300)),
    el("p", { class: "source" }, "The EHR shows no card. This text is for its support staff."));
}

function issueLine(issue) {
  const words = issue.details?.text ?? issue.diagnostics ?? issue.code ?? "no details given";
  const place = [...items(issue.expression), ...items(issue.location)].join(", ");
  return el("li", {}, `${issue.severity ?? "error"}: ${words} `, place ? el("code", {}, place) : "");
}

// --- Cards, as an EHR would draw them -----------------------------------------------------------------------------

const INDICATORS = { info: "Information", warning: "Warning", critical: "Critical" };

function card(data, service) {
  const tone = INDICATORS[data.indicator] ? data.indicator : "info";
  const outcome = el("p", { class: "outcome", role: "status" });
  const article = el("article", { class: `card ${tone}` },
    el("header", {},
      el("p", { class: "indicator" }, icon(tone), INDICATORS[tone]),
      el("h4", {}, data.summary ?? ""),
      el("p", { class: "source" }, "Source: ", sourceLine(data.source ?? {}))),
    data.detail ? el("div", { class: "detail" }, markdown(data.detail)) : "");
  const report = (item, said) => feedback(service, { card: data.uuid, ...item }, said, outcome);
  article.append(
    el("div", { class: "choices" }, suggestions(data, report, article), data.uuid ? dismissal(data, report, article) : ""),
    el("p", { class: "links" }, items(data.links).map((item) => link(item.label, item.url))),
    outcome);
  return article;
}

const sourceLine = (source) => (source.url ? link(source.label ?? source.url, source.url) : el("span", {}, source.label ?? ""));

function suggestions(data, report, article) {
  const buttons = items(data.suggestions).map((suggestion) => {
    const button = el("button", { type: "button" }, suggestion.label, suggestion.isRecommended ? el("span", { class: "recommended" }, " · recommended") : "");
    button.addEventListener("click", async () => {
      (data.selectionBehavior === "at-most-one" ? buttons : [button]).forEach((one) => (one.disabled = true));
      button.prepend("✓ ");
      const actions = items(suggestion.actions);
      await report({ outcome: "accepted", acceptedSuggestions: [{ id: suggestion.uuid }] },
        `Accepted. The EHR now offers: ${actions.map((action) => action.description).join("; ") || suggestion.label}.`);
      const resources = actions.map((action) => action.resource ?? action.resourceId);
      const created = jsonBlock("What the EHR would create", `from “${suggestion.label}”`, resources.length === 1 ? resources[0] : resources);
      article.append(created);
      created.querySelector("summary").focus(); // the pressed button is disabled now and cannot keep the focus
    });
    return button;
  });
  return buttons;
}

function dismissal(data, report, article) {
  const reasons = [...items(data.overrideReasons), null];
  const menu = el("details", { class: "dismiss" }, el("summary", {}, "Dismiss"), el("div", { class: "reasons" },
    reasons.map((reason) => el("button", { type: "button", class: "small", onclick: () => dismiss(reason) }, reason?.display ?? "Without a reason"))));
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
  const dismiss = async (reason) => {
    article.classList.add("dismissed");
    article.tabIndex = -1;
    article.focus(); // the pressed button is hidden now and cannot keep the focus
    await report({ outcome: "overridden", ...(reason && { overrideReason: { reason } }) },
      reason ? `Dismissed: ${reason.display}.` : "Dismissed without a reason.");
  };
  return menu;
}

async function feedback(service, item, said, outcome) {
  if (!service) return void (outcome.textContent = `${said} No hook was fired, so there is nothing to report.`);
  const result = await call(`cds-services/${service}/feedback`, { feedback: [{ ...item, outcomeTimestamp: new Date().toISOString() }] });
  outcome.textContent = `${said} Feedback ${result.ok ? "recorded" : "not recorded"} (status ${result.status}, ${result.ms} ms).`;
}

function silent() {
  return el("div", { class: "silent" },
    el("p", { class: "indicator" }, icon("none"), "No interruption"),
    el("h4", {}, "No card: nothing to say"),
    el("p", {}, "The service read the data and found no reason to interrupt. What each rule found is listed below."));
}

function showCards(result, service) {
  const cards = result.ok ? items(result.body?.cards) : [];
  const shown = !result.ok ? [problem(result)] : cards.length ? cards.map((data) => card(data, service)) : [silent()];
  byId("cards").replaceChildren(...shown);
  direct(byId("cards"), result.ok && cards.length ? result.language.slice(0, 2) : "en");
}

// --- Findings: why --------------------------------------------------------------------------------------------------

const OUTCOMES = { finding: "Finding", withheld: "Withheld", failed: "Failed", lacking: "Lacking data", "not-met": "Not met", off: "Switched off" };
const pressed = new Set(["finding", "withheld", "failed"]);

function showWhy(result, failed) {
  const host = byId("why");
  const body = result.body;
  if (!result.ok || !Array.isArray(body?.findings)) return host.replaceChildren(problem(result));
  const rows = body.findings.map((finding) => ({ outcome: finding.outcome, row: findingRow(finding) }));
  const filter = () => rows.forEach(({ outcome, row }) => (row.hidden = !pressed.has(outcome)));
  const grid = el("table", { class: "stack" },
    el("thead", {}, el("tr", {}, ["Rule", "Outcome", "Result", "Why"].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {}, rows.map(({ row }) => row)));
  filter();
  const note = failed.length
    ? el("p", { class: "values" }, `The EHR could not supply ${failed.join(", ")}. A Bundle cannot say so: below it counts as not on file.`)
    : "";
  host.replaceChildren(note, filters(rows, filter), scrolling("Findings", grid), reading(body));
  direct(grid.tBodies[0], body.language ?? "en");
  grid.tBodies[0].dir = "ltr";
}

function filters(rows, filter) {
  const buttons = Object.entries(OUTCOMES).map(([outcome, name]) => {
    const count = rows.filter((row) => row.outcome === outcome).length;
    if (!count) return "";
    const button = el("button", { type: "button", "aria-pressed": String(pressed.has(outcome)) }, `${name} ${count}`);
    button.addEventListener("click", () => {
      if (!pressed.delete(outcome)) pressed.add(outcome);
      button.setAttribute("aria-pressed", String(pressed.has(outcome)));
      filter();
    });
    return button;
  });
  return el("div", { class: "filters", role: "group", "aria-label": "Show outcomes" }, buttons);
}

function findingRow(finding) {
  const tone = finding.outcome === "finding" ? finding.indicator : finding.outcome === "failed" ? "critical" : "";
  return el("tr", {},
    el("th", { scope: "row" }, el("span", { class: "rule-id" }, finding.rule), ` ${finding.name ?? ""}`),
    el("td", {}, el("span", { class: `badge ${tone ?? ""}` }, OUTCOMES[finding.outcome] ?? finding.outcome),
      finding.shown ? el("span", { class: "shown" }, "on the card") : ""),
    el("td", { "data-name": "Result" }, finding.result ?? ""),
    el("td", {}, reason(finding), valuesLine(finding.values), sourcesLine(finding)));
}

function reason(finding) {
  if (items(finding.lacking).length) return el("p", {}, `Needs: ${finding.lacking.join(", ")}`);
  const gate = finding.outcome === "withheld" && finding.gate ? [el("strong", {}, `Held back by: ${finding.gate}. `)] : [];
  const words = finding.text ?? finding.reason ?? finding.error ?? "";
  return el("p", {}, ...gate, inline(words));
}

function valuesLine(values) {
  const named = Object.entries(values ?? {}).map(([name, value]) => `${name} = ${value}`);
  return named.length ? el("p", { class: "values" }, el("code", {}, named.join(" · "))) : "";
}

function sourcesLine(finding) {
  const cited = items(finding.citations).map(({ source, at }) => [source, at].filter(Boolean).join(", "));
  const rests = items(finding.evidence).map(({ reference }) => reference);
  if (!cited.length && !rests.length) return "";
  return el("p", { class: "values" }, [rests.length && `rests on ${rests.join(", ")}`, cited.length && `source: ${cited.join("; ")}`].filter(Boolean).join(" · "));
}

/** What was understood of the data, and what was not. */
function reading(body) {
  const { labs, medications, conditions } = body.read ?? {};
  const part = (title, heads, rows) => (rows.length ? [el("h4", {}, title), plainTable(heads, rows)] : []);
  const issues = items(body.issues);
  return el("details", { class: "read" },
    el("summary", {}, `What was read from the data${issues.length ? `, and ${plural(issues.length, "problem")}` : ""}`),
    ...part("Results", ["Analyte", "Value", "Taken", "Used", "Resource"], items(labs).map((lab) =>
      [lab.analyte, `${lab.value ?? "–"} ${lab.unit ?? ""}`, moment(lab.takenAt), lab.used ? "yes" : "no", lab.reference])),
    ...part("Medications", ["Ingredients", "Classes", "Recognised by", "Resource"], items(medications).map((one) =>
      [items(one.ingredients).join(", "), items(one.classes).join(", "), one.recognisedBy ?? "", one.reference])),
    ...part("Conditions", ["Read as", "Resource"], items(conditions).map((one) => [items(one.tags).join(", "), one.reference])),
    ...part("Not usable, and why", ["Problem", "Resource"], issues.map((issue) => [issue.problem, issue.reference])));
}

function plainTable(heads, rows) {
  return scrolling(heads[0], el("table", {},
    el("thead", {}, el("tr", {}, heads.map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, rows.map((row) => el("tr", {}, row.map((cell) => el("td", {}, cell ?? "")))))));
}

const moment = (iso) => (iso ? iso.replace("T", " ").replace(/:\d\d(?:\.\d+)?(?=Z|[+-]|$)/, "") : "–");

// --- The chart: what the EHR sends ----------------------------------------------------------------------------------

/** Draw the chart of the patient in hand: once for each patient, so that a field that is being edited stays. */
function showChart({ patient, encounter, resources, drafts, failed }) {
  const of = (type) => resources.filter((resource) => resource.resourceType === type);
  const meds = [...of("MedicationRequest"), ...of("MedicationStatement"), ...of("MedicationAdministration")];
  byId("chart").replaceChildren(
    el("p", { class: "full" }, personLine(patient, encounter)),
    el("div", {}, el("h4", {}, "Results"), labTable(of("Observation").filter((lab) => lab.valueQuantity))),
    el("div", {},
      part("About to be ordered", drafts.map(orderLine)),
      part("Medication", meds.map(orderLine)),
      part("Problems", of("Condition").map((one) => [words(one.code), ago(one.onsetDateTime)].join(", ")))),
    failed.length ? el("p", { class: "full failed-key" }, `Not available from the EHR: ${failed.join(", ")}`) : "");
}

const failedKeys = (prefetch) => Object.keys(prefetch).filter((key) => prefetch[key]?.resourceType === "OperationOutcome");

const part = (title, lines) => (lines.length ? el("div", {}, el("h4", {}, title), el("ul", {}, lines.map((line) => el("li", {}, line)))) : "");

/** Every resource of a prefetch, failed keys left out. */
function resourcesOf(prefetch) {
  const unfolded = Object.values(prefetch).flatMap((value) => (value?.resourceType === "Bundle" ? entries(value) : [value]));
  return unfolded.filter((resource) => resource && resource.resourceType !== "OperationOutcome");
}

const entries = (bundle) => items(bundle?.entry).map((entry) => entry?.resource).filter(Boolean);
const words = (concept) => concept?.text ?? concept?.coding?.[0]?.display ?? concept?.coding?.[0]?.code ?? "without a name";

function personLine(patient, encounter) {
  const name = patient?.name?.[0];
  const years = Math.floor((Date.now() - Date.parse(patient?.birthDate)) / 864e5 / 365.25);
  const said = [[name?.given?.[0], name?.family].filter(Boolean).join(" "), years >= 0 ? plural(years, "year") : "age unknown",
    patient?.gender ?? "sex unknown", encounter?.class?.display];
  return said.filter(Boolean).join(", ");
}

function labTable(labs) {
  if (!labs.length) return el("p", {}, "None on file.");
  return scrolling("Results", el("table", {},
    el("thead", {}, el("tr", {}, ["Test", "Value", "Range", "Taken"].map((head) => el("th", { scope: "col" }, head)))),
    el("tbody", {}, newestFirst(labs).map(labRow))));
}

/** The tests in the order in which they came, of each the newest result first. */
function newestFirst(labs) {
  const order = [...new Set(labs.map(testOf))];
  const at = (lab) => lab.effectiveDateTime ?? "";
  return [...labs].sort((a, b) => order.indexOf(testOf(a)) - order.indexOf(testOf(b)) || at(b).localeCompare(at(a)));
}

const testOf = (lab) => (lab.code?.coding?.[0]?.display ?? words(lab.code)).replace(" in Serum or Plasma", "").replace(/ \[[^\]]*\]/, "");

function labRow(lab) {
  const quantity = lab.valueQuantity;
  const { low, high } = lab.referenceRange?.[0] ?? {};
  const range = low && high ? `${low.value}–${high.value}` : low ? `≥ ${low.value}` : high ? `≤ ${high.value}` : "";
  const test = testOf(lab);
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  const field = el("input", { value: quantity.value, inputmode: "decimal", autocomplete: "off", "aria-label": `${test}, ${quantity.unit ?? "no unit"}` });
  const cell = el("td", { class: "figure" }, field, ` ${quantity.unit ?? "(no unit)"}`, mark);
  const judge = () => {
    const below = low && quantity.value < low.value;
    cell.classList.toggle("outside", Boolean(below || (high && quantity.value > high.value)));
    mark.textContent = below ? " ↓" : high && quantity.value > high.value ? " ↑" : "";
  };
  field.addEventListener("input", () => {
    const value = Number(field.value.replace(",", "."));
    const usable = field.value.trim() !== "" && Number.isFinite(value);
    field.toggleAttribute("aria-invalid", !usable);
    if (!usable) return;
    edit(lab, value);
    judge();
  });
  judge();
  return el("tr", {}, el("td", {}, test), cell, el("td", { class: "figure" }, range), el("td", { class: "figure" }, ago(lab.effectiveDateTime)));
}

function orderLine(order) {
  const what = words(order.medicationCodeableConcept ?? order.code);
  const how = (order.dosageInstruction ?? order.dosage)?.[0]?.text ?? order.dosage?.text;
  const since = order.authoredOn ?? order.effectivePeriod?.start ?? order.effectiveDateTime;
  return [what, how, order.status === "draft" ? "draft" : ago(since)].filter(Boolean).join(", ");
}

function ago(iso) {
  if (!iso) return "undated";
  const minutes = Math.round((Date.now() - Date.parse(iso)) / 6e4);
  if (minutes < 60) return `${plural(minutes, "minute")} ago`;
  if (minutes < 48 * 60) return `${plural(Math.round(minutes / 60), "hour")} ago`;
  const days = Math.round(minutes / 1440);
  return days < 60 ? `${days} days ago` : days < 730 ? `${Math.round(days / 30.4)} months ago` : `${Math.round(days / 365.25)} years ago`;
}

// --- The patient in hand ----------------------------------------------------------------------------------------------
// {kind, title, story, endpoint, service, request} with what was changed: for a sample, value by id of the Observation.

let inHand = null;
let turn = 0; // answers that belong to an earlier choice or value are dropped
let soon = null;

const LANGUAGES = ["en", "ru", "fa"];
const language = () => byId("language").value;

function hold(patient) {
  turn += 1;
  inHand = patient;
  byId("patient-title").textContent = patient.title;
  byId("patient-story").textContent = patient.story;
  byId("endpoint").textContent = patient.endpoint;
  byId("fire").textContent = patient.kind === "bundle" ? "Evaluate" : "Fire the hook";
  byId("answer").hidden = true;
  byId("share").hidden = patient.kind !== "sample";
  byId("chart-box").hidden = patient.kind === "server";
  announce("");
  if (patient.chart) showChart(patient.chart);
}

/** A value is changed where it stands in the request, and the cards follow at once. */
function edit(lab, value) {
  lab.valueQuantity.value = value;
  if (inHand.kind === "sample") inHand.edits.set(lab.id, value);
  clearTimeout(soon);
  soon = setTimeout(fire, 250);
}

// --- Invented patients --------------------------------------------------------------------------------------------------

async function startRunner() {
  const listed = await call("samples");
  const { body } = listed;
  byId("runner").hidden = false;
  if (!listed.ok) return byId("runner").replaceChildren(problem(listed));
  byId("language").value = LANGUAGES.find((code) => code === document.documentElement.lang) ?? "en";
  byId("patient-menu").append(...body.samples.map((sample) => el("option", { value: sample.id }, sample.title)));
  byId("patient-list").append(...body.samples.map((sample) => el("label", {},
    el("input", { type: "radio", name: "patient", value: sample.id }), el("span", {}, sample.title), el("small", {}, sample.hook))));
  const choose = (id) => select(body.samples.find((sample) => sample.id === id) ?? body.samples[1]);
  byId("patient-menu").addEventListener("change", (event) => choose(event.target.value));
  byId("patient-list").addEventListener("change", (event) => choose(event.target.value));
  byId("language").addEventListener("change", () => byId("answer").hidden || fire());
  byId("fire").addEventListener("click", () => fire(true));
  byId("share").addEventListener("click", shareState);
  byId("chart-box").open = matchMedia("(min-width: 60rem)").matches;
  takeOwn();
  await follow(choose);
  addEventListener("hashchange", () => follow(choose));
}

/** An address such as #torsades,fa,mg1=0.9 names a sample, a language and changed values, and fires. */
async function follow(choose) {
  const named = location.hash.slice(1);
  if (named && inHand && named === state()) return;
  const [id, ...rest] = named.split(",");
  const asked = rest.find((word) => LANGUAGES.includes(word));
  if (asked) byId("language").value = asked;
  if (document.getElementById(id)) return void (inHand ?? (await choose("")));
  await choose(id);
  if (!id || id !== inHand?.id) return;
  for (const word of rest.filter((word) => word.includes("="))) restore(...word.split("="));
  showChart(inHand.chart);
  await fire();
}

function restore(id, text) {
  const lab = inHand.chart.resources.find((resource) => resource.id === decodeURIComponent(id) && resource.valueQuantity);
  const value = Number(text);
  if (!lab || !Number.isFinite(value)) return;
  lab.valueQuantity.value = value;
  inHand.edits.set(lab.id, value);
}

/** What of the page can be sent to somebody else: an invented patient, a language, changed values; nothing of one's own. */
function state() {
  if (inHand?.kind !== "sample") return "";
  const changed = [...inHand.edits].map(([id, value]) => `${encodeURIComponent(id)}=${value}`);
  return [inHand.id, ...(language() === "en" ? [] : [language()]), ...changed].join(",");
}

async function shareState() {
  const address = `${location.href.split("#")[0]}#${state()}`;
  const copied = await navigator.clipboard?.writeText(address).then(() => true, () => false);
  announce(copied ? "The address is copied." : `The address: ${address}`);
}

async function select(sample) {
  const mine = ++turn;
  byId("patient-menu").value = sample.id;
  document.querySelector(`#patient-list input[value="${sample.id}"]`).checked = true;
  const { ok, body } = await call(`samples/${sample.id}`);
  if (mine !== turn || !ok) return;
  const { prefetch, context } = body.request;
  const drafts = entries(context.draftOrders ?? context.medications);
  hold({ ...sample, kind: "sample", edits: new Map(), request: body.request, endpoint: `POST /cds-services/${sample.service}`,
    chart: { patient: prefetch.patient, encounter: prefetch.encounter, resources: resourcesOf(prefetch), drafts, failed: failedKeys(prefetch) } });
}

// --- One's own patient --------------------------------------------------------------------------------------------------

function takeOwn() {
  const text = byId("own-text");
  const read = async (file) => {
    if (!file) return;
    text.value = await file.text();
    takeBundle();
  };
  byId("own-file").addEventListener("change", (event) => read(event.target.files[0]));
  byId("own").addEventListener("dragover", (event) => event.preventDefault());
  byId("own").addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    read(event.dataTransfer.files[0]);
  });
  byId("own-form").addEventListener("submit", (event) => (event.preventDefault(), takeBundle()));
  byId("server-form").addEventListener("submit", (event) => (event.preventDefault(), takeServer()));
}

function takeBundle() {
  const sent = parsed(byId("own-text").value);
  if (!sent || typeof sent !== "object") return announce("This is not JSON.");
  const resources = Array.isArray(sent) ? sent : sent.resourceType === "Bundle" ? entries(sent) : [sent];
  const of = (type) => resources.find((resource) => resource?.resourceType === type);
  own({ kind: "bundle", title: "Your own patient", story: `${plural(resources.length, "resource")} of yours.`, endpoint: "POST /v1/evaluate",
    request: { hook: "patient-view", bundle: sent },
    chart: { patient: of("Patient"), encounter: of("Encounter"), resources: resources.filter(Boolean), drafts: [], failed: [] } });
}

function takeServer() {
  const [base, patientId, token] = ["base", "patient", "token"].map((name) => byId(`server-${name}`).value.trim());
  const access = { access_token: token, token_type: "Bearer", expires_in: 300, scope: "patient/*.read", subject: "start-page" };
  own({ kind: "server", title: `Patient ${patientId}`, story: `Read from ${base} by the service itself.`, endpoint: "POST /cds-services/magnesium-patient-view",
    service: "magnesium-patient-view", request: { hook: "patient-view", fhirServer: base, ...(token && { fhirAuthorization: access }), context: { userId: "Practitioner/start-page", patientId } } });
}

function own(patient) {
  for (const radio of document.querySelectorAll("#patient-list input")) radio.checked = false;
  history.replaceState(null, "", location.pathname + location.search);
  hold(patient);
  fire(true);
}

// --- Fire -----------------------------------------------------------------------------------------------------------------

async function fire(show = false) {
  const mine = ++turn;
  clearTimeout(soon);
  const { kind, service } = inHand;
  const speaks = language();
  if (kind === "sample") history.replaceState(null, "", `#${state()}`);
  byId("answer").setAttribute("aria-busy", "true");
  const request = kind === "bundle" ? { ...inHand.request, language: speaks } : { ...inHand.request, hookInstance: uuid() };
  const question = kind === "bundle" ? request : kind === "sample" ? evaluation(request, speaks) : null;
  const address = kind === "bundle" ? "v1/evaluate" : `cds-services/${service}`;
  const answer = await call(address, request, speaks);
  const why = kind === "bundle" ? answer : question && (await call("v1/evaluate", question, speaks));
  const picture = await overTime(kind, request, speaks);
  if (mine !== turn) return;
  showCards(answer, service);
  byId("timeline").replaceChildren(...picture);
  byId("timeline").parentElement.hidden = !picture.length;
  byId("why").parentElement.hidden = !why;
  if (why) showWhy(why, kind === "sample" ? inHand.chart.failed : []);
  showWire([{ name: "", address, request, answer }, ...(kind === "sample" ? [{ name: "Findings ", address: "v1/evaluate", request: question, answer: why }] : [])], speaks);
  byId("answer").hidden = false;
  byId("answer").removeAttribute("aria-busy");
  announce(summary(answer));
  if (show === true) reveal();
}

/** The picture of /explain with its table: none where the service reads the chart itself, or refuses it. */
async function overTime(kind, { hook, context, prefetch, bundle }, speaks) {
  if (kind === "server") return [];
  const body = bundle ? { hook, bundle, language: speaks } : { hook, context, prefetch, language: speaks };
  try {
    const page = await explanation("explain", JSON.stringify(body));
    return [...page.querySelectorAll(".enlarge, .picture"), page.querySelector(".picture ~ details")].filter(Boolean);
  } catch {
    return [];
  }
}

const announce = (said) => (byId("said").textContent = said);

function reveal() {
  const top = byId("said").getBoundingClientRect().top;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (top > innerHeight * 0.6 || top < 0) byId("said").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
}

function summary(answer) {
  if (!answer.ok) return `Status ${answer.status} in ${answer.ms} ms: ${STATUS_WORDS[answer.status] ?? "the call failed"}.`;
  const cards = items(answer.body?.cards);
  const named = cards.map((data) => `${INDICATORS[data.indicator] ?? "Card"}: \u2068${data.summary}\u2069`).join(" ");
  return `Answered in ${answer.ms} ms. ${cards.length ? `${plural(cards.length, "card")}. ${named}` : "No card: nothing to say."}`;
}

/** The same data for POST /v1/evaluate: one Bundle instead of prefetch keys. */
function evaluation({ hook, context, prefetch }, speaks) {
  const entry = resourcesOf(prefetch).map((resource) => ({ resource }));
  return { hook, language: speaks, context, bundle: { resourceType: "Bundle", type: "collection", entry } };
}

function showWire(calls, speaks) {
  const open = matchMedia("(min-width: 76rem)").matches;
  const size = (value) => `${(JSON.stringify(value).length / 1024).toFixed(1)} KiB`;
  const copyCurl = (url, body) => copyButton("Copy as curl", curl(url, speaks, body), byId("wire"));
  byId("wire").replaceChildren(...calls.flatMap(({ name, address, request, answer }, place) => {
    const shown = answer.body ?? answer.text;
    return [
      jsonBlock(name ? `${name}answer` : "Answer", `${answer.status} · ${answer.ms} ms · ${size(shown)}`, shown, { open: open && !place }),
      jsonBlock(name ? `${name}request` : "Request", `POST /${address} · ${size(request)}`, request, { open: open && !place, extra: [copyCurl(address, request)] }),
    ];
  }));
}

// --- The services -------------------------------------------------------------------------------------------------------

async function showServices() {
  const result = await call("cds-services");
  const services = items(result.body?.services);
  byId("services").replaceChildren(...(result.ok ? services.map(serviceBox) : [problem(result)]));
}

function serviceBox(service) {
  const prefetch = Object.entries(service.prefetch ?? {});
  return el("article", { class: "service" },
    el("h3", {}, service.title ?? service.id),
    el("p", {}, el("code", {}, `POST /cds-services/${service.id}`)),
    el("p", {}, service.description),
    service.usageRequirements ? el("p", { class: "values" }, service.usageRequirements) : "",
    prefetch.length ? el("details", {}, el("summary", {}, plural(prefetch.length, "prefetch template")),
      el("ul", {}, prefetch.map(([key, query]) => el("li", {}, el("strong", {}, key), " ", el("code", {}, query))))) : "");
}

showServices();
if (byId("runner")) startRunner();
