//! The page of a real search, in a real browser. What made-up searches look like is tested beside the page itself.

#[path = "../src/service/page/tests/chromium.rs"]
#[allow(dead_code)] // Shared with those tests.
mod chromium;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use chromium::{Browser, DESK};

/// `run --serve`, for as long as it is held.
struct Search {
    process: Child,
    url: String,
}

impl Search {
    fn start(len: &str) -> Search {
        let worlds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/worlds");
        let mut process = Command::new(env!("CARGO_BIN_EXE_bramble-search"))
            .current_dir(worlds)
            .args(["run", "--serve", "127.0.0.1:0", "--stay", "--threads", "1"])
            .args(["--world", "axiom-verge.toml", "--fill", "guarded"])
            .args(["--rng", "dotnet", "--level", "default,masochist"])
            .args(["--len", len, "--json"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(process.stderr.take().unwrap());
        let mut url = String::new();
        while !url.contains("watch it at ") {
            url.clear();
            assert!(stderr.read_line(&mut url).unwrap() > 0, "it ended at once");
        }
        // Nobody waits for what else it has to say.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let (_, url) = url.trim().split_once("watch it at ").unwrap();
        Search {
            process,
            url: url.to_owned(),
        }
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn it_follows_a_search_that_runs() {
    let Some(browser) = Browser::start() else {
        return;
    };
    // It will not end while we look.
    let search = Search::start("4294967296");
    browser.look(DESK);
    browser.open(&search.url);
    browser.wait_for("document.getElementById('state').innerText.includes('Searching')");
    browser.wait_for("document.getElementById('link-state').innerText === 'Live'");
    browser.run("document.body.dataset.mark = 'kept'");
    let big = "document.querySelector('.big b').innerText";
    let before = browser.run(&format!("return {big}"));
    browser.wait_for(&format!("{big} !== {before}"));
    browser.wait_for("document.querySelector('#map-0 :is(.l, .p, .d)')");
    browser.wait_for("document.getElementById('nodes').innerText.includes('here')");
    assert_eq!(browser.run("return document.body.dataset.mark"), "kept");
    browser.keep("real-running");
}

#[test]
fn it_shows_a_search_that_has_ended() {
    let Some(browser) = Browser::start() else {
        return;
    };
    let search = Search::start("100000");
    browser.look(DESK);
    browser.open(&search.url);
    browser.wait_for("document.getElementById('state').innerText.includes('Finished')");
    browser.wait_for("document.querySelector('.big b').innerText === '100 %'");
    assert_eq!(
        browser.run("return document.querySelectorAll('.map .o, .map .l').length"),
        0
    );
    browser.keep("real-ended");
    // Any seed is explained by computing it again.
    browser.open(&format!("{}/seed/masochist/99999", search.url));
    assert!(browser.text("h1").contains("99,999"));
    assert!(browser.text("main").contains("Sphere 1"));
}
