//! What the three services have in common as processes: a listener, a runtime, and the line that says they serve.

use crate::allocator;
use crate::config::Config;
use crate::failure::{Outcome, ended};
use crate::monitoring::{self, Watched};
use crate::output;
use crate::ready::{Ready, Role};
use crate::security::Security;
use crate::shutdown::Shutdown;
use anyhow::{Context as _, anyhow};
use proto::Answering;
use proto::pb;
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::pb::reward_service_client::RewardServiceClient;
use proto::tls::Transport;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// How often a starting service is asked whether it serves.
const PROBE_INTERVAL: Duration = Duration::from_millis(25);

/// Threads that wait for the network; computing has its own.
const IO_THREADS: usize = 2;

/// The async runtime of a process, and the pool that its kernels share.
///
/// # Errors
/// When the system gives no threads.
pub(crate) fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    let threads = config.compute.threads;
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|index| format!("kernels-{index}"))
        .build_global()
        .context("cannot start the kernels' threads")?;
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(IO_THREADS)
        .enable_all()
        .build()
        .context("cannot start the async runtime")
}

/// The runtime of a command that waits for a store or a service; a thread of its own does the waiting, whatever the caller computes.
///
/// # Errors
/// When the system gives it nothing to wait with.
pub(crate) fn small_runtime() -> anyhow::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build();
    runtime.context("cannot start the async runtime")
}

/// A process that can be asked to stop.
#[derive(Debug)]
pub(crate) struct Host {
    runtime: Runtime,
    shutdown: Shutdown,
}

impl Host {
    /// Starts the runtime, gives free memory back, and listens for signals, before anything that takes time: from here on a signal means draining.
    ///
    /// # Errors
    /// When the system gives no threads, or the process cannot receive signals.
    pub(crate) fn start(config: &Config, with_parent: bool) -> anyhow::Result<Self> {
        let runtime = runtime(config)?;
        allocator::gives_back()?;
        let shutdown = runtime
            .block_on(async { Shutdown::listen(with_parent) })
            .context("cannot receive signals")?;
        Ok(Self { runtime, shutdown })
    }

    /// The runtime, for what is driven by it from elsewhere.
    pub(crate) fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// The token that says "stop".
    pub(crate) fn shutdown(&self) -> CancellationToken {
        self.shutdown.drain.clone()
    }

    /// Serves what is `watched` from here on, if the configuration says where.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub(crate) fn watch(&self, config: &Config, watched: Watched) -> Outcome<()> {
        let drain = self.shutdown.drain.clone();
        self.runtime
            .block_on(monitoring::start(&config.telemetry, watched, drain))
    }

    /// Does what takes time before a role can serve, such as bringing models here, off the runtime; `None` when the process was
    /// asked to stop meanwhile.
    ///
    /// # Errors
    /// Whatever `work` fails with.
    pub(crate) fn prepare<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Outcome<T> + Send + 'static,
    ) -> Outcome<Option<T>> {
        let drain = self.shutdown.drain.clone();
        self.runtime.block_on(async {
            tokio::select! {
                done = tokio::task::spawn_blocking(work) => done.context("preparing the role")?.map(Some),
                () = drain.cancelled() => Ok(None),
            }
        })
    }

    /// Ends a process that was asked to stop before it could serve: its run is unfinished. Nothing is waited for.
    ///
    /// # Errors
    /// [`Failure::Unfinished`](crate::failure::Failure::Unfinished), but for a status of 0.
    pub(crate) fn stop_early(self, unfinished_status: u8) -> Outcome<()> {
        tracing::info!("asked to stop before there was anything to drain");
        self.runtime.shutdown_background();
        ended(false, unfinished_status)
    }

    /// Runs `work` to its end, or until a second signal drops it where it stands.
    ///
    /// # Errors
    /// Whatever `work` fails with.
    pub(crate) fn run<T>(self, work: impl Future<Output = Outcome<T>>) -> Outcome<T> {
        let outcome = self.runtime.block_on(async {
            tokio::select! {
                outcome = work => outcome,
                () = self.shutdown.at_once.cancelled() => {
                    Err(anyhow!("interrupted twice; ended without finishing what was at hand").into())
                }
            }
        });
        // Nothing is left that is worth waiting for.
        self.runtime.shutdown_background();
        outcome
    }
}

/// Listens on a configured address.
///
/// # Errors
/// When the address is taken or not this machine's; the message names it.
pub(crate) async fn bind(address: &str) -> Outcome<(TcpListener, SocketAddr)> {
    bind_for("--listen", address).await
}

/// The same on an address that another flag names.
///
/// # Errors
/// As [`bind`]; the message names the flag.
pub(crate) async fn bind_for(flag: &str, address: &str) -> Outcome<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}; name another address with {flag}"))?;
    let bound = listener
        .local_addr()
        .context("cannot read the address listened on")?;
    Ok((listener, bound))
}

/// Runs `service`, announcing on standard output when it answers at `address`.
///
/// # Errors
/// When standard output is closed.
pub(crate) async fn serve<T>(
    role: Role,
    address: SocketAddr,
    security: &Security,
    service: impl Future<Output = T>,
) -> Outcome<T> {
    serve_shown(role, address, security, None, service).await
}

/// The same of a role that is shown to people at `dashboard`.
///
/// # Errors
/// When standard output is closed.
pub(crate) async fn serve_shown<T>(
    role: Role,
    address: SocketAddr,
    security: &Security,
    dashboard: Option<String>,
    service: impl Future<Output = T>,
) -> Outcome<T> {
    security.keep_renewed();
    tokio::pin!(service);
    tokio::select! {
        ended = &mut service => return Ok(ended),
        () = answering(role, address, &security.transport) => {}
    }
    let ready = Ready::this_process(role, address, security.transport.scheme()).shown_at(dashboard);
    output::json(&ready).context("cannot announce on standard output")?;
    Ok(service.await)
}

async fn answering(role: Role, address: SocketAddr, transport: &Transport) {
    while !answers(role, dialable(address), transport).await {
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
}

async fn answers(role: Role, address: SocketAddr, transport: &Transport) -> bool {
    let patient = |endpoint: Endpoint| {
        endpoint
            .connect_timeout(Duration::from_secs(1))
            .timeout(Duration::from_secs(2))
    };
    let (url, who) = (format!("http://{address}"), Answering::Role(role.peer()));
    let Ok(channel) = proto::channel(&transport.network(), &url, who, patient) else {
        return false;
    };
    match role {
        Role::Learner => served(learner(channel).await),
        Role::RewardServer => served(reward_model(channel).await),
        Role::Actor => healthy(channel).await,
    }
}

/// Whether the service itself answered, be it with a refusal.
fn served<T>(answer: Result<T, tonic::Status>) -> bool {
    use tonic::Code::{Cancelled, DeadlineExceeded, Unavailable, Unknown};
    answer.map_or_else(
        |status| {
            !matches!(
                status.code(),
                Cancelled | DeadlineExceeded | Unavailable | Unknown
            )
        },
        |_| true,
    )
}

async fn learner(channel: Channel) -> Result<(), tonic::Status> {
    let request = pb::GetRunStatusRequest {
        header: Some(proto::header(None, None, "start")),
        metrics_from: u64::MAX,
    };
    LearnerServiceClient::new(channel)
        .get_run_status(request)
        .await
        .map(drop)
}

async fn reward_model(channel: Channel) -> Result<(), tonic::Status> {
    let request = pb::GetRewardModelRequest {
        header: Some(proto::header(None, None, "start")),
    };
    RewardServiceClient::new(channel)
        .get_reward_model(request)
        .await
        .map(drop)
}

async fn healthy(channel: Channel) -> bool {
    let request = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    let answer = HealthClient::new(channel).check(request).await;
    answer.is_ok_and(|answer| answer.into_inner().status() == ServingStatus::Serving)
}

/// Where this machine reaches a listener on all interfaces.
fn dialable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let (_first, address) = bind("127.0.0.1:0").await.unwrap();
        let message = bind(&address.to_string()).await.unwrap_err().to_string();
        assert!(
            message.contains(&address.to_string()) && message.contains("--listen"),
            "{message}"
        );
    }

    #[test]
    fn a_listener_on_all_interfaces_is_dialled_on_loopback() {
        assert_eq!(
            dialable("0.0.0.0:80".parse().unwrap()),
            "127.0.0.1:80".parse().unwrap()
        );
        assert_eq!(
            dialable("10.0.0.7:80".parse().unwrap()),
            "10.0.0.7:80".parse().unwrap()
        );
    }
}
