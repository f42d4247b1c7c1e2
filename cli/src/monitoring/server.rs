//! Connections to the monitoring listener, HTTP/1.1 and HTTP/2 alike, and what each may cost.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, timeout};

/// Connections at the same time: a Prometheus or two, a kubelet's probes, a person. For one more the one that is open longest makes room:
/// a probe that is not answered has the process killed, and whoever is cut off connects again.
pub(super) const CONNECTIONS: usize = 64;

/// Nobody makes room earlier: it is enough for a probe, or for a page. One more is closed at once then.
pub(super) const LEAST_TIME: Duration = Duration::from_secs(1);

/// Until a connection has sent its first byte, and then the head of each request.
const HEAD_TIME: Duration = Duration::from_secs(5);

/// The longest that a connection is kept, idle or not: whoever wants more connects again.
const LIFE: Duration = Duration::from_secs(300);

/// The largest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// Open streams of an HTTP/2 connection.
const STREAMS: u32 = 16;

/// A moment for the system to find what it lacks, when a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for as long as the process runs.
pub(super) async fn serve(listener: TcpListener, router: Router) {
    let mut open = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        if !has_room(&mut open) {
            continue;
        }
        // How a connection ends is its caller's affair.
        let served = tokio::spawn(timeout(LIFE, connection(stream, router.clone())));
        open.push_back((Instant::now(), served.abort_handle()));
    }
}

/// Whether there is room for one more beside those that are `open`, the first of which came first; made if need be.
fn has_room(open: &mut VecDeque<(Instant, AbortHandle)>) -> bool {
    open.retain(|(_, served)| !served.is_finished());
    if open.len() < CONNECTIONS {
        return true;
    }
    match open.pop_front_if(|(since, _)| since.elapsed() >= LEAST_TIME) {
        Some((_, served)) => {
            served.abort();
            true
        }
        None => false,
    }
}

async fn connection(stream: TcpStream, router: Router) {
    // The server below waits for as long as it takes to see which protocol is spoken.
    if !matches!(timeout(HEAD_TIME, stream.peek(&mut [0])).await, Ok(Ok(1))) {
        return;
    }
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(HEAD_TIME)
        .keep_alive_timeout(HEAD_TIME);
    let service = TowerToHyperService::new(router);
    let _ended = builder.serve_connection(TokioIo::new(stream), service).await;
}
