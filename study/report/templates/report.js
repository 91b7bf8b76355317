"use strict";
// What a mark means is shown where it is pointed at, and its trial stands out in every chart.
const tip = document.getElementById("tip");

for (const title of document.querySelectorAll(".plot title")) {
  title.parentNode.dataset.tip = title.textContent;
  title.remove();
}

function light(trial, on) {
  if (trial === undefined) return;
  for (const one of document.querySelectorAll(`[data-t="${CSS.escape(trial)}"]`)) {
    one.classList.toggle("hot", on);
  }
}

let shown = null;

function show(event) {
  const mark = event.target.closest("[data-tip]");
  if (mark !== shown) {
    if (shown) light(shown.dataset.t, false);
    shown = mark;
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    light(mark.dataset.t, true);
  }
  if (!mark) return;
  const box = tip.getBoundingClientRect();
  const left = Math.min(event.clientX + 14, document.documentElement.clientWidth - box.width - 8);
  const above = event.clientY - box.height - 14;
  tip.style.transform =
    `translate(${Math.max(8, left)}px, ${above < 8 ? event.clientY + 18 : above}px)`;
}

document.addEventListener("pointermove", show);
document.addEventListener("pointerdown", show);

async function copy(code) {
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    return document.execCommand("copy");  // where the page comes over plain HTTP
  }
}

for (const button of document.querySelectorAll("button[data-copies]")) {
  button.hidden = false;
  const name = button.textContent;
  button.addEventListener("click", async () => {
    const done = await copy(document.getElementById(button.dataset.copies));
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    setTimeout(() => { button.textContent = name; }, 1500);
  });
}
