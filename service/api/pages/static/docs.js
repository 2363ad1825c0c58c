// The reference page: sends what its forms hold to the service that served it, and shows the answer as it came.
"use strict";

for (const box of document.querySelectorAll("[data-try]")) {
  const form = box.querySelector("form");
  box.hidden = false;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    send(form);
  });
  form.querySelector("[data-choice]")?.addEventListener("change", () => choose(form));
  choose(form);
}
openNamed();
addEventListener("hashchange", openNamed);
if (matchMedia("(max-width: 60rem)").matches) document.querySelector(".contents details").open = false;

/** Put the chosen example into the form: its body, and its values in the path. */
function choose(form) {
  const option = form.querySelector("[data-choice]")?.selectedOptions[0];
  if (!option) return;
  form.elements.body.value = form.closest("article").querySelector(`[data-example="${option.value}"]`).textContent;
  for (const [name, value] of Object.entries(option.dataset)) form.elements[name].value = value;
}

/** A link into a closed part of the page opens it. */
function openNamed() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) named.open = true;
}

async function send(form) {
  const [button, said, shown] = ["button", ".said", "pre"].map((name) => form.querySelector(name));
  button.disabled = true;
  said.textContent = "Waiting for the answer …";
  const begun = performance.now();
  try {
    const response = await fetch(address(form), { method: form.dataset.method, ...message(form) });
    const text = await response.text();
    const taken = Math.round(performance.now() - begun);
    said.textContent = `${response.status} ${response.statusText} · ${taken} ms · ${text.length} characters`;
    shown.textContent = readable(text);
    shown.hidden = false;
  } catch {
    said.textContent = "No answer: the service cannot be reached.";
    shown.hidden = true;
  }
  button.disabled = false;
}

/** The URL, relative to this page, so that it holds behind a proxy too. */
function address(form) {
  const query = new URLSearchParams();
  let path = form.dataset.path.slice(1);
  for (const field of form.querySelectorAll("[data-in]")) {
    if (field.dataset.in === "path") path = path.replace(`{${field.name}}`, encodeURIComponent(field.value));
    if (field.dataset.in === "query" && field.value) query.set(field.name, field.value);
  }
  return `./${path}${query.size ? `?${query}` : ""}`;
}

/** Headers and body. */
function message(form) {
  const headers = {};
  const token = document.getElementById("token").value.trim();
  if (token && form.dataset.secured === "yes") headers.Authorization = `Bearer ${token}`;
  for (const field of form.querySelectorAll('[data-in="header"]')) if (field.value) headers[field.name] = field.value;
  if (!form.elements.body) return { headers };
  return { headers: { ...headers, "Content-Type": "application/json" }, body: form.elements.body.value };
}

function readable(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
