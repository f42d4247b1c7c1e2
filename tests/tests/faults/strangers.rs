//! Callers that cost a server more than they are worth: lines that say nothing, too many of them, messages and headers too large,
//! streams without end. Whoever behaves is served meanwhile. The learner is called here, a reward-server and an actor in
//! `strangers/`.

mod actor;
mod nonsense;
mod reward_server;

use anyhow::{Context as _, Result};
use integration_tests::{Learner, TestCluster};
use proto::pb::{self, learner_service_client::LearnerServiceClient};
use proto::{MAX_OUTCOMES_BYTES, header};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, Request};

/// How long whoever behaves may wait for an answer.
const PROMPT: Duration = Duration::from_secs(3);

/// HTTP/2's preface and an empty SETTINGS frame.
const GREETING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

async fn learner(change: impl FnOnce(&mut TestCluster)) -> Result<(TestCluster, Learner)> {
    let mut cluster = TestCluster::new(71)?;
    change(&mut cluster);
    let learner = cluster.start_learner().await?;
    // It has read its policy when it answers.
    let mut client = learner.learner_client().await?;
    timeout(Duration::from_secs(60), client.get_run_status(question("early"))).await??;
    Ok((cluster, learner))
}

fn question(caller: &str) -> pb::GetRunStatusRequest {
    pb::GetRunStatusRequest {
        header: Some(header(None, None, caller)),
        metrics_from: 0,
    }
}

/// A new connection is served at once.
async fn is_served(learner: &Learner) -> Result<()> {
    promptly(async {
        let mut client = learner.learner_client().await?;
        client.get_run_status(question("well behaved")).await?;
        Ok(())
    })
    .await
}

async fn promptly(served: impl Future<Output = Result<()>>) -> Result<()> {
    timeout(PROMPT, served).await.context("nobody else is served")?
}

/// Whether the other side closes the line within `time`.
async fn is_cut(line: &mut TcpStream, time: Duration) -> bool {
    let mut heard = [0; 1024];
    let closed = async { while matches!(line.read(&mut heard).await, Ok(1..)) {} };
    timeout(time, closed).await.is_ok()
}

/// Says a byte a second for as long as anybody listens; answers how long that was.
async fn drip(address: SocketAddr) -> Result<Duration> {
    let (begun, mut line) = (Instant::now(), TcpStream::connect(address).await?);
    for byte in GREETING.iter().cycle() {
        if line.write_all(&[*byte]).await.is_err() || is_cut(&mut line, Duration::from_secs(1)).await {
            break;
        }
    }
    Ok(begun.elapsed())
}

/// This process' resident memory, in bytes; servers and callers are all in it.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4096
}

/// Held while memory is measured, and by whoever needs much of it: all tests are in one process.
pub(crate) static MEMORY: Mutex<()> = Mutex::const_new(());

/// Lines to `address` that say nothing, or a byte a second, are cut, and cost little while they last; `others` happens meanwhile.
async fn lines_that_say_little_are_cut(
    address: SocketAddr,
    others: impl Future<Output = Result<()>>,
) -> Result<()> {
    let measured = MEMORY.lock().await;
    let before = resident();
    let mut silent = TcpStream::connect(address).await?;
    let mut lines = JoinSet::new();
    for _ in 0..200 {
        lines.spawn(drip(address));
    }
    sleep(Duration::from_secs(3)).await;
    others.await?;
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 128 << 20,
        "{grown} bytes more for 200 lines that say nothing"
    );
    drop(measured);
    assert!(is_cut(&mut silent, Duration::from_secs(30)).await);
    while let Some(lasted) = lines.join_next().await {
        let lasted = lasted??;
        assert!(lasted < Duration::from_secs(30), "{lasted:?}");
    }
    Ok(())
}

/// Of more connections to `address` than `most` some stay open, no more than these; they have ended when this returns.
async fn others_are_closed_beyond(most: usize, address: SocketAddr) -> Result<()> {
    let mut lines = vec![];
    for _ in 0..5 * most {
        let mut line = TcpStream::connect(address).await?;
        // One that is closed already may not take it.
        let _refused = line.write_all(GREETING).await;
        lines.push(line);
    }
    let mut open = vec![];
    for mut line in lines {
        if !is_cut(&mut line, Duration::from_millis(200)).await {
            open.push(line);
        }
    }
    assert!((1..=most).contains(&open.len()), "{} lines are open", open.len());
    Ok(())
}

/// A new connection is served once those that ended have given their places back.
async fn is_served_again(is_served: impl AsyncFn() -> Result<()>) -> Result<()> {
    let again = async {
        while is_served().await.is_err() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), again)
        .await
        .context("no place comes back")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_a_byte_a_second_are_cut_and_others_are_served_meanwhile() -> Result<()> {
    let (_cluster, learner) = learner(|_| {}).await?;
    lines_that_say_little_are_cut(learner.address, is_served(&learner)).await?;
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed_at_once_and_places_come_back() -> Result<()> {
    let (_cluster, learner) = learner(|cluster| cluster.learner.max_connections = 8).await?;
    others_are_closed_beyond(8, learner.address).await?;
    is_served_again(async || is_served(&learner).await).await?;
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_large_is_refused_by_its_length_and_not_asked_for_again() -> Result<()> {
    let _much = MEMORY.lock().await;
    let (_cluster, learner) = learner(|_| {}).await?;
    let mut client = learner
        .learner_client()
        .await?
        .max_encoding_message_size(usize::MAX);
    let failed = pb::Failed {
        detail: "x".repeat(MAX_OUTCOMES_BYTES),
        ..Default::default()
    };
    let outcome = pb::RolloutOutcome {
        task: 0,
        outcome: Some(pb::rollout_outcome::Outcome::Failed(failed)),
    };
    let request = pb::SubmitOutcomesRequest {
        header: Some(header(None, None, "loud")),
        outcomes: vec![outcome],
        ..Default::default()
    };
    let refused = client.submit_outcomes(request).await.unwrap_err();
    // Not RESOURCE_EXHAUSTED: callers come again after that, and it would be as large then.
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    let refused = client
        .get_run_status(question(&"x".repeat(1 << 20)))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");
    is_served(&learner).await?;
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_headers_is_refused_and_others_are_served() -> Result<()> {
    let (_cluster, learner) = learner(|_| {}).await?;
    let mut client = learner.learner_client().await?;
    let mut request = Request::new(question("wordy"));
    for number in 0..64 {
        let key = format!("x-flood-{number}").parse::<tonic::metadata::MetadataKey<_>>()?;
        request
            .metadata_mut()
            .insert(key, MetadataValue::try_from("y".repeat(1 << 10))?);
    }
    let refused = timeout(PROMPT, client.get_run_status(request)).await?;
    assert!(refused.is_err(), "64 KiB of headers were taken");
    is_served(&learner).await?;
    learner.stopped().await??;
    Ok(())
}

/// Follows the run as often as it is let; answers how many times that is by the time the test ends.
async fn follow(client: LearnerServiceClient<Channel>, times: usize) -> usize {
    let mut streams = JoinSet::new();
    for number in 0..times {
        let mut client = client.clone();
        streams.spawn(async move {
            let request = pb::WatchPolicyRequest {
                header: Some(header(None, None, &format!("follower-{number}"))),
                after: None,
                relay_port: 0,
                evaluates: false,
                settings: Default::default(),
            };
            let mut stream = client.watch_policy(request).await?.into_inner();
            stream.message().await?;
            Ok::<_, tonic::Status>(stream)
        });
    }
    let mut open = vec![];
    let all = async {
        while let Some(stream) = streams.join_next().await {
            open.extend(stream.ok().and_then(Result::ok));
        }
    };
    // Those that are not let in wait for one that ends.
    let _waiting = timeout(Duration::from_secs(2), all).await;
    open.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_opens_no_more_streams_than_it_may() -> Result<()> {
    let (_cluster, learner) = learner(|_| {}).await?;
    let client = learner.learner_client().await?;
    let (open, served) = tokio::join!(follow(client, 300), async {
        sleep(Duration::from_secs(1)).await;
        is_served(&learner).await
    });
    served?;
    assert!(
        (1..=64).contains(&open),
        "{open} streams of one connection are open"
    );
    learner.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_falls_silent_without_a_farewell_gives_its_place_back() -> Result<()> {
    let (_cluster, learner) = learner(|cluster| cluster.learner.max_connections = 1).await?;
    // Once the connection by which the learner was asked at the start has ended.
    let mut gone = loop {
        let mut line = TcpStream::connect(learner.address).await?;
        // One that is closed already may not take it.
        let _refused = line.write_all(GREETING).await;
        if !is_cut(&mut line, Duration::from_millis(300)).await {
            break line;
        }
    };
    assert!(is_served(&learner).await.is_err(), "its place is taken");
    // It answers no ping: the learner asks after 30 s and waits for as long.
    assert!(is_cut(&mut gone, Duration::from_secs(90)).await);
    is_served_again(async || is_served(&learner).await).await?;
    learner.stopped().await??;
    Ok(())
}
