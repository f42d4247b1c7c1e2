//! A hub on this machine: two addresses, as large files lie elsewhere than the hub, and faults on demand.

use crate::checksum::{Checksum, Hasher};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

pub(super) const COMMIT: &str = "b234b804b114d9e37bb655e11cbbb5f5e971b7a9";

/// What was asked.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) from: u64,
    pub(super) token: Option<String>,
}

/// What the hub has, and does wrong.
#[derive(Default)]
pub(super) struct State {
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// In place of the tree that the files give.
    pub(super) tree: Option<String>,
    /// In place of a file's bytes.
    pub(super) lies: BTreeMap<String, Vec<u8>>,
    /// After how many bytes the connection of each next request for a file is cut.
    pub(super) cuts: BTreeMap<String, Vec<usize>>,
    /// Requests that are answered with 503 before any other.
    pub(super) unavailable: usize,
    /// Whether ranges are ignored.
    pub(super) whole_only: bool,
    pub(super) next_page: Option<String>,
    pub(super) asked: Vec<Asked>,
}

#[derive(Clone)]
pub(super) struct Server {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) url: String,
}

/// From how many bytes on a file is large.
const LARGE: usize = 1000;

impl Server {
    pub(super) async fn start(files: &[(&str, &[u8])]) -> Self {
        let files = files
            .iter()
            .map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec()));
        let state = Arc::new(Mutex::new(State {
            files: files.collect(),
            ..State::default()
        }));
        let elsewhere = listen(state.clone(), String::new()).await;
        let url = listen(state.clone(), elsewhere).await;
        Self { state, url }
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap())
    }

    /// The bytes that were asked for of a file, as the offsets of the requests.
    pub(super) fn offsets(&self, name: &str) -> Vec<u64> {
        self.with(|state| {
            let of_file = state
                .asked
                .iter()
                .filter(|asked| asked.path.ends_with(&format!("/cdn/{name}")));
            of_file.map(|asked| asked.from).collect()
        })
    }
}

pub(super) fn checksum(kind: Checksum, bytes: &[u8]) -> String {
    let mut hasher = Hasher::new(&kind, bytes.len() as u64);
    hasher.update(bytes);
    let text = hasher.checksum().to_string();
    text.split_once(':').unwrap().1.to_owned()
}

async fn listen(state: Arc<Mutex<State>>, elsewhere: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, state.clone(), elsewhere.clone()));
        }
    });
    url
}

async fn answer(stream: TcpStream, state: Arc<Mutex<State>>, elsewhere: String) {
    let mut stream = BufReader::new(stream);
    let mut head = vec![];
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        head.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    };
    let path = head[0].split(' ').nth(1).unwrap().to_owned();
    let range = header("range");
    let from = range.as_deref().map_or(0, |range| {
        range
            .strip_prefix("bytes=")
            .unwrap()
            .trim_end_matches('-')
            .parse()
            .unwrap()
    });
    let asked = Asked {
        path: path.clone(),
        from,
        token: header("authorization"),
    };
    let (head, body) = respond(&mut state.lock().unwrap(), asked, range.is_some(), &elsewhere);
    let stream = stream.get_mut();
    // Whoever is cut off may have gone.
    let _ = stream.write_all(head.as_bytes()).await;
    let _ = stream.write_all(&body).await;
    let _ = stream.shutdown().await;
}

fn respond(state: &mut State, asked: Asked, ranged: bool, elsewhere: &str) -> (String, Vec<u8>) {
    let (path, from) = (asked.path.clone(), asked.from as usize);
    state.asked.push(asked);
    let headed = |status: &str, more: &str, body: &[u8], sent: usize| {
        let length = body.len();
        let head =
            format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n");
        (head, body[..sent.min(length)].to_vec())
    };
    let found = |body: &[u8], more: &str| headed("200 OK", more, body, body.len());
    if state.unavailable > 0 {
        state.unavailable -= 1;
        return headed("503 Service Unavailable", "Retry-After: 0\r\n", b"", 0);
    }
    match path.as_str() {
        "/api/models/org/model/revision/main" => {
            return found(format!("{{\"sha\":\"{COMMIT}\"}}").as_bytes(), "");
        }
        "/api/models/org/hidden/revision/main" => return headed("401 Unauthorized", "", b"", 0),
        _ => {}
    }
    if let Some(query) = path.strip_prefix(&format!("/api/models/org/model/tree/{COMMIT}?")) {
        if let Some(tree) = &state.tree {
            return found(tree.as_bytes(), "");
        }
        // Two pages.
        let half = state.files.len() / 2;
        let (skipped, taken, more) = match query {
            "recursive=true" => {
                let next = state.next_page.clone();
                let next = next.unwrap_or_else(|| format!("/api/models/org/model/tree/{COMMIT}?cursor=2"));
                (0, half, format!("Link: <{next}>; rel=\"next\"\r\n"))
            }
            _ => (half, usize::MAX, String::new()),
        };
        let entries = state.files.iter().skip(skipped).take(taken).map(entry);
        let tree = format!("[{}]", entries.collect::<Vec<_>>().join(","));
        return found(tree.as_bytes(), &more);
    }
    if let Some(name) = path.strip_prefix(&format!("/org/model/resolve/{COMMIT}/")) {
        let Some(bytes) = state.files.get(name) else {
            return headed("404 Not Found", "", b"", 0);
        };
        let bytes = state.lies.get(name).unwrap_or(bytes);
        if bytes.len() < LARGE {
            return found(bytes, "");
        }
        return headed(
            "302 Found",
            &format!("Location: {elsewhere}/cdn/{name}\r\n"),
            b"",
            0,
        );
    }
    let Some(name) = path.strip_prefix("/cdn/") else {
        return headed("404 Not Found", "", b"", 0);
    };
    let bytes = state.lies.get(name).unwrap_or(&state.files[name]).clone();
    let cuts = state.cuts.entry(name.to_owned()).or_default();
    let sent = if cuts.is_empty() {
        bytes.len()
    } else {
        cuts.remove(0)
    };
    match ranged && !state.whole_only {
        true => {
            let more = format!(
                "Content-Range: bytes {from}-{}/{}\r\n",
                bytes.len() - 1,
                bytes.len()
            );
            headed("206 Partial Content", &more, &bytes[from..], sent)
        }
        false => headed("200 OK", "", &bytes, sent),
    }
}

fn entry((name, bytes): (&String, &Vec<u8>)) -> String {
    let (size, oid) = (bytes.len(), checksum(Checksum::GitBlob([0; 20]), bytes));
    let large = match size < LARGE {
        true => String::new(),
        false => {
            let sha = checksum(Checksum::Sha256([0; 32]), bytes);
            format!(r#","lfs":{{"oid":"{sha}","size":{size},"pointerSize":134}}"#)
        }
    };
    format!(r#"{{"type":"file","oid":"{oid}","size":{size},"path":"{name}"{large}}}"#)
}
