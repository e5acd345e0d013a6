"use strict";
// Search shows, in every log, the lines that have the text, with their numbers; without a text, all lines.
const logs = [...document.querySelectorAll("pre[data-log]")].map((pre) => ({ pre, lines: null }));
const field = document.getElementById("search");
const found = document.getElementById("found");
const MOST = 500;

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

function search() {
  const text = field.value.toLowerCase();
  let total = 0;
  for (const log of logs) {
    log.lines ??= log.pre.textContent.split("\n");
    const details = log.pre.closest("details");
    const hits = details.querySelector(".hits");
    details.hidden = false;
    if (text === "") {
      log.pre.textContent = log.lines.join("\n");
      details.open = false;
      hits.textContent = "";
      continue;
    }
    const numbers = [...log.lines.keys()].filter((at) => log.lines[at].toLowerCase().includes(text));
    total += numbers.length;
    hits.textContent = numbers.length === 0 ? "" : numbers.length === 1 ? "1 line" : `${numbers.length} lines`;
    details.hidden = numbers.length === 0;
    details.open = numbers.length > 0;
    const shown = numbers.slice(0, MOST).flatMap((at) => [piece("i", `${at + 1}`.padStart(6) + "  "), ...marked(log.lines[at], text)]);
    if (numbers.length > MOST) shown.push(piece("i", `… and ${numbers.length - MOST} more`));
    log.pre.replaceChildren(...shown);
  }
  found.textContent = text === "" ? "" : total === 1 ? "1 line" : `${total} lines`;
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
