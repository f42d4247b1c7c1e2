//! A running service, dialled once, by a command that asks it something: either it answers, or it is said in words why not.
//!
//! The address is looked up, connected to and, in plain text, greeted before the first call, because a channel's error tells a wrong
//! name, a closed port and a service of another protocol apart badly. Nothing is retried.

mod greeting;

use anyhow::Chain;
use proto::pb;
use proto::pb::image_service_client::ImageServiceClient;
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::pb::reward_service_client::RewardServiceClient;
use proto::tls::{HandshakeError, Transport};
use proto::{
    Answering, ImageGenerator, InvalidMessage, MAX_MESSAGE_BYTES, MAX_STATUS_BYTES, RewardServerStatus,
    RunStatus, ServedModel, one_line,
};
use std::error::Error as StdError;
use std::time::Duration;
use std::{fmt, io};
use tokio::net::{TcpStream, lookup_host};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status, Streaming};

/// Why a service does not answer as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The text is no address of a service.
    Address(String),
    /// No machine has the name.
    Unresolved(String),
    /// Nothing listens there.
    Refused,
    /// The machine does not answer, or too late.
    Unreachable(String),
    /// Either side has not proven to the other who it is, or only one of them wants that.
    Unproven(String),
    /// Something listens, and it does not speak gRPC.
    OtherProtocol(String),
    /// It speaks gRPC, and has no such service.
    WrongService,
    /// It does not answer this caller.
    Denied(String),
    /// It answers with an error.
    Failed(String),
    /// Its answer is not well formed.
    Malformed(InvalidMessage),
}

impl Trouble {
    /// Whether nothing is there at all, as before a job is launched.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::Refused | Self::Unreachable(_) | Self::Unresolved(_))
    }

    fn of_status(status: &Status) -> Self {
        let said = one_line(status.message());
        match status.code() {
            Code::Unimplemented => Self::WrongService,
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(said),
            Code::DeadlineExceeded => Self::Unreachable("it takes too long".into()),
            Code::Cancelled => Self::Unreachable("it takes too long, or the connection was lost".into()),
            code => match StdError::source(status) {
                // What the transport makes up itself has a cause; a service's own error has none.
                Some(cause) => Self::of_transport(cause),
                None => Self::Failed(format!("{code:?}: {said}")),
            },
        }
    }

    fn of_transport(cause: &(dyn StdError + 'static)) -> Self {
        for io in Chain::new(cause).filter_map(|cause| cause.downcast_ref::<io::Error>()) {
            let inner = io
                .get_ref()
                .and_then(|inner| inner.downcast_ref::<HandshakeError>());
            match (inner, io.kind()) {
                (Some(handshake), _) => return Self::Unproven(one_line(&handshake.to_string())),
                (None, io::ErrorKind::ConnectionRefused) => return Self::Refused,
                _ => {}
            }
        }
        let told = Chain::new(cause).map(|cause| one_line(&cause.to_string()));
        Self::Unreachable(told.collect::<Vec<_>>().join(": "))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(reason) => write!(f, "no address of a service: {reason}"),
            Self::Unresolved(host) => write!(f, "no machine is called {host:?}"),
            Self::Refused => f.write_str("nothing listens there (connection refused)"),
            Self::Unreachable(reason) => write!(f, "not reached: {reason}"),
            Self::Unproven(reason) => write!(f, "no connection: {reason}"),
            Self::OtherProtocol(reason) => write!(f, "what listens there speaks no gRPC ({reason})"),
            Self::WrongService => f.write_str("another service listens there"),
            Self::Denied(reason) => write!(f, "it does not answer this caller: {reason}"),
            Self::Failed(reason) => write!(f, "it answers with an error: {reason}"),
            Self::Malformed(invalid) => write!(f, "its answer is not well formed: {invalid}"),
        }
    }
}

impl StdError for Trouble {}

/// A service that something listens for.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    channel: Channel,
    caller: &'static str,
}

impl Peer {
    /// Reaches for whoever is `who` at `url`, waiting at most `patience`, which every call has too. Who it is, is proven at the
    /// first call.
    ///
    /// # Errors
    /// Any [`Trouble`] but those of a service's answer.
    pub(crate) async fn dial(
        caller: &'static str,
        transport: &Transport,
        who: Answering,
        url: &str,
        patience: Duration,
    ) -> Result<Self, Trouble> {
        let uri: Uri = url.parse().map_err(|_| Trouble::Address(format!("{url:?}")))?;
        if uri.host().is_none() || uri.scheme().is_none() {
            return Err(Trouble::Address(format!(
                "{url:?} is not of the form http://host:port"
            )));
        }
        let is_plain = transport.scheme() == "http";
        let reached = async {
            let (host, port) =
                proto::host_and_port(&uri).map_err(|error| Trouble::Address(error.to_string()))?;
            let connection = reach(&host, port).await?;
            match is_plain {
                true => greeting::exchange(connection).await,
                false => Ok(()),
            }
        };
        let seconds = patience.as_secs_f64();
        let late = || Err(Trouble::Unreachable(format!("no answer in {seconds} s")));
        tokio::time::timeout(patience, reached)
            .await
            .unwrap_or_else(|_| late())?;
        let settings = |endpoint: Endpoint| endpoint.connect_timeout(patience).timeout(patience);
        let channel = proto::channel(&transport.network(), url, who, settings);
        let channel = channel.map_err(|error| Trouble::Address(error.to_string()))?;
        Ok(Self { channel, caller })
    }

    /// How a learner's run is going, with the metrics from a position on.
    ///
    /// # Errors
    /// The [`Trouble`] of its answer.
    pub(crate) async fn run_status(&self, metrics_from: u64) -> Result<RunStatus, Trouble> {
        let request = pb::GetRunStatusRequest {
            header: self.header(),
            metrics_from,
        };
        let mut client =
            LearnerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_STATUS_BYTES);
        let status = answered(client.get_run_status(request).await)?;
        status.try_into().map_err(Trouble::Malformed)
    }

    /// A learner's announcements from the version on that the run had when it was asked how it is going.
    ///
    /// # Errors
    /// The [`Trouble`] of its answer.
    pub(crate) async fn announcements(
        &self,
        run: &RunStatus,
    ) -> Result<Streaming<pb::PolicyManifest>, Trouble> {
        let request = pb::WatchPolicyRequest {
            header: Some(proto::header(
                Some(&run.run),
                Some(run.version.epoch),
                self.caller,
            )),
            after: Some(run.version.into()),
            // It passes nothing on.
            relay_port: 0,
            evaluates: false,
            settings: Default::default(),
        };
        let mut client =
            LearnerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        answered(client.watch_policy(request).await)
    }

    /// Which model a reward-server serves.
    ///
    /// # Errors
    /// The [`Trouble`] of its answer.
    pub(crate) async fn reward_model(&self) -> Result<ServedModel, Trouble> {
        let request = pb::GetRewardModelRequest {
            header: self.header(),
        };
        let mut client = RewardServiceClient::new(self.channel.clone());
        let model = answered(client.get_reward_model(request).await)?;
        model.try_into().map_err(Trouble::Malformed)
    }

    /// What a reward-server has done.
    ///
    /// # Errors
    /// The [`Trouble`] of its answer.
    pub(crate) async fn server_status(&self) -> Result<RewardServerStatus, Trouble> {
        let request = pb::GetServerStatusRequest {
            header: self.header(),
        };
        let mut client = RewardServiceClient::new(self.channel.clone());
        let status = answered(client.get_server_status(request).await)?;
        status.try_into().map_err(Trouble::Malformed)
    }

    /// Who renders behind an image service.
    ///
    /// # Errors
    /// The [`Trouble`] of its answer.
    pub(crate) async fn image_generator(&self) -> Result<ImageGenerator, Trouble> {
        let request = pb::GetImageGeneratorRequest {
            header: self.header(),
        };
        let mut client = ImageServiceClient::new(self.channel.clone());
        answered(client.get_image_generator(request).await).map(Into::into)
    }

    fn header(&self) -> Option<pb::RequestHeader> {
        Some(proto::header(None, None, self.caller))
    }
}

fn answered<T>(answer: Result<tonic::Response<T>, Status>) -> Result<T, Trouble> {
    answer
        .map(tonic::Response::into_inner)
        .map_err(|status| Trouble::of_status(&status))
}

async fn reach(host: &str, port: u16) -> Result<TcpStream, Trouble> {
    let addresses = lookup_host((host, port))
        .await
        .map_err(|_| Trouble::Unresolved(host.to_owned()))?;
    let mut last = Trouble::Unresolved(host.to_owned());
    for address in addresses {
        last = match TcpStream::connect(address).await {
            Ok(connection) => return Ok(connection),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Trouble::Refused,
            Err(error) => Trouble::Unreachable(error.to_string()),
        };
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    const PATIENCE: Duration = Duration::from_secs(5);

    async fn trouble(url: &str) -> Trouble {
        let learner = Answering::Role(proto::PeerRole::Learner);
        match Peer::dial("test", &Transport::plain(), learner, url, PATIENCE).await {
            Ok(peer) => peer.run_status(0).await.unwrap_err(),
            Err(trouble) => trouble,
        }
    }

    #[tokio::test]
    async fn a_closed_port_and_an_unknown_name_are_told_apart() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        assert_eq!(trouble(&format!("http://{closed}")).await, Trouble::Refused);
        let unknown = trouble("http://no-such-host.invalid:7400").await;
        assert!(matches!(unknown, Trouble::Unresolved(_)), "{unknown}");
        let none = trouble("learner").await;
        assert!(!none.is_absence(), "{none}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_of_another_protocol_is_no_service() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answers = std::thread::spawn(move || {
            let says: [&[u8]; 3] = [b"HTTP/1.1 400 Bad Request\r\n\r\n", &[21, 3, 3, 0, 2, 2, 70], b""];
            for (says, stream) in says.into_iter().zip(listener.incoming()) {
                let mut stream = stream.unwrap();
                stream.write_all(says).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                // One that closes with something unread takes its answer back.
                while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
            }
        });
        let url = format!("http://{address}");
        let found = trouble(&url).await;
        let told = "what listens there speaks no gRPC (it says \"HTTP/1.1 400 Bad Request\")";
        assert_eq!(found.to_string(), told);
        assert!(matches!(trouble(&url).await, Trouble::Unproven(_)));
        assert!(matches!(trouble(&url).await, Trouble::Unreachable(_)));
        answers.join().unwrap();
    }

    #[tokio::test]
    async fn a_service_of_another_role_is_the_wrong_one() {
        let (reporter, health) = tonic_health::server::health_reporter();
        drop(reporter);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tonic::transport::Server::builder().add_service(health);
        let serving = tokio::spawn(server.serve_with_incoming(incoming));
        assert_eq!(trouble(&format!("http://{address}")).await, Trouble::WrongService);
        serving.abort();
    }
}
