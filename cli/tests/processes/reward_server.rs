//! The real reward-server: another model takes over while it serves, a broken one does not, and nonsense does it no harm.

use crate::program::{signal, wait_until};
use crate::role::Role;
use crate::stage::command;
use proto::pb::reward_service_client::RewardServiceClient;
use proto::pb::{self, group_score};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tokio::runtime::Runtime;
use tonic::transport::Channel;

/// Which model is served, or why there is no answer.
pub(crate) async fn asked(channel: Channel) -> Result<pb::RewardModel, tonic::Status> {
    let header = Some(proto::header(None, None, "test"));
    let mut client = RewardServiceClient::new(channel);
    let answer = client
        .get_reward_model(pb::GetRewardModelRequest { header })
        .await;
    answer.map(tonic::Response::into_inner)
}

/// Trains a small model.
pub(crate) fn train(directory: &Path, name: &str, seed: &str) {
    let settings = [
        "shopworld.products=16",
        "reward.epochs=1",
        "reward.layers=1",
        "reward.warmup_steps=1",
    ];
    let mut command = command(directory, &["train-reward", "--out", name, "--seed", seed]);
    let output = command
        .args(settings.iter().flat_map(|set| ["--set", set]))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Puts a copy of a model where another one is, as one does: beside it, then in its place.
fn put(directory: &Path, model: &str, place: &str) {
    let new = directory.join("new");
    fs::create_dir(&new).unwrap();
    for file in fs::read_dir(directory.join(model)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), new.join(file.file_name())).unwrap();
    }
    let place = directory.join(place);
    if place.exists() {
        fs::rename(&place, directory.join("old")).unwrap();
    }
    fs::rename(new, &place).unwrap();
    if directory.join("old").exists() {
        fs::remove_dir_all(directory.join("old")).unwrap();
    }
}

struct Server {
    role: Role,
    runtime: Runtime,
    client: RewardServiceClient<Channel>,
    endpoint: String,
    log: std::path::PathBuf,
}

impl Server {
    fn start(directory: &Path, settings: &[&str]) -> Self {
        let log = directory.join("reward-server.log");
        let always = ["reward-server", "--model", "served", "--listen", "127.0.0.1:0"];
        let mut command = command(directory, &always);
        command.args(settings.iter().flat_map(|set| ["--set", set]));
        let (role, endpoint) = Role::start(&mut command, &log);
        let endpoint = endpoint.unwrap();
        let runtime = Runtime::new().unwrap();
        let client = runtime
            .block_on(RewardServiceClient::connect(endpoint.clone()))
            .unwrap();
        Self {
            role,
            runtime,
            client,
            endpoint,
            log,
        }
    }

    fn status(&self) -> pb::RewardServerStatus {
        let header = Some(proto::header(None, None, "test"));
        let request = pb::GetServerStatusRequest { header };
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(client.get_server_status(request));
        answer.unwrap().into_inner()
    }

    fn digest(&self) -> Vec<u8> {
        self.status().reward_model.unwrap().digest.unwrap().blake3
    }

    /// Scores two flat pictures; the model that did, and the rewards.
    fn score(&self) -> (Vec<u8>, Vec<f64>) {
        let picture = |shade| {
            let picture = image::RgbImage::from_pixel(48, 48, image::Rgb([shade; 3]));
            data::cutout::encode_rgb_png(&picture).into()
        };
        let request = pb::ScoreGroupsRequest {
            header: Some(proto::header(None, None, "test")),
            groups: vec![pb::ImageGroup {
                caption: "red desk lamp".into(),
                images: vec![picture(20), picture(220)],
                ..Default::default()
            }],
        };
        let mut client = self.client.clone();
        let answer = self.runtime.block_on(client.score_groups(request));
        let answer = answer.unwrap().into_inner();
        let Some(group_score::Result::Scores(scores)) = answer.scores[0].result.clone() else {
            panic!("{answer:?}")
        };
        (answer.reward_model.unwrap().blake3, scores.rewards)
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }
}

/// Two reward models, the first of them served.
fn two_models() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    train(directory.path(), "first", "1");
    train(directory.path(), "second", "2");
    put(directory.path(), "first", "served");
    directory
}

#[test]
fn another_model_takes_over_at_sighup_and_a_broken_one_leaves_the_old_one_serving() {
    let directory = two_models();
    let directory = directory.path();
    let server = Server::start(directory, &["reward_server.reload_poll_s=0"]);
    let (first, rewards) = server.score();
    assert_eq!(server.score(), (first.clone(), rewards.clone()));
    assert_eq!(
        (server.status().cache_hits, server.status().groups_computed),
        (1, 1)
    );

    put(directory, "second", "served");
    signal(server.role.process(), "HUP");
    wait_until("the second model serves", || server.status().reloads == 1);
    let (second, others) = server.score();
    assert!(second != first && others != rewards);
    assert_eq!(server.digest(), second);

    let weights = directory.join("served/model.safetensors");
    let whole = fs::read(&weights).unwrap();
    fs::write(&weights, &whole[..whole.len() / 2]).unwrap();
    signal(server.role.process(), "HUP");
    wait_until("the broken model is told", || {
        server.status().reload_failure.contains("model.safetensors")
    });
    assert_eq!(server.score(), (second.clone(), others));
    assert!(
        server.said().contains("the old model goes on"),
        "{}",
        server.said()
    );

    fs::write(&weights, whole).unwrap();
    signal(server.role.process(), "HUP");
    wait_until("all is well", || server.status().reload_failure.is_empty());
    // The same model again: nothing took over.
    assert_eq!((server.status().reloads, server.digest()), (1, second));
    signal(server.role.process(), "TERM");
    assert!(server.role.wait());
}

#[test]
fn a_server_that_polls_notices_by_itself_and_nonsense_on_its_port_does_no_harm() {
    let directory = two_models();
    let directory = directory.path();
    let server = Server::start(directory, &["reward_server.reload_poll_s=0.1"]);
    let first = server.digest();
    let address = server.endpoint.strip_prefix("http://").unwrap();
    for nonsense in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff",
        &[0; 4096],
    ] {
        let mut connection = TcpStream::connect(address).unwrap();
        connection.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        connection.write_all(nonsense).unwrap();
        // Whatever it says, if it says anything.
        let _ = connection.read(&mut [0; 64]);
    }
    assert_eq!(server.score().0, first);
    put(directory, "second", "served");
    wait_until("the second model serves", || server.digest() != first);
    let (of, _) = server.score();
    assert_eq!(of, server.digest());
    fs::remove_dir_all(directory.join("served")).unwrap();
    wait_until("the missing model is told", || {
        !server.status().reload_failure.is_empty()
    });
    assert_eq!(server.score().0, of);
    signal(server.role.process(), "TERM");
    assert!(server.role.wait());
}
