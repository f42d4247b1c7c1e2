//! Connections: HTTP/1, so many at a time, each with a limit to how long it may dawdle. One for whom nobody makes room is closed at once: in
//! the queue of the system it would wait behind those that hold the places.

use crate::door::Door;
use crate::live::Live;
use crate::places::{Guest, Places};
use crate::routes;
use crate::view::RunView;
use axum::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections at the same time; a browser holds six.
const CONNECTIONS: usize = 128;

/// How long a request's head may take to arrive, also on a connection that was used before.
const HEAD_TIME: Duration = Duration::from_secs(15);

/// How long a connection may last. A page that follows the run opens another one.
const LIFE: Duration = Duration::from_secs(3600);

/// Bytes of a request's head, and headers in it.
const HEAD_BYTES: usize = 16 << 10;
const HEADERS: usize = 64;

/// How long answers under way may take when the run ends.
const DRAIN: Duration = Duration::from_secs(1);

/// Pause after the system gave no connection, such as for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// Serves a run to whoever may look, until `stop`. It cannot fail the run: what goes wrong is logged.
pub async fn serve(door: Door, run: Arc<dyn RunView>, stop: CancellationToken) {
    let Door { listener, access, .. } = door;
    let live = Arc::new(Live::new(run));
    let ticking = tokio::spawn(live.clone().tick(stop.clone()));
    let router = routes::router(live, Arc::new(access), stop.clone());
    let (mut connections, mut places) = (JoinSet::new(), Places::of(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(_) if !places.have_room() => {}
            Ok((stream, _)) => {
                let guest = Guest::default();
                let pages = router.clone().layer(Extension(guest.clone()));
                places.take(guest, connections.spawn(connection(stream, pages, stop.clone())));
            }
            Err(error) => {
                tracing::warn!(%error, "dashboard: no connection");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN, drained).await.is_err() {
        connections.abort_all();
    }
    ticking.abort();
}

async fn connection(stream: TcpStream, router: axum::Router, stop: CancellationToken) {
    // Answers are small and wanted at once; a connection without that is only slower.
    let _ = stream.set_nodelay(true);
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(serving);
    tokio::select! {
        ended = serving.as_mut() => return told(ended),
        () = stop.cancelled() => {}
        () = tokio::time::sleep(LIFE) => {}
    }
    serving.as_mut().graceful_shutdown();
    told(tokio::time::timeout(DRAIN, serving).await.unwrap_or(Ok(())));
}

/// Browsers leave in all manner of ways.
fn told(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "dashboard: connection");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DashboardConfig;
    use crate::places::LEAST_TIME;
    use crate::test_run::TestRun;
    use std::io::ErrorKind;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::time::{Instant, sleep, timeout};

    const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

    /// Serves a run that stands still; where.
    async fn served() -> String {
        let config = DashboardConfig {
            listen: "127.0.0.1:0".into(),
            ..DashboardConfig::default()
        };
        let door = Door::open(&config).await.unwrap();
        let address = door.listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(door, TestRun::new(), CancellationToken::new()));
        address
    }

    /// What is answered to bytes that are sent as they are, until the line is closed.
    async fn answer(address: &str, bytes: &[u8]) -> String {
        let mut line = TcpStream::connect(address).await.unwrap();
        // Who is let go may not be able to send all of it.
        line.write_all(bytes).await.ok();
        let mut answer = vec![];
        line.read_to_end(&mut answer).await.ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What is answered to a question of `bytes` bytes.
    async fn answer_to(address: &str, bytes: usize) -> String {
        let head = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nx: ";
        let mut question = head.to_vec();
        question.resize(bytes - 4, b'a');
        question.extend(b"\r\n\r\n");
        answer(address, &question).await
    }

    async fn is_served(address: &str) -> bool {
        answer_to(address, 256).await.starts_with("HTTP/1.1 200")
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_says_nothing_or_too_little_is_let_go() {
        let address = served().await;
        let in_time = |since: Instant| (HEAD_TIME..2 * HEAD_TIME).contains(&since.elapsed());
        for said in [&QUESTION[..0], &QUESTION[..20], QUESTION] {
            let since = Instant::now();
            // A line that has been answered may ask again, and is let go like the others.
            let answered = answer(&address, said).await;
            assert!(in_time(since), "{said:?}: {:?}", since.elapsed());
            assert_eq!(
                answered.starts_with("HTTP/1.1 200"),
                said == QUESTION,
                "{answered}"
            );
        }
        let (since, mut line) = (Instant::now(), TcpStream::connect(&address).await.unwrap());
        line.write_all(b"GET /").await.unwrap();
        let second = Duration::from_secs(1);
        while line.write_all(b"a").await.is_ok() && timeout(second, line.read(&mut [0])).await.is_err() {}
        assert!(in_time(since), "a byte a second: {:?}", since.elapsed());
        assert!(is_served(&address).await);
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let address = served().await;
        let most = answer_to(&address, HEAD_BYTES / 2).await;
        assert!(most.starts_with("HTTP/1.1 200"), "{most}");
        let large = answer_to(&address, 2 * HEAD_BYTES).await;
        assert!(large.is_empty() || large.starts_with("HTTP/1.1 431"), "{large}");
        let many = "x: y\r\n".repeat(HEADERS + 1);
        let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{many}\r\n");
        let many = answer(&address, many.as_bytes()).await;
        assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    }

    /// A line that has been answered, and stays open.
    async fn answered(address: &str, question: &[u8], expected: &str) -> TcpStream {
        let mut line = TcpStream::connect(address).await.unwrap();
        line.write_all(question).await.unwrap();
        let mut answer = vec![0; expected.len()];
        line.read_exact(&mut answer).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer), expected);
        line
    }

    #[tokio::test]
    async fn beyond_the_bound_one_more_is_closed_at_once_unless_a_stranger_makes_room() {
        let address = served().await;
        let mut guests = vec![];
        for _ in 1..CONNECTIONS {
            guests.push(answered(&address, QUESTION, "HTTP/1.1 200").await);
        }
        let stranger = TcpStream::connect(&address).await.unwrap();
        // It may have its place a moment after the line is there.
        sleep(2 * LEAST_TIME).await;
        // The first line takes the stranger's place; for the others nobody makes room.
        guests.push(answered(&address, QUESTION, "HTTP/1.1 200").await);
        assert_eq!(left_of(stranger).await, 0);
        for _ in 0..8 {
            assert_eq!(left_of(TcpStream::connect(&address).await.unwrap()).await, 0);
        }
        assert!(guests.iter().all(is_open), "somebody who may look was cut off");
        drop(guests);
        let again = async {
            while !is_served(&address).await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), again).await.unwrap();
    }

    /// Whether a line can still be read from once what has come is read.
    fn is_open(line: &TcpStream) -> bool {
        let mut rest = vec![0; 1 << 16];
        loop {
            match line.try_read(&mut rest) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Bytes that still come on a line until it is closed, which must be before it would be let go for its silence.
    async fn left_of(mut line: TcpStream) -> usize {
        let mut rest = vec![];
        // An end without a farewell is one too.
        let read = timeout(HEAD_TIME / 2, line.read_to_end(&mut rest)).await;
        read.expect("the line is open").unwrap_or_default()
    }
}
