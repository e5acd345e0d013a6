"use strict";
// Shows what happens, once a second while somebody looks. Logs are fetched when they are opened or searched, and again when
// they have become longer.
const lost = document.getElementById("lost");
const fetched = new WeakMap();
const PAUSE = 1000;

async function ask(path) {
  const answer = await fetch(path);
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return text;
}

async function load(pre) {
  const { source, bytes } = pre.dataset;
  if (fetched.get(pre) === bytes) return;
  const text = await ask(source);
  fetched.set(pre, bytes);
  const follows = !texts.has(pre) || pre.scrollTop + pre.clientHeight >= pre.scrollHeight - 4;
  texts.set(pre, text);
  if (field.value !== "") return;
  pre.textContent = text;
  if (follows) pre.scrollTop = pre.scrollHeight;
}

// Replaces what has changed, and nothing that somebody may be reading.
function replace(old, fresh) {
  const before = [...old.children];
  const after = [...fresh.children];
  if (before.length !== after.length) {
    old.replaceChildren(...after);
    return;
  }
  before.forEach((part, at) => {
    if (part.isEqualNode(after[at])) return;
    const focus = part.contains(document.activeElement) && document.activeElement.getAttribute("href");
    part.replaceWith(after[at]);
    if (focus) after[at].querySelector(`a[href="${CSS.escape(focus)}"]`)?.focus({ preventScroll: true });
  });
}

const byName = (logs) => new Map([...logs].map((it) => [it.dataset.file, it]));

// Logs come, grow, and go with a lab; those that are there stay as open as they are.
function updateLogs(fresh) {
  const last = document.getElementById("logs-others");
  for (const group of document.querySelectorAll(".logs")) {
    if (!fresh.getElementById(group.id)) group.remove();
  }
  for (const group of fresh.querySelectorAll(".logs")) {
    const mine = document.getElementById(group.id);
    if (!mine) {
      last.before(group);
      continue;
    }
    const [before, after] = [mine, group].map((it) => byName(it.querySelectorAll("details")));
    for (const [file, old] of before) {
      const log = after.get(file);
      if (!log) {
        old.remove();
        continue;
      }
      old.querySelector(".size").textContent = log.querySelector(".size").textContent;
      // It has become too long to be shown whole.
      const whole = log.querySelector("p");
      if (whole && !old.querySelector("p")) old.querySelector("pre").before(whole);
      old.querySelector("pre").dataset.bytes = log.querySelector("pre").dataset.bytes;
    }
    for (const [file, log] of after) {
      if (!before.has(file)) mine.append(log);
    }
  }
}

async function look() {
  const fresh = new DOMParser().parseFromString(await ask("now"), "text/html");
  const now = fresh.getElementById("now");
  document.title = now.dataset.title;
  replace(document.getElementById("now"), now);
  updateLogs(fresh);
  await Promise.all(logs().filter((pre) => pre.closest("details").open).map(load));
  lost.hidden = true;
}

async function goOn() {
  if (!document.hidden) {
    await look().catch((error) => {
      if (lost.hidden) lost.textContent = `As it was at ${new Date().toLocaleTimeString()}. No answer since: ${error.message}`;
      lost.hidden = false;
    });
  }
  setTimeout(goOn, PAUSE);
}

// Search finds what is there.
field.addEventListener("input", async () => {
  if (field.value === "") return;
  await Promise.allSettled(logs().map(load));
  search();
});
// The event of a log that is opened does not bubble.
document.addEventListener("toggle", (event) => event.target.open && load(event.target.querySelector("pre")).catch(() => {}), true);
goOn();
