//! Which addresses a URL's host has.

use futures::future::{BoxFuture, FutureExt as _};
use std::{io, net::SocketAddr};
use tonic::transport::Uri;

/// Tells addresses.
pub(super) trait Lookup: Send + Sync {
    /// Those of the host of `url`, with its port.
    fn addresses(&self, url: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// The machine's resolver. A headless service of Kubernetes has an address for each of its pods that is ready.
pub(super) struct System;

impl Lookup for System {
    fn addresses(&self, url: &str) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        let uri = url.parse::<Uri>();
        async move {
            let uri = uri.map_err(io::Error::other)?;
            let (host, port) = proto::host_and_port(&uri)?;
            Ok(tokio::net::lookup_host((host, port)).await?.collect())
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_its_own_and_a_url_without_a_host_has_none() {
        for url in ["http://127.0.0.1:7401", "http://[::1]:7401"] {
            let found = System.addresses(url).await.unwrap();
            assert_eq!(found, [url.strip_prefix("http://").unwrap().parse().unwrap()]);
        }
        assert!(System.addresses("/nowhere").await.is_err());
    }
}
