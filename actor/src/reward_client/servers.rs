//! The reward-servers behind one URL: each address that its host resolves to is one, and each request goes to one that serves.
//!
//! Addresses are looked up again and again and every server is asked for its health, so that a new one takes load within seconds and
//! one that is gone or drains takes none. Nothing is decided here about what an answer means.

use super::lookup::Lookup;
use crate::{
    ActorError,
    failure::{code, reason},
    peer::Peer,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{task::JoinHandle, time::timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

/// The most addresses that are used: a host of more is taken for a mistake of whoever answers for it.
const MOST: usize = 256;

/// How long a server may take to say how it is, and the resolver to name the servers: whoever does not must not hold up the next look.
const CHECK_TIME: Duration = Duration::from_secs(2);

/// The servers, and the task that tends them.
pub(super) struct Servers {
    known: Arc<Known>,
    tending: JoinHandle<()>,
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.tending.abort();
    }
}

/// What is known of them.
struct Known {
    peer: Peer,
    request_timeout: Duration,
    lookup: Arc<dyn Lookup>,
    servers: RwLock<Vec<Arc<Server>>>,
    draws: Mutex<ChaCha8Rng>,
}

#[derive(Debug)]
struct Server {
    address: SocketAddr,
    channel: Channel,
    under_way: AtomicUsize,
    /// `None` until it was looked at.
    serves: Mutex<Option<bool>>,
}

/// A server for one request, which counts for as long as this lives.
#[derive(Debug)]
pub(super) struct Picked(Arc<Server>);

impl Picked {
    /// The connection to it.
    pub(super) fn channel(&self) -> Channel {
        self.0.channel.clone()
    }

    /// What came of the request. A server that did not answer takes no other one until it is well.
    pub(super) fn ended<T>(self, answer: Result<T, Status>) -> Result<T, Status> {
        if let Err(status) = &answer
            && went_away(status)
        {
            self.0.found(Err(&reason(status)));
        }
        answer
    }
}

impl Drop for Picked {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
    }
}

/// Whether the server, or the way to it, is gone.
fn went_away(status: &Status) -> bool {
    matches!(code(status), Code::Unavailable | Code::Cancelled)
}

impl Server {
    /// That it serves, or why it does not.
    fn found(&self, serves: Result<(), &str>) {
        if self.serves().replace(serves.is_ok()) != Some(serves.is_ok()) {
            let address = self.address;
            match serves {
                Ok(()) => tracing::info!(%address, "reward-server takes requests"),
                Err(reason) => tracing::warn!(%address, reason, "reward-server takes no requests"),
            }
        }
    }

    fn serves(&self) -> MutexGuard<'_, Option<bool>> {
        self.serves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks how it is.
    async fn check(&self) {
        let mut client = HealthClient::new(self.channel.clone());
        let asked = client.check(HealthCheckRequest::default());
        match timeout(CHECK_TIME, asked).await {
            Ok(Ok(answer)) if answer.get_ref().status() == ServingStatus::Serving => self.found(Ok(())),
            Ok(Ok(_)) => self.found(Err("it says that it is not ready")),
            // Whoever has no word for its health is asked for what it is there for.
            Ok(Err(status)) if status.code() == Code::Unimplemented => self.found(Ok(())),
            Ok(Err(status)) => self.found(Err(&reason(&status))),
            Err(_) => self.found(Err("it does not say in time how it is")),
        }
    }
}

impl Servers {
    /// Those of `peer`, which are looked up anew `every` so often. The first lookup may take as long as the peer may be away.
    ///
    /// # Errors
    /// [`ActorError::Address`] when the URL is none, [`ActorError::Unreachable`] when its host has no address.
    pub(super) async fn find(
        peer: Peer,
        lookup: Arc<dyn Lookup>,
        request_timeout: Duration,
        every: Duration,
    ) -> Result<Self, ActorError> {
        peer.channel(request_timeout)?;
        let known = Arc::new(Known {
            peer: peer.clone(),
            request_timeout,
            lookup,
            servers: RwLock::default(),
            draws: Mutex::new(ChaCha8Rng::seed_from_u64(peer.jitter_seed())),
        });
        peer.until_answered(|| known.look_up()).await?;
        known.check().await;
        let tended = known.clone();
        let tending = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let looked_up = timeout(CHECK_TIME, tended.look_up()).await;
                let late = |_| Err(Status::deadline_exceeded("the resolver does not answer"));
                if let Err(status) = looked_up.unwrap_or_else(late) {
                    tracing::warn!(
                        reason = status.message(),
                        "reward-servers were not looked up again"
                    );
                }
                tended.check().await;
            }
        });
        Ok(Self { known, tending })
    }

    /// One that serves, of two drawn the one with fewer requests under way; any when none serves, for whose answer says why.
    pub(super) fn pick(&self) -> Picked {
        let servers = self.known.servers.read().unwrap_or_else(PoisonError::into_inner);
        let serving: Vec<&Arc<Server>> = servers
            .iter()
            .filter(|server| *server.serves() == Some(true))
            .collect();
        let among = match serving.is_empty() {
            true => servers.iter().collect(),
            false => serving,
        };
        let mut draws = self.known.draws.lock().unwrap_or_else(PoisonError::into_inner);
        let mut draw = || among[draws.random_range(0..among.len())];
        let (one, other) = (draw(), draw());
        let picked = match one.under_way.load(Relaxed) <= other.under_way.load(Relaxed) {
            true => one,
            false => other,
        };
        picked.under_way.fetch_add(1, Relaxed);
        Picked(picked.clone())
    }
}

impl Known {
    /// Takes up new addresses and leaves those that are gone; requests under way there are finished.
    async fn look_up(&self) -> Result<(), Status> {
        let mut addresses = self.lookup.addresses(self.peer.url()).await.map_err(|error| {
            let reason = format!("{}: {error}", self.peer.url());
            Status::unavailable(reason)
        })?;
        addresses.sort();
        addresses.dedup();
        addresses.truncate(MOST);
        if addresses.is_empty() {
            return Err(Status::unavailable(format!("{} has no address", self.peer.url())));
        }
        let earlier = self
            .servers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let known = |address| earlier.iter().find(|server| server.address == address).cloned();
        let servers: Result<Vec<_>, Status> = addresses
            .into_iter()
            .map(|address| known(address).map_or_else(|| self.server(address), Ok))
            .collect();
        *self.servers.write().unwrap_or_else(PoisonError::into_inner) = servers?;
        Ok(())
    }

    fn server(&self, address: SocketAddr) -> Result<Arc<Server>, Status> {
        let channel = self
            .peer
            .channel_at(&format!("http://{address}"), self.request_timeout);
        Ok(Arc::new(Server {
            address,
            channel: channel.map_err(|error| Status::unavailable(error.to_string()))?,
            under_way: AtomicUsize::new(0),
            serves: Mutex::default(),
        }))
    }

    /// Asks every server how it is, at the same time.
    async fn check(&self) {
        let servers = self
            .servers
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        futures::future::join_all(servers.iter().map(|server| server.check())).await;
    }
}

#[cfg(test)]
mod tests;
