"use strict";
// Titles are searched and rated; each change asks what else is predicted. Ratings stay in this tab.
const KEPT = "ratings";
const SHOWN = 6, LISTED = 10, ALIKE = 5, REASONS = 3, MOST_STARS = 10;
const at = (id) => document.getElementById(id);
const mine = new Map();  // by the item's id as a text: { item, title, rating }
const waiting = new Map();  // what was asked last, by what it is for
let scale = { lowest: 1, highest: 5, step: 1 };
let decimals = 1, groups = 0, listed = null;

function make(tag, attributes, ...children) {
  const svg = ["svg", "use", "line", "circle"].includes(tag);
  const one = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value !== undefined && value !== false) one.setAttribute(name, value === true ? "" : value);
  }
  one.append(...children);
  return one;
}

const nameOf = (one) => one.title ?? `Item ${one.item}`;
const shown = (value) => value.toFixed(decimals);
const plain = (value) => String(Number(value.toFixed(6)));
const many = (n, what) => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

async function ask(what, path, body) {
  waiting.get(what)?.abort();
  const control = new AbortController();
  waiting.set(what, control);
  const how = body && { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, { ...how, signal: control.signal });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error);
  at("error").hidden = true;
  return told;
}

function complain(error) {
  if (error.name === "AbortError") return;
  at("error").textContent = `The service does not answer: ${error.message}`;
  at("error").hidden = false;
}

// A way to rate: stars where the scale has few steps, halves of stars too, else a number.
function control(one) {
  const key = String(one.item), now = mine.get(key)?.rating;
  const { lowest, highest, step } = scale, steps = Math.round((highest - lowest) / step);
  if (!step || steps >= MOST_STARS) {
    const input = make("input", {
      type: "number", min: lowest, max: highest, step: step ?? "any", inputmode: "decimal", "data-item": key,
      "aria-label": `Your rating of ${nameOf(one)}, ${plain(lowest)} to ${plain(highest)}`,
      placeholder: `${plain(lowest)}–${plain(highest)}`, value: now,
    });
    input.addEventListener("change", () => {
      if (input.value !== "" && input.reportValidity()) rate(one, Number(input.value), input);
    });
    return input;
  }
  const group = `g${groups++}`, halves = step === 0.5;
  const stars = make("fieldset", { class: steps > 6 && !halves ? "stars many" : "stars", "data-item": key },
    make("legend", { class: "sr" }, `Your rating of ${nameOf(one)}`));
  for (let n = 0; n <= steps; n++) {
    const value = Number((lowest + n * step).toFixed(6)), whole = Number.isInteger(value);
    const half = halves && (!whole ? "left" : n && "right");
    const input = make("input", { type: "radio", name: group, value, checked: value === now,
      "aria-label": `${plain(value)} of ${plain(highest)}` });
    input.addEventListener("change", () => rate(one, value, input));
    stars.append(make("label", { class: half || undefined, title: plain(value) },
      make("svg", { "aria-hidden": "true" }, make("use", { href: "#star" })), input));
  }
  return stars;
}

function line(title, one, ...more) {
  return make("div", { class: "row" }, make("span", { class: "title" }, title),
    make("span", { class: "controls" }, control(one), ...more));
}

const row = (one, ...more) => make("li", {}, line(nameOf(one), one, ...more));

function rate(one, rating, where) {
  const key = String(one.item), place = [...at("items").children].findIndex((li) => li.contains(where));
  if (!mine.has(key)) at("mine").prepend(mineRow(one));
  mine.set(key, { item: one.item, title: one.title, rating });
  changed(key, place);
}

function mineRow(one) {
  const remove = make("button", { type: "button", class: "plain", "aria-label": `Remove ${nameOf(one)}`, title: "Remove" }, "×");
  const li = row(one, remove);
  remove.addEventListener("click", () => {
    const next = (li.nextElementSibling ?? li.previousElementSibling)?.querySelector("button");
    li.remove();
    mine.delete(String(one.item));
    (next ?? at("words")).focus();
    changed(String(one.item));
  });
  return li;
}

// All controls of an item show its rating, ratings are kept, and the list is asked for anew.
function changed(key, place = -1) {
  const rating = mine.get(key)?.rating;
  for (const one of document.querySelectorAll(`[data-item="${CSS.escape(key)}"]`)) {
    if (one.localName === "input") one.value = rating ?? "";
    for (const input of one.querySelectorAll("input")) input.checked = Number(input.value) === rating;
  }
  try { sessionStorage.setItem(KEPT, JSON.stringify([...mine.values()])); } catch { /* not allowed */ }
  count();
  list(place);
}

function count() {
  at("mine-heading").textContent = mine.size ? `Your ratings, ${mine.size}` : "Your ratings";
  at("none").hidden = mine.size > 0;
  at("clear").hidden = mine.size < 2;
  at("jump").hidden = !mine.size;
}

async function search() {
  const words = at("words").value.trim();
  try {
    const { items } = await ask("search", `items?${new URLSearchParams({ search: words, top: SHOWN })}`);
    renew(at("results"), items);
    const more = items.length === SHOWN ? ", the most rated first" : "";
    at("found").textContent = !words ? "Often rated, to begin with:"
      : items.length ? `${items.length === SHOWN ? "The first " : ""}${many(items.length, "title")} with “${words}”${more}:`
      : `Nothing with “${words}”.`;
  } catch (error) { complain(error); }
}

// What was found; a row that somebody is at stays under their hands when an answer comes late.
function renew(results, items) {
  const stays = [...results.children].find((li) => li.contains(document.activeElement));
  if (!stays) return results.replaceChildren(...items.map((one) => row(one)));
  const key = stays.querySelector("[data-item]").dataset.item;
  const found = items.findIndex((one) => String(one.item) === key), before = Math.max(found, 0);
  for (const li of [...results.children]) if (li !== stays) li.remove();
  stays.before(...items.slice(0, before).map((one) => row(one)));
  stays.after(...items.slice(found + 1).map((one) => row(one)));
}

const later = (work, milliseconds) => {
  let timer;
  return (...given) => { clearTimeout(timer); timer = setTimeout(work, milliseconds, ...given); };
};

const list = later(async (place) => {
  const ratings = Object.fromEntries([...mine].map(([key, one]) => [key, one.rating]));
  try {
    const { items } = await ask("list", "newcomer", { ratings, top: LISTED, why: mine.size > 0 });
    const before = listed;
    listed = new Set(items.map((one) => one.item));
    at("items").replaceChildren(...items.map((one) => predicted(one, before && !before.has(one.item))));
    at("list-heading").textContent = mine.size ? "Predicted for you" : "Predicted for anybody";
    const first = items[0] ? ` First is ${nameOf(items[0])}, ${shown(items[0].prediction)}.` : "";
    at("told").textContent = mine.size ? `By ${many(mine.size, "rating")} of yours.${first}`
      : "Who has rated nothing yet would like these; rate a few to see yours.";
    if (place >= 0) (at("items").children[place] ?? at("items").lastElementChild)?.querySelector("summary").focus();
  } catch (error) { complain(error); }
}, 60);

function predicted(one, isNew) {
  const inner = make("div", { class: "inner" });
  const details = make("details", {}, make("summary", {}, "Rate it, or see what is similar"), inner);
  details.addEventListener("toggle", () => {
    if (details.open && !inner.childElementCount) similar(one, inner);
  });
  const li = make("li", { class: isNew ? "new" : undefined, "data-listed": one.item },
    make("div", { class: "row" }, make("span", { class: "title" }, nameOf(one)),
      make("span", { class: "value", "aria-hidden": "true" }, shown(one.prediction))),
    interval(one));
  if (one.why?.length || one.about) li.append(because(one.why ?? [], one.about));
  li.append(details);
  return li;
}

function interval(one) {
  const share = (value) => `${(100 * (value - scale.lowest) / (scale.highest - scale.lowest || 1)).toFixed(1)}%`;
  const about = `Predicted ${shown(one.prediction)}; nine ratings of ten lie from ${shown(one.lower)} to ${shown(one.upper)}`;
  return make("svg", { class: "interval", role: "img", "aria-label": about },
    make("line", { class: "axis", x1: 0, x2: "100%", y1: 10, y2: 10 }),
    make("line", { class: "reach", x1: share(one.lower), x2: share(one.upper), y1: 10, y2: 10 }),
    make("circle", { cx: share(one.prediction), cy: 10, r: 6 }));
}

function because(reasons, about = []) {
  const ratings = reasons.slice(0, REASONS).map((one) => [nameOf(one), plain(one.rating), one.by]);
  const parts = [...ratings, ...about.map((one) => [one.column, one.value, one.by])].flatMap(([name, what, by], n) => [
    n ? ", " : "", make("b", {}, name), `\u00a0(${what})\u00a0${by < 0 ? "−" : "+"}${Math.abs(by).toFixed(decimals + 1)}`]);
  return make("p", { class: "why small quiet" }, "Because of ", ...parts);
}

async function similar(one, inner) {
  inner.append(line("Your rating", one));
  try {
    const { items } = await ask(`similar ${one.item}`, `similar?${new URLSearchParams({ item: one.item, top: ALIKE })}`);
    inner.append(make("h3", {}, "Similar, to rate too"), make("ul", { class: "rows" }, ...items.map((each) => row(each))));
  } catch (error) { complain(error); }
}

async function begin() {
  try {
    const told = await ask("model", "model");
    scale = told.scale;
    const span = scale.highest - scale.lowest || 1;
    decimals = Math.max(0, 1 - Math.round(Math.log10(span / 4)));
    if (!told.titles) at("words-label").textContent = "Search ids";
    at("about").textContent = `${many(told.ratings, "rating")} of ${many(told.items, "title")} by ${many(told.users, "user")}`;
    const rmse = told.card.held_out?.rmse?.[0];
    at("model").textContent = rmse ? `On ratings that were held out, predictions were off by ${rmse.toFixed(2)} (RMSE).` : "";
    at("ends").append(...[scale.lowest, (scale.lowest + scale.highest) / 2, scale.highest].map((v) => make("span", {}, plain(v))));
    try {
      for (const one of JSON.parse(sessionStorage.getItem(KEPT)) ?? []) {
        mine.set(String(one.item), one);
        at("mine").append(mineRow(one));
      }
    } catch { /* not allowed, or of another page */ }
    count();
    list();
    search();
  } catch (error) { complain(error); }
}

at("words").addEventListener("input", later(search, 150));
at("search").addEventListener("submit", (event) => { event.preventDefault(); search(); });
at("clear").addEventListener("click", () => {
  const keys = [...mine.keys()];
  mine.clear();
  at("mine").replaceChildren();
  keys.forEach((key) => changed(key));
  at("words").focus();
});
begin();
