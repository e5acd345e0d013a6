// Keeps the page up to date. Without it everything is there as well, as of when the page was loaded.
"use strict";

const main = document.getElementById("main");
const link = document.getElementById("link");
const linkState = document.getElementById("link-state");
const pause = document.getElementById("pause");

const WORDS = { o: "open", l: "on loan", p: "partly done", c: "awaits a second opinion", d: "done", v: "verified", x: "disputed" };
let source = null;

function connect() {
  source = new EventSource(main.dataset.events);
  source.addEventListener("open", () => { linkState.textContent = "Live"; });
  source.addEventListener("frame", (event) => show(JSON.parse(event.data)));
  source.addEventListener("error", () => { linkState.textContent = "Not live, trying again"; });
}

function show(frame) {
  for (const [id, code] of Object.entries(frame.maps)) {
    const squares = document.getElementById(id)?.children;
    const classes = code.match(/.-?/g) ?? [];
    // Another job, of another size: the page has to be made anew.
    if (squares?.length !== classes.length) return location.reload();
    classes.forEach((letter, i) => {
      const name = letter.replace("-", " j");
      if (squares[i].className !== name) squares[i].className = name;
    });
  }
  for (const [id, html] of Object.entries(frame.html)) {
    const part = document.getElementById(id);
    if (!part) return location.reload();
    replace(part, html);
  }
  if (frame.title) document.title = frame.title;
  maps.forEach((map) => map.tell());
}

// Replaces what is in an element, and gives the focus back to whom it belonged.
function replace(part, html) {
  const links = () => [...part.querySelectorAll("a, [tabindex]")];
  const focused = links().indexOf(document.activeElement);
  const scrolled = part.querySelector(".scroll")?.scrollTop ?? 0;
  part.innerHTML = html;
  if (focused >= 0) links()[focused]?.focus({ preventScroll: true });
  const scroll = part.querySelector(".scroll");
  if (scroll) scroll.scrollTop = scrolled;
}

// A map that tells of the square under the pointer, or of the one that the arrow keys chose.
class Map_ {
  constructor(element) {
    this.element = element;
    this.readout = document.getElementById(element.id.replace("map-", "readout-"));
    this.rest = this.readout.textContent;
    this.chosen = null;
    element.tabIndex = 0;
    element.setAttribute("role", "slider");
    element.setAttribute("aria-label", element.ariaLabel.split(";")[0] + ", square by square");
    element.setAttribute("aria-valuemin", 0);
    element.setAttribute("aria-valuemax", element.children.length - 1);
    element.setAttribute("aria-valuenow", 0);
    element.setAttribute("aria-valuetext", this.rest);
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("focus", () => { if (element.matches(":focus-visible")) this.choose(this.chosen ?? 0); });
    element.addEventListener("blur", () => this.choose(null));
    element.addEventListener("pointerover", (event) => this.choose(this.index(event.target)));
    element.addEventListener("pointerleave", () => this.choose(null));
  }

  index(cell) {
    const index = [...this.element.children].indexOf(cell);
    return index < 0 ? null : index;
  }

  key(event) {
    const width = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const last = this.element.children.length - 1;
    const at = this.chosen ?? 0;
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + width, ArrowUp: at - width, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.choose(Math.max(0, Math.min(last, to)));
  }

  choose(index) {
    this.element.querySelector("[data-chosen]")?.removeAttribute("data-chosen");
    this.chosen = index;
    if (index !== null) this.element.children[index].dataset.chosen = "";
    this.tell();
  }

  tell() {
    if (this.chosen === null) { this.readout.textContent = this.rest; return; }
    const { start, len, size, mark } = this.element.dataset;
    const first = Number(start) + this.chosen * Number(size);
    const last = Math.min(first + Number(size), Number(start) + Number(len)) - 1;
    const letter = this.element.children[this.chosen].className[0];
    const word = WORDS[letter.toLowerCase()] + (letter === letter.toLowerCase() ? "" : `, ${mark}`);
    const text = `Seeds ${first.toLocaleString("en")} to ${last.toLocaleString("en")}: ${word}`;
    this.readout.textContent = text;
    this.element.setAttribute("aria-valuenow", this.chosen);
    this.element.setAttribute("aria-valuetext", text);
  }
}

const maps = [...document.querySelectorAll(".map:not(:empty)")].map((element) => new Map_(element));

if (main?.dataset.events) {
  link.hidden = false;
  pause.addEventListener("click", () => {
    if (source) { source.close(); source = null; pause.textContent = "Resume"; linkState.textContent = "Paused"; }
    else { pause.textContent = "Pause"; connect(); }
  });
  connect();
}
