//! The same callers at a reward-server, which reads larger messages and has a bound of its own for connections.

use super::{GREETING, PROMPT, drip, is_cut, resident};
use anyhow::{Context as _, Result};
use integration_tests::{RewardServer, TestCluster};
use proto::{MAX_MESSAGE_BYTES, header, pb};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::Code;

async fn reward_server(change: impl FnOnce(&mut TestCluster)) -> Result<RewardServer> {
    let mut cluster = TestCluster::new(72)?;
    change(&mut cluster);
    let server = cluster.start_reward().await?;
    let mut client = server.reward_client().await?;
    timeout(
        Duration::from_secs(60),
        client.get_reward_model(question("early")),
    )
    .await??;
    Ok(server)
}

fn question(caller: &str) -> pb::GetRewardModelRequest {
    pb::GetRewardModelRequest {
        header: Some(header(None, None, caller)),
    }
}

/// A new connection is served at once.
async fn is_served(server: &RewardServer) -> Result<()> {
    let served = async {
        let mut client = server.reward_client().await?;
        client.get_reward_model(question("well behaved")).await?;
        anyhow::Ok(())
    };
    timeout(PROMPT, served).await.context("nobody else is served")?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_cuts_lines_that_say_nothing_or_little_and_serves_others_meanwhile() -> Result<()> {
    let server = reward_server(|_| {}).await?;
    let before = resident();
    let mut silent = TcpStream::connect(server.address).await?;
    let mut lines = JoinSet::new();
    for _ in 0..200 {
        lines.spawn(drip(server.address));
    }
    sleep(Duration::from_secs(3)).await;
    is_served(&server).await?;
    let grown = resident().saturating_sub(before);
    assert!(
        grown < 128 << 20,
        "{grown} bytes more for 200 lines that say nothing"
    );
    assert!(is_cut(&mut silent, Duration::from_secs(30)).await);
    while let Some(lasted) = lines.join_next().await {
        let lasted = lasted??;
        assert!(lasted < Duration::from_secs(30), "{lasted:?}");
    }
    server.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_closes_connections_beyond_its_limit_and_their_places_come_back() -> Result<()> {
    let server = reward_server(|cluster| cluster.reward_server.max_connections = 8).await?;
    let mut lines = vec![];
    for _ in 0..40 {
        let mut line = TcpStream::connect(server.address).await?;
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
    assert!((1..=8).contains(&open.len()), "{} lines are open", open.len());
    drop(open);
    sleep(Duration::from_millis(300)).await;
    is_served(&server).await?;
    server.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_refuses_what_is_too_large_by_its_length_and_serves_others() -> Result<()> {
    let server = reward_server(|_| {}).await?;
    let mut client = server.reward_client().await?;
    let group = pb::ImageGroup {
        images: vec![vec![0; MAX_MESSAGE_BYTES].into(); 2],
        ..Default::default()
    };
    let request = pb::ScoreGroupsRequest {
        header: Some(header(None, None, "loud")),
        groups: vec![group],
    };
    let refused = client.score_groups(request).await.unwrap_err();
    // Not RESOURCE_EXHAUSTED: callers come again after that, and it would be as large then.
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    let refused = client.get_reward_model(question(&"x".repeat(1 << 20))).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    drop(client);
    is_served(&server).await?;
    server.stopped().await??;
    Ok(())
}
