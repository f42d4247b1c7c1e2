//! Connections: HTTP/1, so many at a time, each with a limit to how long it may dawdle. One too many is closed at once: in the queue of
//! the system it would wait behind those that hold the places.

use crate::door::Door;
use crate::live::Live;
use crate::routes;
use crate::view::RunView;
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
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok(_) if connections.len() >= CONNECTIONS => {}
            Ok((stream, _)) => {
                connections.spawn(connection(stream, router.clone(), stop.clone()));
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
