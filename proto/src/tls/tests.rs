//! Real handshakes over sockets in memory: who gets in, and what is told to who does not.

mod handshakes;

use super::test_authority::Authority;
use super::{Credentials, CredentialsError, HandshakeError, Pem, Tls, Transport};
use crate::{Answering, Destination, Duplex, Network, PeerRole, Tcp};
use futures::StreamExt as _;
use rustls::client::Resumption;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, ServerConfig, version};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tonic::transport::server::{Connected as _, TcpIncoming};

const LEARNER: &[&str] = &["learner.spring", "adwright-learner"];

/// A server that tells who called, and sends a byte to who got in.
async fn serve(transport: Transport) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    serve_with(512, transport).await
}

/// The same with room for so many handshakes.
async fn serve_with(
    places: usize,
    transport: Transport,
) -> (SocketAddr, tokio::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let incoming = transport.accept_with(places, TcpIncoming::from(listener));
        let mut incoming = std::pin::pin!(incoming);
        while let Some(accepted) = incoming.next().await {
            let mut accepted = accepted.unwrap();
            let roles = accepted.connect_info().roles.unwrap_or_default();
            let names: Vec<String> = roles.iter().map(ToString::to_string).collect();
            tell.send(names.join(" ")).await.unwrap();
            accepted.write_all(b"!").await.unwrap();
            accepted.shutdown().await.ok();
        }
    });
    (address, told)
}

async fn call(network: &dyn Network, address: SocketAddr, role: PeerRole) -> io::Result<()> {
    let to = Destination {
        host: address.ip().to_string(),
        port: address.port(),
        who: Answering::Role(role),
    };
    // A refusal of the caller's certificate comes after its own handshake.
    let mut connection: Box<dyn Duplex> = network.connect(to).await?;
    connection.read_u8().await.map(drop)
}

fn secured(pem: &Pem) -> Transport {
    Transport::secured(Credentials::new(pem).unwrap())
}

/// Why a connection was not made, or broke: always one of our reasons.
fn why(outcome: io::Result<()>) -> String {
    let error = outcome.unwrap_err();
    let typed = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<HandshakeError>());
    typed.unwrap_or_else(|| panic!("{error:?}")).to_string()
}

#[tokio::test]
async fn both_sides_learn_each_others_role_whatever_the_address_is_called() {
    let authority = Authority::new();
    let (address, mut told) = serve(secured(&authority.pem(LEARNER))).await;
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    call(&*actor, address, PeerRole::Learner).await.unwrap();
    assert_eq!(told.recv().await.unwrap(), "actor.spring");
}

#[tokio::test]
async fn a_server_in_another_role_or_of_another_run_is_not_talked_to() {
    let authority = Authority::new();
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    for names in [
        &["actor.spring"][..],
        &["learner.autumn"],
        &["learner.SPRING"],
        &["*.spring", "actor.spring"],
    ] {
        let (address, _told) = serve(secured(&authority.pem(names))).await;
        let refused = why(call(&*actor, address, PeerRole::Learner).await);
        assert!(refused.contains("certificate"), "{names:?}: {refused}");
    }
}

#[tokio::test]
async fn certificates_of_another_authority_are_refused_by_either_side_with_the_reason() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let (address, _told) = serve(secured(&ours.pem(LEARNER))).await;
    let stranger = secured(&theirs.pem(&["actor.spring"])).network();
    let refused = why(call(&*stranger, address, PeerRole::Learner).await);
    assert!(refused.contains("tls.ca"), "{refused}");
    // One that believes the server, and is not believed.
    let disguised = Pem {
        ca: [theirs.pem(&["actor.spring"]).ca, ours.pem(LEARNER).ca].concat(),
        ..theirs.pem(&["actor.spring"])
    };
    let refused = why(call(&*secured(&disguised).network(), address, PeerRole::Learner).await);
    assert!(
        refused.contains("does not accept this side's certificate"),
        "{refused}"
    );
}

#[test]
fn what_everybody_would_refuse_is_refused_before_it_is_used() {
    let (authority, other) = (Authority::new(), Authority::new());
    let refused = |pem: &Pem| Credentials::new(pem).unwrap_err();
    let expired = refused(&authority.expired(LEARNER));
    assert!(expired.to_string().contains("expired"), "{expired}");
    let unsigned = Pem {
        ca: other.pem(LEARNER).ca,
        ..authority.pem(LEARNER)
    };
    let unsigned = refused(&unsigned).to_string();
    assert!(unsigned.contains("tls.ca"), "{unsigned}");
    let mixed = Pem {
        key: authority.pem(LEARNER).key,
        ..authority.pem(LEARNER)
    };
    assert_eq!(refused(&mixed), CredentialsError::OtherKey);
    let nobody = refused(&authority.pem(&["adwright-learner.ads.svc"])).to_string();
    assert!(
        nobody.contains("learner.my-run") && nobody.contains("ads.svc"),
        "{nobody}"
    );
    let both = refused(&authority.pem(&["learner.spring", "learner.autumn"]));
    assert!(matches!(both, CredentialsError::SeveralRuns { .. }), "{both}");
    for (part, pem) in [
        (
            "cert",
            Pem {
                cert: b"nonsense".to_vec(),
                ..authority.pem(LEARNER)
            },
        ),
        (
            "key",
            Pem {
                key: vec![],
                ..authority.pem(LEARNER)
            },
        ),
        (
            "ca",
            Pem {
                ca: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----".to_vec(),
                ..authority.pem(LEARNER)
            },
        ),
    ] {
        let told = refused(&pem).to_string();
        assert!(told.starts_with(part), "{told}");
    }
}

/// A certificate and its key as the library takes them, past the checks of [`Credentials`].
fn unchecked(pem: &Pem) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let certificate = CertificateDer::from_pem_slice(&pem.cert).unwrap();
    (
        vec![certificate],
        PrivateKeyDer::from_pem_slice(&pem.key).unwrap(),
    )
}

#[tokio::test]
async fn a_caller_whose_certificate_has_expired_is_told_so() {
    let authority = Authority::new();
    let (address, _told) = serve(secured(&authority.pem(LEARNER))).await;
    let pem = authority.expired(&["actor.spring"]);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(&pem.ca).unwrap())
        .unwrap();
    let (certificates, key) = unchecked(&pem);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)
        .unwrap();
    let name = ServerName::try_from("learner.spring").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let refused = match connected {
        Ok(mut connection) => connection.read_u8().await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(
        HandshakeError::of(&refused.unwrap_err()).to_string(),
        "it does not accept this side's certificate: it has expired"
    );
}

#[tokio::test]
async fn a_server_whose_certificate_has_expired_is_not_talked_to() {
    let authority = Authority::new();
    let (certificates, key) = unchecked(&authority.expired(LEARNER));
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(stream).await.ok();
    });
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    let refused = why(call(&*actor, address, PeerRole::Learner).await);
    assert_eq!(refused, "its certificate is not accepted: it has expired");
}

/// What a caller makes of a side that does this with its connection.
async fn refused_by<F: Future<Output = ()> + Send>(
    answer: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { answer(listener.accept().await.unwrap().0).await });
    let actor = secured(&Authority::new().pem(&["actor.spring"])).network();
    why(call(&*actor, address, PeerRole::Learner).await)
}

#[tokio::test]
async fn who_leaves_at_once_or_cannot_tls_1_3_is_named_and_no_certificate_is_blamed() {
    let left = refused_by(async |mut stream| {
        // All of the greeting is read: what is not takes the connection back.
        let _greeting = stream.read(&mut [0; 4 << 10]).await;
    });
    assert_eq!(left.await, HandshakeError::Left.to_string());
    let taken_back = io::Error::from(io::ErrorKind::ConnectionReset);
    assert_eq!(HandshakeError::of(&taken_back), HandshakeError::Left);
    // What an implementation of TLS 1.2 alone says: an alert, fatal, of the version.
    let earlier = refused_by(async |mut stream| {
        let _greeting = stream.read(&mut [0; 4 << 10]).await;
        stream.write_all(&[21, 3, 3, 0, 2, 2, 70]).await.unwrap();
    });
    let earlier = earlier.await;
    assert!(
        earlier.contains("ProtocolVersion") && !earlier.contains("certificate"),
        "{earlier}"
    );
}

#[test]
fn a_key_is_not_told() {
    let pem = Authority::new().pem(LEARNER);
    let broken = Pem {
        key: b"-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----".to_vec(),
        ..pem
    };
    let told = format!(
        "{broken:?} {:?} {}",
        Credentials::new(&broken).unwrap_err(),
        Credentials::new(&broken).unwrap_err()
    );
    assert!(!told.contains("c2VjcmV0") && !told.contains("secret"), "{told}");
}

#[tokio::test]
async fn plain_text_on_either_side_is_named() {
    let authority = Authority::new();
    let (address, _told) = serve(secured(&authority.pem(LEARNER))).await;
    let to = Destination {
        host: address.ip().to_string(),
        port: address.port(),
        who: Answering::Role(PeerRole::Learner),
    };
    let mut plain = Transport::plain().network().connect(to).await.unwrap();
    plain
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        .await
        .unwrap();
    let refused = why(plain.read_u8().await.map(drop));
    assert!(refused.contains("speaks TLS"), "{refused}");

    let (address, _told) = serve(Transport::plain()).await;
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    let refused = why(call(&*actor, address, PeerRole::Learner).await);
    assert!(refused.contains("plain text"), "{refused}");
}

#[tokio::test]
async fn renewed_certificates_serve_new_connections_and_others_are_not_taken() {
    let (old, new) = (Authority::new(), Authority::new());
    let both = |pem: Pem| Pem {
        ca: [old.pem(LEARNER).ca, new.pem(LEARNER).ca].concat(),
        ..pem
    };
    let credentials = Credentials::new(&old.pem(LEARNER)).unwrap();
    let (address, _told) = serve(Transport::secured(credentials.clone())).await;
    let actor = Tls::new(
        Arc::new(Tcp),
        Credentials::new(&both(new.pem(&["actor.spring"]))).unwrap(),
    );
    assert!(call(&actor, address, PeerRole::Learner).await.is_err());
    let other = credentials.replace(&new.pem(&["actor.spring"])).unwrap_err();
    assert!(matches!(other, CredentialsError::Other { .. }), "{other}");
    assert!(credentials.replace(&old.expired(LEARNER)).is_err());
    assert!(call(&actor, address, PeerRole::Learner).await.is_err());
    credentials.replace(&both(new.pem(LEARNER))).unwrap();
    call(&actor, address, PeerRole::Learner).await.unwrap();
}

/// How the second of two connections between the same two begins.
async fn second_handshake(caller: &Arc<ClientConfig>, callee: &Arc<ServerConfig>) -> HandshakeKind {
    let connector = TlsConnector::from(caller.clone());
    let acceptor = TlsAcceptor::from(callee.clone());
    let connect = || async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from("learner.spring").unwrap();
        let called = async {
            let mut line = connector.connect(name, near).await.unwrap();
            // What a later connection could take up comes before the first byte.
            line.read_u8().await.unwrap();
            line.get_ref().1.handshake_kind().unwrap()
        };
        let served = async {
            let mut line = acceptor.accept(far).await.unwrap();
            line.write_all(b"!").await.unwrap();
            line.flush().await.unwrap();
        };
        tokio::join!(called, served).0
    };
    connect().await;
    connect().await
}

#[tokio::test]
async fn neither_side_takes_up_an_earlier_session_with_one_that_would() {
    let authority = Authority::new();
    let loaded = |names: &[&str]| Credentials::new(&authority.pem(names)).unwrap().current();
    let (learner, actor) = (loaded(LEARNER), loaded(&["actor.spring"]));
    let mut willing_caller = ClientConfig::clone(&actor.client);
    willing_caller.resumption = Resumption::in_memory_sessions(8);
    let mut willing_callee = ServerConfig::clone(&learner.server);
    willing_callee.send_tls13_tickets = 2;
    willing_callee.session_storage = ServerSessionMemoryCache::new(8);
    let (willing_caller, willing_callee) = (Arc::new(willing_caller), Arc::new(willing_callee));
    let resumed = second_handshake(&willing_caller, &willing_callee).await;
    assert_eq!(resumed, HandshakeKind::Resumed, "where both would");
    for (caller, callee) in [
        (&actor.client, &willing_callee),
        (&willing_caller, &learner.server),
        (&actor.client, &learner.server),
    ] {
        assert_eq!(second_handshake(caller, callee).await, HandshakeKind::Full);
    }
}

#[test]
fn when_a_certificate_ends_is_known_and_follows_a_renewal() {
    let authority = Authority::new();
    let credentials = Credentials::new(&authority.ending(LEARNER, 2100)).unwrap();
    let transport = Transport::secured(credentials.clone());
    assert_eq!(transport.ends(), Some(4_102_444_800));
    credentials.replace(&authority.ending(LEARNER, 2101)).unwrap();
    assert_eq!(transport.ends(), Some(4_133_980_800));
    assert_eq!(Transport::plain().ends(), None);
}
