//! The listener on a socket, asked as Prometheus and a kubelet ask.

use super::liveness::{LIVENESS, READINESS, STARTUP};
use super::server::CONNECTIONS;
use super::*;
use crate::authority::{self, Authority};
use crate::config::{Config, TelemetryConfig};
use common::RunId;
use dashboard::LEAST_TIME;
use proto::PeerRole;
use proto::observe::documented_page;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A role's listener, and by what the role speaks.
struct Listening {
    address: SocketAddr,
    pulse: Pulse,
    drain: CancellationToken,
}

async fn listening(stall_s: f64) -> Listening {
    // A port that was free a moment ago.
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = TelemetryConfig {
        metrics_listen: address.to_string(),
        stall_s,
        ..TelemetryConfig::default()
    };
    let (pulse, drain) = (Pulse::default(), CancellationToken::new());
    let mut registry = Registry::default();
    learner::Instruments::default().register(&mut registry);
    actor::Instruments::default().register(&mut registry);
    let watched = Watched {
        role: "actor",
        pages: [registry, Registry::default()],
        pulse: pulse.clone(),
    };
    start(&config, watched, drain.clone()).await.unwrap();
    Listening {
        address,
        pulse,
        drain,
    }
}

impl Listening {
    /// What is answered to bytes that are sent as they are.
    async fn answer(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        timeout(Duration::from_secs(20), read).await.unwrap().ok();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn health(&self, service: &str) -> String {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let service = service.to_owned();
        match client.check(HealthCheckRequest { service }).await {
            Ok(answer) => format!("{:?}", answer.into_inner().status()),
            Err(status) => format!("{:?}", status.code()),
        }
    }

    async fn until(&self, service: &str, expected: &str) {
        let asked = async {
            while self.health(service).await != expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(Duration::from_secs(10), asked)
            .await
            .unwrap_or_else(|_| panic!("{service}: never {expected}"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_and_probes_are_answered_on_one_port() {
    let listening = listening(60.0).await;
    let page = listening
        .answer(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("text/plain; version=0.0.4"),
        "{page}"
    );
    assert!(
        page.contains("# TYPE rollout_tokens_total counter\nrollout_tokens_total 0\n"),
        "{page}"
    );
    let none = listening
        .answer(b"GET /other HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(!none.contains("rollout_"), "{none}");
    assert_eq!(listening.health(STARTUP).await, "Serving");
    assert_eq!(listening.health(READINESS).await, "NotServing");
    assert_eq!(listening.health(LIVENESS).await, "Serving");
    assert_eq!(listening.health("other").await, "NotFound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_ready_while_it_takes_part_and_not_once_it_drains() {
    let listening = listening(60.0).await;
    listening.pulse.set_ready(true);
    listening.until(READINESS, "Serving").await;
    listening.drain.cancel();
    listening.until(READINESS, "NotServing").await;
    assert_eq!(listening.health(LIVENESS).await, "Serving");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_progress_is_not_alive_until_it_comes_along() {
    let listening = listening(1.0).await;
    listening.until(LIVENESS, "NotServing").await;
    assert_eq!(listening.health(STARTUP).await, "Serving");
    listening.pulse.beat();
    listening.until(LIVENESS, "Serving").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_sends_nothing_or_too_much_is_let_go() {
    let listening = listening(60.0).await;
    // Twice the bound of a head.
    let endless = [b"GET /metrics HTTP/1.1\r\nx: ".as_slice(), &[b'a'; 32 << 10]].concat();
    let answer = listening.answer(&endless).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let begun = tokio::time::Instant::now();
    assert_eq!(listening.answer(b"").await, "");
    assert!(listening.answer(b"GET /metrics HTTP/1.1\r\nhost").await.len() < 200);
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_probe_is_answered_whoever_holds_all_places_and_no_more_are_held_than_there_are() {
    let listening = listening(60.0).await;
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS + 8 {
        held.push(TcpStream::connect(listening.address).await.unwrap());
    }
    tokio::time::sleep(LEAST_TIME).await;
    for _ in 0..3 {
        assert_eq!(listening.health(STARTUP).await, "Serving");
    }
    let mut closed = 0;
    for stream in &mut held {
        let read = timeout(Duration::from_millis(10), stream.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 9, "{closed} made room");
}

#[test]
fn docs_metrics_md_has_every_name_of_every_roles_page_and_the_certificates_end_only_where_there_is_one() {
    let place = tempfile::tempdir().unwrap();
    let authority = Authority::new(&RunId::new("spring").unwrap(), Duration::from_secs(86_400)).unwrap();
    authority::store(&authority.issue(PeerRole::Actor, &[]).unwrap(), place.path()).unwrap();
    let mut config = Config::default();
    config.run.id = "spring".into();
    let plain = Security::open(&config, PeerRole::Actor).unwrap();
    let file = |name: &str| place.path().join(name).display().to_string();
    config.tls.cert = file("tls.crt");
    config.tls.key = file("tls.key");
    config.tls.ca = file("ca.crt");
    let secured = Security::open(&config, PeerRole::Actor).unwrap();
    let (pulse, telemetry) = (Pulse::default(), Telemetry::in_vain());
    let watched = |security| Watched::of("actor", &pulse, &telemetry, security, |_| ());
    let page = documented_page(&watched(&secured).pages[1], "Every role");
    let ends = secured.transport.ends().unwrap() as f64;
    assert!(
        page.contains(&format!("\ntls_certificate_ends_seconds {ends:?}\n")),
        "{page}"
    );
    let mut page = String::new();
    prometheus_text::encode(&mut page, &watched(&plain).pages[1]).unwrap();
    assert!(!page.contains("tls_certificate"), "{page}");
}
