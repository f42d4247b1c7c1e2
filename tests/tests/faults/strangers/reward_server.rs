//! The same callers at a reward-server, which reads larger messages and has a bound of its own for connections.

use super::{MEMORY, is_served_again, lines_that_say_little_are_cut, others_are_closed_beyond, promptly};
use anyhow::Result;
use integration_tests::{RewardServer, TestCluster};
use proto::{MAX_MESSAGE_BYTES, header, pb};
use tonic::Code;

async fn reward_server(change: impl FnOnce(&mut TestCluster)) -> Result<RewardServer> {
    let mut cluster = TestCluster::new(72)?;
    change(&mut cluster);
    let server = cluster.start_reward().await?;
    server.answers().await?;
    Ok(server)
}

fn question(caller: &str) -> pb::GetRewardModelRequest {
    pb::GetRewardModelRequest {
        header: Some(header(None, None, caller)),
    }
}

/// A new connection is served at once.
async fn is_served(server: &RewardServer) -> Result<()> {
    promptly(async {
        let mut client = server.reward_client().await?;
        client.get_reward_model(question("well behaved")).await?;
        Ok(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_cuts_lines_that_say_nothing_or_little_and_serves_others_meanwhile() -> Result<()> {
    let server = reward_server(|_| {}).await?;
    lines_that_say_little_are_cut(server.address, is_served(&server)).await?;
    server.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_closes_connections_beyond_its_limit_and_their_places_come_back() -> Result<()> {
    let server = reward_server(|cluster| cluster.reward_server.max_connections = 8).await?;
    others_are_closed_beyond(8, server.address).await?;
    is_served_again(async || is_served(&server).await).await?;
    server.stopped().await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reward_server_refuses_what_is_too_large_by_its_length_and_serves_others() -> Result<()> {
    let _much = MEMORY.lock().await;
    let server = reward_server(|_| {}).await?;
    let mut client = server.reward_client().await?;
    let group = pb::ImageGroup {
        images: vec![vec![0; MAX_MESSAGE_BYTES / 2 + 1].into(); 2],
        ..Default::default()
    };
    let request = pb::ScoreGroupsRequest {
        header: Some(header(None, None, "loud")),
        groups: vec![group],
    };
    let refused = client.score_groups(request).await.unwrap_err();
    // Not RESOURCE_EXHAUSTED: callers come again after that, and it would be as large then.
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert!(refused.message().contains("too large"), "{refused:?}");
    let refused = client.get_reward_model(question(&"x".repeat(1 << 20))).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    drop(client);
    is_served(&server).await?;
    server.stopped().await??;
    Ok(())
}
