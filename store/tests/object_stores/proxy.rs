//! A TCP proxy that cuts connections: what a network does, on demand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Bytes of a part that still come through before its connection is cut.
const OF_A_PART: usize = 64 << 10;

/// What is cut.
#[derive(Clone, Default)]
pub(crate) struct Cuts {
    everything: Arc<AtomicBool>,
    parts: Arc<AtomicBool>,
}

impl Cuts {
    /// Every connection, new ones too.
    pub(crate) fn everything(&self, cut: bool) {
        self.everything.store(cut, Ordering::SeqCst);
    }

    /// Those on which a part of an upload is sent, in the middle of it.
    pub(crate) fn parts(&self, cut: bool) {
        self.parts.store(cut, Ordering::SeqCst);
    }
}

/// Listens at `from` and passes on to `to` until the test's runtime ends.
pub(crate) async fn proxy(from: &str, to: &str) -> Cuts {
    let (listener, to, cuts) = (
        TcpListener::bind(from).await.unwrap(),
        to.to_owned(),
        Cuts::default(),
    );
    let shared = cuts.clone();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            if shared.everything.load(Ordering::SeqCst) {
                continue;
            }
            let server = TcpStream::connect(&to).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let cuts = shared.clone();
            tokio::spawn(async move {
                // When one side ends, both are dropped.
                tokio::select! {
                    () = requests(from_client, to_server, &cuts) => {}
                    () = answers(from_server, to_client, &cuts) => {}
                }
            });
        }
    });
    cuts
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cuts: &Cuts) {
    let mut buffer = vec![0; 32 << 10];
    let mut of_part = None;
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..read];
        let head = String::from_utf8_lossy(&bytes[..read.min(2048)]);
        let is_part =
            head.starts_with("PUT ") && (head.contains("partNumber=") || head.contains("comp=block&"));
        if is_part && cuts.parts.load(Ordering::SeqCst) {
            of_part = Some(0);
        }
        if let Some(sent) = &mut of_part {
            *sent += read;
            if *sent > OF_A_PART {
                return;
            }
        }
        if cuts.everything.load(Ordering::SeqCst) || to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, cuts: &Cuts) {
    let mut buffer = vec![0; 32 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if cuts.everything.load(Ordering::SeqCst) || to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
