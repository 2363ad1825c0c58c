// A chart is sent to /explain and the page that comes back is put into this one. Nothing of it is kept.

/**
 * The explanation as an element of this document; throws an Error whose message says what was wrong.
 * Parsed apart: no script of it runs, and the policy of this page holds for it.
 */
export async function explanation(address, body, headers = {}) {
  const answer = await fetch(address, {
    method: "POST",
    body,
    headers: { "Content-Type": "application/json", Accept: "text/html", ...headers },
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(reason(text, answer.status));
  const found = new DOMParser().parseFromString(text, "text/html");
  const part = document.importNode(found.getElementById("explanation"), true);
  for (const link of part.querySelectorAll("a[href]")) link.href = new URL(link.getAttribute("href"), answer.url);
  return part;
}

function reason(text, status) {
  try {
    return JSON.parse(text).issue.map((issue) => issue.details.text).join(" ");
  } catch {
    return `The service answered with status ${status}.`;
  }
}

/** Whatever was pasted as the body of a request: a whole body as it is, resources as its Bundle, digits untouched. */
export function asBody(text, moment) {
  const value = JSON.parse(text);
  const whole = !Array.isArray(value) && !value.resourceType && (value.bundle || value.prefetch);
  const asOf = moment ? `"asOf":${JSON.stringify(moment)},` : "";
  return whole ? text.replace("{", `{${value.asOf ? "" : asOf}`) : `{${asOf}"bundle":${text}}`;
}

const form = document.getElementById("paste");
if (form) {
  const byId = (id) => document.getElementById(id);
  const say = (words) => (byId("said").textContent = words);
  const take = async (file) => { if (file) byId("chart").value = await file.text(); };
  form.hidden = false;
  byId("file").addEventListener("change", (event) => take(event.target.files[0]));
  form.addEventListener("dragover", (event) => event.preventDefault());
  form.addEventListener("drop", (event) => {
    if (!event.dataTransfer.files.length) return;
    event.preventDefault();
    take(event.dataTransfer.files[0]);
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("Asking …");
    byId("answer").replaceChildren();
    try {
      const part = await explanation("explain", asBody(byId("chart").value, byId("moment").value));
      byId("answer").replaceChildren(part);
      say("");
      part.querySelector("h1").scrollIntoView();
    } catch (error) {
      say(error instanceof SyntaxError ? `This is not JSON: ${error.message}` : error.message);
    }
  });
}
