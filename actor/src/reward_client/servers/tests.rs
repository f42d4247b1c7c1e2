//! Servers that come, drain and die, as their health services tell.

use super::*;
use futures::future::{BoxFuture, FutureExt as _};
use proto::{Answering, PeerRole, Tcp};
use std::io;
use tokio::{net::TcpListener, runtime::Runtime, time::Instant};
use tonic::transport::{Server as Transport, server::TcpIncoming};
use tonic_health::server::HealthReporter;

const EVERY: Duration = Duration::from_millis(50);

/// A host whose addresses a test decides.
#[derive(Clone, Default)]
struct Host(Arc<Mutex<Vec<SocketAddr>>>);

impl Host {
    fn has(&self, addresses: &[SocketAddr]) {
        *self.0.lock().unwrap() = addresses.to_vec();
    }
}

impl Lookup for Host {
    fn addresses(&self, _: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let addresses = self.0.lock().unwrap().clone();
        async move { Ok(addresses) }.boxed()
    }
}

/// A server that has nothing but its health, on a runtime of its own, with which its connections end.
struct Well {
    address: SocketAddr,
    health: HealthReporter,
    runtime: Option<Runtime>,
}

impl Drop for Well {
    fn drop(&mut self) {
        self.runtime
            .take()
            .into_iter()
            .for_each(Runtime::shutdown_background);
    }
}

impl Well {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, service) = tonic_health::server::health_reporter();
        let runtime = Runtime::new().unwrap();
        let listener = listener.into_std().unwrap();
        runtime.spawn(async move {
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            let server = Transport::builder().add_service(service);
            server.serve_with_incoming(incoming).await.unwrap();
        });
        let well = Self {
            address,
            health,
            runtime: Some(runtime),
        };
        well.says(tonic_health::ServingStatus::Serving).await;
        well
    }

    async fn says(&self, status: tonic_health::ServingStatus) {
        self.health.set_service_status("", status).await;
    }
}

async fn find(host: &Host) -> Servers {
    let (who, patience) = (Answering::Role(PeerRole::RewardServer), Duration::from_secs(5));
    let peer = Peer::new(
        "reward-server",
        who,
        "http://reward:7401",
        Arc::new(Tcp),
        patience,
    );
    let timeout = Duration::from_secs(5);
    Servers::find(peer, Arc::new(host.clone()), timeout, EVERY)
        .await
        .unwrap()
}

/// Who is picked for some requests that are all under way.
fn picked(servers: &Servers, requests: usize) -> Vec<SocketAddr> {
    let picked: Vec<Picked> = (0..requests).map(|_| servers.pick()).collect();
    let mut addresses: Vec<_> = picked.iter().map(|picked| picked.0.address).collect();
    addresses.sort();
    addresses.dedup();
    addresses
}

async fn until_picked(servers: &Servers, wanted: &[SocketAddr]) {
    let (mut wanted, began) = (wanted.to_vec(), Instant::now());
    wanted.sort();
    while picked(servers, 32) != wanted {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?} instead of {wanted:?}",
            picked(servers, 32)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_new_server_takes_load_and_one_that_drains_dies_or_is_gone_takes_none() {
    let (one, other, host) = (Well::start().await, Well::start().await, Host::default());
    host.has(&[one.address]);
    let servers = find(&host).await;
    until_picked(&servers, &[one.address]).await;
    host.has(&[one.address, other.address]);
    until_picked(&servers, &[one.address, other.address]).await;
    one.says(tonic_health::ServingStatus::NotServing).await;
    until_picked(&servers, &[other.address]).await;
    one.says(tonic_health::ServingStatus::Serving).await;
    until_picked(&servers, &[one.address, other.address]).await;
    let gone = other.address;
    drop(other);
    until_picked(&servers, &[one.address]).await;
    host.has(&[gone]);
    until_picked(&servers, &[gone]).await;
}

#[tokio::test]
async fn requests_go_where_fewer_are_under_way() {
    let (one, other, host) = (Well::start().await, Well::start().await, Host::default());
    host.has(&[one.address, other.address]);
    let servers = find(&host).await;
    until_picked(&servers, &[one.address, other.address]).await;
    let under_way: Vec<Picked> = (0..200).map(|_| servers.pick()).collect();
    let at = |address| {
        under_way
            .iter()
            .filter(|picked| picked.0.address == address)
            .count()
    };
    let (at_one, at_other) = (at(one.address), at(other.address));
    assert!(at_one.abs_diff(at_other) <= 20, "{at_one} and {at_other}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_at_once_and_when_none_serves_any_is_asked() {
    let (one, host) = (Well::start().await, Host::default());
    host.has(&[one.address]);
    let servers = find(&host).await;
    until_picked(&servers, &[one.address]).await;
    let serves = || *servers.known.servers.read().unwrap()[0].serves() == Some(true);
    let ends_with = |status| assert!(servers.pick().ended(Err::<(), _>(status)).is_err());
    // An answer of its own, whatever it says, is one.
    ends_with(Status::unknown("odd"));
    ends_with(Status::internal("a picture too many"));
    assert!(serves());
    let mut broken = Status::unknown("h2 protocol error");
    broken.set_source(Arc::new(io::Error::from(io::ErrorKind::UnexpectedEof)));
    for status in [Status::unavailable("gone"), broken] {
        ends_with(status);
        assert!(!serves());
        assert_eq!(picked(&servers, 3), [one.address]);
        let began = Instant::now();
        while !serves() {
            assert!(began.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
