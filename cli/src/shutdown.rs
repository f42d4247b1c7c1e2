//! One token that says "stop": cancelled by SIGINT, by SIGTERM and, for the children of `adwright demo`, by the end of
//! standard input.
//!
//! A child's standard input is a pipe that its parent holds open and never writes to. It ends when the parent closes it,
//! and just as well when the parent is killed: no child outlives a demo, whatever happens to the demo.

use std::io::{self, Read as _};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Starts listening; the token is cancelled at the first reason to stop. Call it inside a tokio runtime.
///
/// # Errors
/// When the process cannot receive signals.
pub(crate) fn token(with_parent: bool) -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
    tokio::spawn(cancel_on_signal(token.clone(), signals));
    if with_parent {
        cancel_at_end_of_input(token.clone())?;
    }
    Ok(token)
}

async fn cancel_on_signal(token: CancellationToken, [mut interrupt, mut terminate]: [Signal; 2]) {
    let name = tokio::select! {
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        () = token.cancelled() => return,
    };
    tracing::info!(signal = name, "draining");
    token.cancel();
}

/// A thread of its own, never joined: a blocking read cannot be called off, and the process is about to end anyway.
fn cancel_at_end_of_input(token: CancellationToken) -> io::Result<()> {
    std::thread::Builder::new()
        .name("parent-watch".into())
        .spawn(move || {
            let mut input = io::stdin().lock();
            while matches!(input.read(&mut [0; 64]), Ok(1..)) {}
            tracing::info!("parent closed standard input, draining");
            token.cancel();
        })?;
    Ok(())
}
