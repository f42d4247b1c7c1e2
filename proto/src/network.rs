//! How the roles reach each other: over TCP, unless whoever puts them together has another network.
//!
//! A network makes connections; who is at their other end is made sure of by [`Tls`](crate::tls::Tls), which lies over any of
//! them.

use crate::{KeepAlive, PeerRole};
use futures::future::{BoxFuture, FutureExt as _};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tonic::codegen::http::uri::Scheme;
use tonic::codegen::tokio_stream::Stream;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Endpoint};

/// What bytes go to and fro over.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Duplex for T {}

/// Who is called, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    /// Name or address of the host; IPv6 addresses without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Who should answer there.
    pub who: Answering,
}

/// Who should answer at an address, where callees prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answering {
    /// One in this role of the caller's own run, whatever its address is called.
    Role(PeerRole),
    /// Whoever the host's name belongs to.
    Host,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What connections are made over.
pub trait Network: fmt::Debug + Send + Sync {
    /// Connects.
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>>;
}

/// The machine's network.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

impl Network for Tcp {
    fn connect(&self, to: Destination) -> BoxFuture<'static, io::Result<Box<dyn Duplex>>> {
        async move {
            let stream = TcpStream::connect((to.host.as_str(), to.port)).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    }
}

/// A channel to `who` at `url` (`http://host:port`, or `https` where callees prove who they are; the network decides, not the
/// URL), with what `settings` add or change. It connects at the first request, and again after a connection broke or its other end did not
/// say that it lives ([`KeepAlive::OF_CALLERS`]).
///
/// # Errors
/// When `url` is none.
pub fn channel(
    network: &Arc<dyn Network>,
    url: &str,
    who: Answering,
    settings: impl FnOnce(Endpoint) -> Endpoint,
) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    let called = endpoint.uri().clone();
    let endpoint = settings(KeepAlive::OF_CALLERS.on(plain(endpoint)));
    let network = network.clone();
    let connector = tower::service_fn(move |_: Uri| {
        let to = host_and_port(&called).map(|(host, port)| Destination { host, port, who });
        let connection = to.map(|to| network.connect(to));
        async move { connection?.await.map(TokioIo::new) }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

/// The same endpoint under a scheme for which the transport adds nothing of its own: encryption is the network's.
fn plain(endpoint: Endpoint) -> Endpoint {
    let mut parts = endpoint.uri().clone().into_parts();
    let encrypted = parts.scheme == Some(Scheme::HTTPS);
    parts.scheme = Some(Scheme::HTTP);
    match Uri::from_parts(parts) {
        Ok(uri) if encrypted => Endpoint::from(uri).origin(endpoint.uri().clone()),
        _ => endpoint,
    }
}

/// The host that a URL names, an IPv6 address without brackets, and its port: 443 under `https` and 80 else where it names none.
///
/// # Errors
/// When it names no host.
pub fn host_and_port(url: &Uri) -> io::Result<(String, u16)> {
    let host = url.host().ok_or_else(|| io::Error::other("it names no host"))?;
    let usual = if url.scheme_str() == Some("https") {
        443
    } else {
        80
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok((host.to_owned(), url.port_u16().unwrap_or(usual)))
}

/// Connections that a server accepts, such as tonic's `TcpIncoming`.
pub trait Incoming: Stream<Item = io::Result<<Self as Incoming>::Connection>> + Send + 'static {
    /// One of them.
    type Connection: AsyncRead + AsyncWrite + Connected + Send + Unpin + 'static;
}

impl<S, C> Incoming for S
where
    S: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    type Connection = C;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_what_the_url_names_without_brackets_and_ports_are_those_of_its_scheme() {
        let parsed = |url: &str| host_and_port(&url.parse().unwrap());
        for (url, host, port) in [
            ("http://[::1]:7400", "::1", 7400),
            ("https://learner:7400", "learner", 7400),
            ("https://images.example", "images.example", 443),
            ("http://images.example", "images.example", 80),
        ] {
            assert_eq!(parsed(url).unwrap(), (host.to_owned(), port), "{url}");
        }
        assert!(parsed("/path").is_err());
    }

    #[test]
    fn a_destination_is_shown_as_an_address_is_written() {
        let to = |host: &str| Destination {
            host: host.into(),
            port: 7400,
            who: Answering::Host,
        };
        assert_eq!(to("::1").to_string(), "[::1]:7400");
        assert_eq!(to("learner").to_string(), "learner:7400");
    }

    #[test]
    fn the_transport_never_encrypts_by_itself() {
        let endpoint = plain(Endpoint::from_static("https://learner:7400"));
        assert_eq!(endpoint.uri().to_string(), "http://learner:7400/");
    }
}
