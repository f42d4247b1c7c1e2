//! When to stop, and how soon. The first SIGINT or SIGTERM asks for draining, the second one for an end at once; for the
//! children of `adwright demo`, the end of standard input asks for draining as well.
//!
//! A child's standard input is a pipe that its parent holds open and never writes to. It ends when the parent closes it,
//! and just as well when the parent is killed: no child outlives a demo, whatever happens to the demo.

use std::io::{self, Read as _};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Two requests to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Shutdown {
    /// Cancelled at the first reason to stop: finish what is at hand.
    pub(crate) drain: CancellationToken,
    /// Cancelled at the second signal: drop everything.
    pub(crate) at_once: CancellationToken,
}

impl Shutdown {
    /// Starts listening. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// When the process cannot receive signals.
    pub(crate) fn listen(with_parent: bool) -> io::Result<Self> {
        let shutdown = Self::default();
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        tokio::spawn(shutdown.clone().obey(signals));
        if with_parent {
            cancel_at_end_of_input(shutdown.drain.clone())?;
        }
        Ok(shutdown)
    }

    async fn obey(self, [mut interrupt, mut terminate]: [Signal; 2]) {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => "SIGINT",
                _ = terminate.recv() => "SIGTERM",
            }
        };
        let first = next().await;
        tracing::info!(signal = first, "draining");
        self.drain.cancel();
        let second = next().await;
        tracing::warn!(signal = second, "ending at once");
        self.at_once.cancel();
    }
}

/// Tells of every SIGHUP from now on, which is then no reason to stop. Call it inside a tokio runtime.
///
/// # Errors
/// When the process cannot receive signals.
pub(crate) fn tell_of_hangups(told: Arc<Notify>) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reading the model directory again");
            told.notify_one();
        }
    });
    Ok(())
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
