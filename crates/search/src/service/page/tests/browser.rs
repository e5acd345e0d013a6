//! The page as a browser shows it: what a person sees, reaches and reads.

use std::sync::Arc;

use serde_json::Value;

use super::super::sample;
use super::chromium::{Browser, DESK, Look, PHONE};
use super::server::Server;

/// Every text that can be seen, with its contrast, as in WCAG 2.2, success criterion 1.4.3.
const CONTRASTS: &str = r#"
const channels = (color) => color.match(/[\d.]+/g).map(Number);
const luminance = ([r, g, b]) => [[r, 0.2126], [g, 0.7152], [b, 0.0722]].reduce((sum, [value, weight]) => {
  const part = value / 255;
  return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
}, 0);
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const color = channels(getComputedStyle(at).backgroundColor);
    if (color.length === 3 || color[3] === 1) return color;
  }
  return [255, 255, 255];
};
const found = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || !element.checkVisibility() || element.closest(".hidden, .skip, script, noscript, option")) continue;
  const [a, b] = [channels(getComputedStyle(element).color), ground(element)].map(luminance);
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  found.push([text, contrast]);
}
return found;
"#;

/// Elements that stick out to the right, other than inside what scrolls by itself.
const OVERFLOWING: &str = r#"
const width = document.documentElement.clientWidth;
const out = [...document.body.querySelectorAll("*")].filter((element) =>
  !element.closest(".scroll, .scroll-x, pre, .hidden, .skip, svg") && element.getBoundingClientRect().right > width + 0.5);
const cut = [...document.querySelectorAll(".scroll-x")].filter((element) => element.scrollWidth > element.clientWidth);
return [document.documentElement.scrollWidth > width ? "the page scrolls sideways" : "", ...[...out, ...cut].map((element) => element.outerHTML.slice(0, 120))]
  .filter(Boolean);
"#;

const LOOKS: [(&str, Look); 4] = [
    ("phone-light", PHONE),
    ("phone-dark", PHONE.dark()),
    ("desk-light", DESK),
    ("desk-dark", DESK.dark()),
];

fn is_readable(browser: &Browser, what: &str) {
    assert_eq!(browser.run(OVERFLOWING), serde_json::json!([]), "{what}");
    let texts = browser.run(CONTRASTS);
    let texts = texts.as_array().unwrap();
    assert!(texts.len() > 10, "{what}: hardly any text: {texts:?}");
    let faint = |text: &&Value| text[1].as_f64().unwrap() < 4.5;
    let faint: Vec<&Value> = texts.iter().filter(faint).collect();
    assert!(faint.is_empty(), "{what}: too faint: {faint:?}");
}

/// Looks at a page in every way, and keeps pictures.
fn look_at(browser: &Browser, url: &str, name: &str) {
    for (look_name, look) in LOOKS {
        browser.look(look);
        browser.open(url);
        is_readable(browser, &format!("{name}, {look_name}"));
        browser.keep(&format!("{name}-{look_name}"));
    }
}

#[test]
fn every_state_is_readable_on_every_screen() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let states = [
        (
            "running",
            sample::running(),
            ["Searching", "seeds per second", "axiom-verge.toml"],
        ),
        ("ended", sample::ended(), ["Finished", "100 %", "Took"]),
        (
            "filtered",
            sample::filtered(),
            ["where item(", "Found", "As asked for"],
        ),
        (
            "disputed",
            sample::disputed(),
            ["Disputed", "worker1 against worker7", "advanced"],
        ),
    ];
    for (name, state, sentences) in states {
        let server = Server::showing(sample::view(state));
        look_at(&browser, &format!("http://{}/", server.address), name);
        let text = browser.text("body");
        for sentence in sentences {
            assert!(text.contains(sentence), "{name}: no {sentence:?} in {text}");
        }
    }
    let server = Server::showing(Default::default());
    look_at(&browser, &format!("http://{}/", server.address), "waiting");
    assert!(browser.text("main").contains("No search yet"));
}

#[test]
fn a_seed_is_readable_on_every_screen() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::showing(sample::view(sample::running()));
    look_at(
        &browser,
        &format!("http://{}/seed/advanced/1302774121", server.address),
        "seed",
    );
    assert!(browser.text("h1").contains("1,302,774,121"));
}

#[test]
fn the_page_follows_the_search() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let mut first = sample::empty("default");
    first.levels = sample::running().levels;
    let server = Server::showing(sample::view(first));
    browser.look(DESK);
    browser.open(&format!("http://{}/", server.address));
    browser.wait_for("document.getElementById('link-state').innerText === 'Live'");
    assert!(browser.text("#state").contains("Waiting for nodes"));
    browser.run("document.getElementById('map-2').firstElementChild.dataset.mark = 'kept'");
    server
        .views
        .send_replace(Arc::new(sample::view(sample::running())));
    browser.wait_for("document.getElementById('state').innerText.includes('Searching')");
    browser.wait_for("document.getElementById('nodes').innerText.includes('worker3')");
    server
        .views
        .send_replace(Arc::new(sample::view(sample::ended())));
    browser.wait_for("document.getElementById('state').innerText.includes('Finished')");
    browser.wait_for("document.querySelectorAll('#map-2 .o, #map-2 .l').length === 0");
    // It is the same page still, not a new one.
    assert_eq!(
        browser.run("return document.getElementById('map-2').firstElementChild.dataset.mark"),
        "kept"
    );
    // What moves can be stopped.
    browser.run("document.getElementById('pause').click()");
    assert_eq!(browser.text("#link-state"), "Paused");
}

#[test]
fn everything_is_there_without_scripts() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::showing(sample::view(sample::running()));
    let url = format!("http://{}/", server.address);
    browser.look(DESK);
    browser.open(&url);
    let with = browser.text("main");
    browser.allow_scripts(false);
    browser.open(&url);
    assert_eq!(browser.text("main"), with);
    let claims = browser.run("return document.getElementById('link').checkVisibility()");
    assert_eq!(claims, false, "nothing claims to be live");
    assert!(browser.text("footer").contains("Reload the page"));
    is_readable(&browser, "without scripts");
}

#[test]
fn the_keyboard_reaches_everything_in_order() {
    const TAB: u32 = 9;
    const RIGHT: u32 = 39;
    let Some(browser) = Browser::start() else {
        return;
    };
    let server = Server::showing(sample::view(sample::running()));
    browser.look(DESK);
    let url = format!("http://{}/", server.address);
    browser.open(&url);
    browser.wait_for("document.getElementById('link-state').innerText === 'Live'");
    let mut order = Vec::new();
    loop {
        browser.press("Tab", TAB);
        let script = "const at = document.activeElement;
            if (at === document.body) return null;
            const seen = at.matches(':focus-visible') && getComputedStyle(at).outlineStyle !== 'none';
            return [at.getAttribute('aria-label') ?? at.labels?.[0]?.innerText ?? at.innerText, seen]";
        let Value::Array(at) = browser.run(script) else {
            break;
        };
        assert_eq!(at[1], true, "the focus cannot be seen on {}", at[0]);
        order.push(at[0].as_str().unwrap().trim().to_owned());
        assert!(order.len() < 100, "no end to it: {order:?}");
    }
    insta::assert_snapshot!(order.join("\n"));

    // From the start again, to the first map.
    browser.open(&url);
    while browser.run("return document.activeElement.id") != "map-0" {
        browser.press("Tab", TAB);
    }
    browser.press("ArrowRight", RIGHT);
    browser.press("ArrowRight", RIGHT);
    let told = "Seeds 16,777,216 to 25,165,823: done";
    assert_eq!(browser.text("#readout-0"), told);
    let map = "document.getElementById('map-0')";
    assert_eq!(
        browser.run(&format!("return {map}.getAttribute('aria-valuetext')")),
        told
    );
}
