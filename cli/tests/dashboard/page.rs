//! One page in a browser: what a person does with it, and everything that goes on behind it.

use crate::browser::Browser;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A page, and what it was seen to do.
pub(crate) struct Page {
    browser: Browser,
    session: String,
    /// Words in the console, exceptions, what the policy blocked.
    pub(crate) complaints: Vec<String>,
    /// Addresses that were asked for.
    pub(crate) requests: Vec<String>,
}

impl Page {
    /// An empty page.
    pub(crate) fn open(mut browser: Browser) -> Self {
        let target = browser.call(None, "Target.createTarget", json!({ "url": "about:blank" }));
        let target = target["targetId"].as_str().unwrap();
        let attached = browser.call(
            None,
            "Target.attachToTarget",
            json!({ "targetId": target, "flatten": true }),
        );
        let session = attached["sessionId"].as_str().unwrap().to_owned();
        let mut page = Self {
            browser,
            session,
            complaints: vec![],
            requests: vec![],
        };
        for domain in ["Page", "Runtime", "Log", "Network", "DOM", "Accessibility"] {
            page.call(&format!("{domain}.enable"), json!({}));
        }
        page
    }

    /// Has the page do something.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.browser.call(Some(&self.session), method, params)
    }

    /// Goes somewhere and waits until it is there.
    pub(crate) fn go(&mut self, url: &str) {
        self.call("Page.navigate", json!({ "url": url }));
        self.until(
            "the page is there",
            &format!(
                "location.href === {} && document.readyState === 'complete'",
                json!(url)
            ),
        );
    }

    /// The value of an expression.
    pub(crate) fn value(&mut self, expression: &str) -> Value {
        let asked = json!({ "expression": expression, "returnByValue": true, "awaitPromise": true });
        let mut answer = self.call("Runtime.evaluate", asked);
        assert!(
            answer["exceptionDetails"].is_null(),
            "{expression}: {}",
            answer["exceptionDetails"]
        );
        answer["result"]["value"].take()
    }

    /// The text of the first element that a selector finds.
    pub(crate) fn text(&mut self, selector: &str) -> String {
        let text = self.value(&format!(
            "document.querySelector({})?.textContent ?? ''",
            json!(selector)
        ));
        text.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true; how long that took.
    #[track_caller]
    pub(crate) fn until(&mut self, what: &str, expression: &str) -> Duration {
        let begun = Instant::now();
        while !self.holds(expression) {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "{what}: {}",
                self.text("body")
            );
            std::thread::sleep(Duration::from_millis(25));
        }
        begun.elapsed()
    }

    /// Clicks on an element as soon as it is there, before the page can have changed again.
    #[track_caller]
    pub(crate) fn until_clicked(&mut self, what: &str, element: &str) {
        let clicked =
            format!("(() => {{ const found = {element}; found?.click(); return Boolean(found) }})()");
        self.until(what, &clicked);
    }

    fn holds(&mut self, expression: &str) -> bool {
        let asked = json!({ "expression": expression, "returnByValue": true });
        let answer = self.browser.ask(Some(&self.session), "Runtime.evaluate", asked);
        // In a page that is being left nothing can be evaluated.
        answer.is_ok_and(|answer| answer["result"]["value"] == Value::Bool(true))
    }

    /// Has the page take in nothing new, as it does while nobody sees it, until it is loaded again.
    pub(crate) fn hold_still(&mut self) {
        self.value(
            "Object.defineProperty(document, 'hidden', { value: true, configurable: true }); \
             document.dispatchEvent(new Event('visibilitychange'))",
        );
    }

    /// Types a text into what has the focus.
    pub(crate) fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    /// Presses a key, such as `Tab` or `Enter`.
    pub(crate) fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            other => panic!("{other} is not known here"),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = text.into();
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// A screen of this size, in light or dark.
    pub(crate) fn screen(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.call("Emulation.setDeviceMetricsOverride", size);
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.call("Emulation.setEmulatedMedia", features);
    }

    /// What is to be seen, as PNG; the whole page or the screen.
    pub(crate) fn picture(&mut self, whole: bool) -> Vec<u8> {
        let mut shot = self.call(
            "Page.captureScreenshot",
            json!({ "format": "png", "captureBeyondViewport": whole }),
        );
        decoded(shot["data"].take().as_str().unwrap())
    }

    /// Takes down what has happened since.
    pub(crate) fn take_down(&mut self) {
        for event in self.browser.events() {
            let (method, params) = (event["method"].as_str().unwrap_or_default(), &event["params"]);
            match method {
                "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" | "Log.entryAdded" => {
                    self.complaints.push(params.to_string());
                }
                "Network.requestWillBeSent" => {
                    self.requests
                        .push(params["request"]["url"].as_str().unwrap().to_owned());
                }
                _ => {}
            }
        }
    }
}

/// Bytes of Base64 text.
fn decoded(text: &str) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut count) = (vec![], 0u32, 0);
    for digit in text.bytes().filter(|digit| *digit != b'=') {
        bits = bits << 6 | DIGITS.iter().position(|known| *known == digit).unwrap() as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
