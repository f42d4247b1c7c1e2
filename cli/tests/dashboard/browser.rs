//! A headless Chromium as a child process. It is spoken to over pipes, not over a port: nobody else can.

use serde_json::{Value, json};
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A browser without a page of anybody in it.
pub(crate) struct Browser {
    child: Child,
    /// `None` once it was asked to end.
    stdin: Option<ChildStdin>,
    said: Receiver<Value>,
    events: VecDeque<Value>,
    next: u64,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts one.
    pub(crate) fn start() -> Self {
        let program = ["chromium", "chromium-browser", "google-chrome"]
            .into_iter()
            .find(|name| is_there(name))
            .expect("this test needs Chromium, and there is none on this machine (docs/dashboard.md)");
        let profile = tempfile::tempdir().unwrap();
        let flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ];
        // The browser reads from descriptor 3 and writes to 4, which the shell makes of this child's standard ones.
        let mut child = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1",
                program,
            ])
            .args(flags)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().unwrap());
        let (tell, said) = sync_channel(4096);
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut message = vec![];
            while stdout.read_until(0, &mut message).is_ok_and(|read| read > 0) {
                message.pop();
                let told = serde_json::from_slice(&message).is_ok_and(|value| tell.send(value).is_ok());
                if !told {
                    return;
                }
                message.clear();
            }
        });
        Self {
            child,
            stdin,
            said,
            events: VecDeque::new(),
            next: 0,
            _profile: profile,
        }
    }

    /// Has it do something, in a page where a session is given, and waits for the answer.
    pub(crate) fn call(&mut self, session: Option<&str>, method: &str, params: Value) -> Value {
        let answer = self.ask(session, method, params);
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The same, with what it says where it cannot.
    pub(crate) fn ask(&mut self, session: Option<&str>, method: &str, params: Value) -> Result<Value, Value> {
        self.next += 1;
        let id = self.next;
        let mut message = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        let mut line = serde_json::to_vec(&message).unwrap();
        line.push(0);
        self.stdin.as_mut().unwrap().write_all(&line).unwrap();
        let until = Instant::now() + PATIENCE;
        loop {
            let said = self
                .said
                .recv_timeout(until.saturating_duration_since(Instant::now()));
            let mut said = said.unwrap_or_else(|_| panic!("no answer to {method}"));
            match said["id"].as_u64() {
                Some(answered) if answered == id => {
                    return match said["error"].take() {
                        Value::Null => Ok(said["result"].take()),
                        error => Err(error),
                    };
                }
                Some(_) => {}
                None => self.events.push_back(said),
            }
        }
    }

    /// What has happened since this was asked last.
    pub(crate) fn events(&mut self) -> Vec<Value> {
        loop {
            match self.said.recv_timeout(Duration::ZERO) {
                Ok(said) if said["id"].is_null() => self.events.push_back(said),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        self.events.drain(..).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It ends with its pipe; one that does not is killed.
        drop(self.stdin.take());
        let until = Instant::now() + Duration::from_secs(5);
        while Instant::now() < until && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn is_there(program: &str) -> bool {
    let found = Command::new("sh")
        .args(["-c", "command -v \"$0\"", program])
        .stdout(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}
