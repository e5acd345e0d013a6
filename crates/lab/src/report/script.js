"use strict";
// Search shows, in every log, the lines that have the text, with their numbers; without a text, all lines.
const field = document.getElementById("search");
const found = document.getElementById("found");
const MOST = 500;
// What each log says, whatever of it is shown.
const texts = new WeakMap();

const logs = () => [...document.querySelectorAll("pre[data-log]")];

function textOf(pre) {
  if (!texts.has(pre)) texts.set(pre, pre.textContent);
  return texts.get(pre);
}

function piece(name, text) {
  const element = document.createElement(name);
  element.textContent = text;
  return element;
}

function marked(line, text) {
  const parts = [];
  const lower = line.toLowerCase();
  let from = 0;
  for (let at = lower.indexOf(text); at >= 0; at = lower.indexOf(text, from)) {
    parts.push(line.slice(from, at), piece("mark", line.slice(at, at + text.length)));
    from = at + text.length;
  }
  return [...parts, line.slice(from), "\n"];
}

const plural = (count) => (count === 1 ? "1 line" : `${count} lines`);

// Shows what of a log has the text, and says how many lines that is.
function searchIn(pre, text) {
  const details = pre.closest("details");
  const hits = details.querySelector(".hits");
  const lines = textOf(pre).split("\n");
  const numbers = [...lines.keys()].filter((at) => lines[at].toLowerCase().includes(text));
  hits.textContent = numbers.length === 0 ? "" : plural(numbers.length);
  details.hidden = numbers.length === 0;
  details.open = numbers.length > 0;
  const shown = numbers.slice(0, MOST).flatMap((at) => [piece("i", `${at + 1}`.padStart(6) + "  "), ...marked(lines[at], text)]);
  if (numbers.length > MOST) shown.push(piece("i", `… and ${numbers.length - MOST} more`));
  pre.replaceChildren(...shown);
  return numbers.length;
}

function search() {
  const text = field.value.toLowerCase();
  if (text !== "") {
    found.textContent = plural(logs().reduce((total, pre) => total + searchIn(pre, text), 0));
    return;
  }
  for (const pre of logs()) {
    const details = pre.closest("details");
    pre.textContent = textOf(pre);
    details.hidden = details.open = false;
    details.querySelector(".hits").textContent = "";
  }
  found.textContent = "";
}

let pending;
field.addEventListener("input", () => {
  clearTimeout(pending);
  pending = setTimeout(search, 150);
});

// Whoever follows a link to a machine wants to read its console.
function open() {
  const target = document.getElementById(location.hash.slice(1));
  const details = target?.querySelector("details");
  if (!details) return;
  details.open = true;
  const pre = details.querySelector("pre");
  pre.scrollTop = pre.scrollHeight;
}
addEventListener("hashchange", open);
open();
