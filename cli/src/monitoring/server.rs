//! Connections to the monitoring listener, HTTP/1.1 and HTTP/2 alike, and what each may cost.

use axum::Router;
use dashboard::{Guest, Places};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

/// Connections at the same time: a Prometheus or two, a kubelet's probes, a person. Nobody shows anything here, so for one more the one that is
/// open longest makes room: a probe that is not answered has the process killed, and whoever is cut off connects again. Within
/// [`LEAST_TIME`](dashboard::LEAST_TIME), which is enough for a probe or a page, nobody does, and one more is closed at once.
pub(super) const CONNECTIONS: usize = 64;

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
    let mut places = Places::of(CONNECTIONS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PAUSE).await;
            continue;
        };
        if !places.have_room() {
            continue;
        }
        // How a connection ends is its caller's affair.
        let served = tokio::spawn(timeout(LIFE, connection(stream, router.clone())));
        places.take(Guest::default(), served.abort_handle());
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
