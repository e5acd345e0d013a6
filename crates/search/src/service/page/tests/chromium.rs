//! Debian's Chromium, driven through WebDriver (<https://www.w3.org/TR/webdriver2/>) and, for what that does not know,
//! Chromium's own protocol (<https://chromedevtools.github.io/devtools-protocol/>).

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A browser without a window, that ends when it is dropped or whoever started it is gone.
pub(super) struct Browser {
    driver: Child,
    session: String,
    /// What the browser remembers, for as long as it runs.
    _profile: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) dark: bool,
}

pub(super) const PHONE: Look = Look {
    width: 360,
    height: 740,
    dark: false,
};

pub(super) const DESK: Look = Look {
    width: 1280,
    height: 800,
    dark: false,
};

impl Look {
    pub(super) const fn dark(self) -> Look {
        Look { dark: true, ..self }
    }
}

impl Browser {
    /// Starts one. `None`, and a loud word, where there is none.
    pub(super) fn start() -> Option<Browser> {
        // What a killed test leaves behind ends as well: the driver by signal, the browser when its pipe breaks.
        let driver = Command::new("setpriv")
            .args(["--pdeathsig", "KILL", "chromedriver", "--port=0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut driver = driver.expect("setpriv is part of every Debian");
        let stdout = BufReader::new(driver.stdout.take().unwrap());
        let port = stdout.lines().find_map(|line| {
            let line = line.ok()?;
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        let Some(port) = port else {
            driver.wait().unwrap();
            assert!(std::env::var_os("CI").is_none(), "no chromedriver");
            eprintln!(
                "SKIPPED: no chromedriver here, so nobody looked at the page. Do: apt-get install chromium-driver"
            );
            return None;
        };
        let profile = tempfile::tempdir().unwrap();
        let directory = format!("--user-data-dir={}", profile.path().display());
        let mut args = vec![
            "--headless=new",
            "--remote-debugging-pipe",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &directory,
        ];
        if is_root() {
            // Chromium refuses to be root in a sandbox; what it loads is ours.
            args.push("--no-sandbox");
        }
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome", "goog:chromeOptions": { "args": args },
        } } });
        let driver_url = format!("http://127.0.0.1:{port}/session");
        let mut browser = Browser {
            driver,
            session: String::new(),
            _profile: profile,
        };
        let started = browser.post_to(&driver_url, &wanted);
        browser.session = format!("{driver_url}/{}", started["sessionId"].as_str().unwrap());
        Some(browser)
    }

    fn post_to(&self, url: &str, body: &Value) -> Value {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .new_agent();
        let mut answer = agent.post(url).send_json(body).unwrap();
        let told: Value = answer.body_mut().read_json().unwrap();
        assert!(answer.status().is_success(), "{url} {body}: {told}");
        told["value"].clone()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        self.post_to(&format!("{}/{command}", self.session), body)
    }

    /// A command of Chromium's own protocol.
    fn cdp(&self, command: &str, params: &Value) -> Value {
        self.post(
            "goog/cdp/execute",
            &json!({ "cmd": command, "params": params }),
        )
    }

    pub(super) fn look(&self, look: Look) {
        let Look {
            width,
            height,
            dark,
        } = look;
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.cdp("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if dark { "dark" } else { "light" };
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.cdp("Emulation.setEmulatedMedia", &features);
    }

    pub(super) fn allow_scripts(&self, allowed: bool) {
        self.cdp(
            "Emulation.setScriptExecutionDisabled",
            &json!({ "value": !allowed }),
        );
    }

    pub(super) fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Runs the body of a function in the page.
    pub(super) fn run(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    pub(super) fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector({selector:?})?.innerText ?? ''");
        self.run(&script).as_str().unwrap().to_owned()
    }

    /// Presses and lets go of a key, by its name in DOM.
    pub(super) fn press(&self, key: &str, code: u32) {
        for kind in ["rawKeyDown", "keyUp"] {
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            self.cdp("Input.dispatchKeyEvent", &event);
        }
    }

    /// Waits until an expression holds in the page, however slow this machine is.
    pub(super) fn wait_for(&self, expression: &str) {
        let patience = Instant::now() + Duration::from_secs(60);
        while self.run(&format!("return Boolean({expression})")) != true {
            assert!(
                Instant::now() < patience,
                "never came true: {expression}\n{}",
                self.text("body")
            );
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Keeps a picture of the whole page in `target/screenshots`.
    pub(super) fn keep(&self, name: &str) {
        let params = json!({ "format": "png", "captureBeyondViewport": true });
        let picture = self.cdp("Page.captureScreenshot", &params);
        let dir = PathBuf::from(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../target/screenshots"
        ));
        fs::create_dir_all(&dir).unwrap();
        let bytes = STANDARD.decode(picture["data"].as_str().unwrap()).unwrap();
        fs::write(dir.join(format!("{name}.png")), bytes).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser ends when its pipe breaks.
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    status.lines().any(|line| line.starts_with("Uid:\t0\t"))
}
