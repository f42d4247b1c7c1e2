//! Roles that prove who they are: a whole run of them, and what becomes of those who cannot.

use crate::program::{signal, wait_until};
use crate::reward_server::{asked, train};
use crate::role::Role;
use crate::stage::{CERTIFICATES, Place, Stage, certificates, command, configured, done};
use common::RunId;
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::pb::{self};
use proto::tls::{Credentials, Pem, Transport};
use proto::{Answering, PeerRole, header};
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

const RUN: &str = "proven";

/// Makes certificates for every role, or renews them.
pub(crate) fn certify(directory: &Path, run: &str, out: &str) {
    let arguments = ["certificates", "--run", run, "--out", out];
    done(&command(directory, &arguments).output().unwrap());
}

fn actor<'a>(stage: &'a Stage, id: &str, learner: &Place<'_>, reward: &Place<'_>) -> Place<'a> {
    stage.actor_with(id, learner, reward, &[&format!("run.id={RUN}")])
}

fn pem(directory: &Path, role: &str) -> Pem {
    let read = |file: &str| fs::read(directory.join(role).join(file)).unwrap();
    Pem {
        cert: read("tls.crt"),
        key: read("tls.key"),
        ca: read("ca.crt"),
    }
}

/// A connection to a `callee` for whoever shows the certificate of `role`.
pub(crate) fn channel(directory: &Path, role: &str, callee: PeerRole, url: &str) -> Channel {
    let transport = Transport::secured(Credentials::new(&pem(directory, role)).unwrap());
    let who = Answering::Role(callee);
    proto::channel(&transport.network(), url, who, |endpoint| endpoint).unwrap()
}

/// A client that shows the certificate of `role`.
fn client(directory: &Path, role: &str, url: &str) -> LearnerServiceClient<Channel> {
    LearnerServiceClient::new(channel(directory, role, PeerRole::Learner, url))
}

async fn status(mut client: LearnerServiceClient<Channel>) -> Result<pb::RunStatus, tonic::Status> {
    let request = pb::GetRunStatusRequest {
        header: Some(header(None, None, "test")),
        metrics_from: 0,
    };
    client
        .get_run_status(request)
        .await
        .map(tonic::Response::into_inner)
}

async fn join(mut client: LearnerServiceClient<Channel>) -> Result<(), tonic::Status> {
    let run = RunId::new(RUN).unwrap();
    let request = pb::JoinRequest {
        header: Some(header(Some(&run), None, "test")),
        ..pb::JoinRequest::default()
    };
    client.join(request).await.map(drop)
}

#[test]
fn proven_roles_train_the_same_policy_and_take_renewed_certificates_meanwhile() {
    let stage = Stage::set();
    let directory = stage.directory.path();
    certify(directory, RUN, CERTIFICATES);
    let reward = stage.reward_server_of(RUN);
    let learner = stage.learner(RUN, &[]);
    let first = actor(&stage, "first", &learner, &reward);
    learner.line_with("published");
    // The run stands still while it is asked.
    signal(first.process(), "STOP");
    certify(directory, RUN, CERTIFICATES);
    learner.line_with("certificates renewed");

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let certificates = directory.join(CERTIFICATES);
    runtime.block_on(async {
        let as_role = |role| client(&certificates, role, &learner.url());
        assert_eq!(status(as_role("observer")).await.unwrap().run_id, RUN);
        let refused = status(as_role("actor")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert!(refused.message().contains("actor.proven"), "{refused}");
        let refused = join(as_role("observer")).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
    });
    signal(first.process(), "CONT");
    let _second = actor(&stage, "second", &learner, &reward);
    first.line_with("certificates renewed");
    assert_eq!(stage.adapter_of(RUN, learner), stage.undisturbed);
}

/// How an actor ends that is started with these arguments.
fn refused(directory: &Path, arguments: &[String]) -> (Option<i32>, String) {
    let mut command = configured(directory, &["actor", "--store", "store"]);
    let patience = [
        "--set=actor.learner_timeout_s=2",
        "--set=actor.reward_timeout_s=2",
    ];
    let output = command.args(arguments).args(patience).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn who_is_not_proven_to_take_part_is_refused_and_told_why() {
    let stage = Stage::with_models();
    let directory = stage.directory.path();
    certify(directory, RUN, CERTIFICATES);
    let learner = stage.learner(RUN, &[]);
    let to_learner = format!("--learner={}", learner.url());
    let own = certificates(directory, "actor");
    let told = |arguments: &[&str], more: &[String], status: i32, words: &[&str]| {
        let arguments: Vec<String> = arguments
            .iter()
            .map(|&text| text.into())
            .chain(more.to_vec())
            .collect();
        let (found, said) = refused(directory, &arguments);
        assert_eq!(found, Some(status), "{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
    };

    // Before anything is dialled.
    told(
        &[&to_learner, "--set=run.id=other"],
        &own,
        64,
        &["actor.proven", "actor.other"],
    );
    let of_learner = certificates(directory, "learner");
    told(
        &[&to_learner, "--set=run.id=proven"],
        &of_learner,
        64,
        &["learner.proven", "actor.proven"],
    );
    told(
        &["--learner=http://127.0.0.1:7", "--set=run.id=proven"],
        &own,
        64,
        &["endpoints.learner", "https://"],
    );
    told(&[&to_learner], &[], 64, &["endpoints.learner", "[tls]"]);
    told(&[&to_learner], &own[..1], 64, &["tls.key", "belong together"]);
    told(
        &["--learner=http://learner.example:7400", "--listen=0.0.0.0:0"],
        &[],
        64,
        &[
            "endpoints.learner",
            "endpoints.actor_listen",
            "insecure_plaintext_network",
        ],
    );

    // By the learner, or by the actor, once they meet.
    let of_run = "--set=run.id=proven";
    certify(directory, RUN, "strange");
    let strange: Vec<String> = own
        .iter()
        .map(|text| text.replace(CERTIFICATES, "strange"))
        .collect();
    told(&[&to_learner, of_run], &strange, 1, &["tls.ca"]);
    let plain = to_learner.replace("https", "http");
    told(&[&plain], &[], 1, &["speaks TLS", "set [tls]"]);
    wait_until("the learner does not say who was refused", || {
        let said = fs::read_to_string(learner.log()).unwrap();
        said.contains("connection refused") && said.contains("speaks plain text")
    });
}

#[test]
fn strangers_on_every_place_keep_out_nobody_who_is_proven() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    train(directory, "model", "1");
    certify(directory, RUN, CERTIFICATES);
    let run = format!("run.id={RUN}");
    let arguments = [
        "reward-server",
        "--model",
        "model",
        "--listen",
        "127.0.0.1:0",
        "--set",
        &run,
    ];
    let mut command = command(directory, &arguments);
    command.args(certificates(directory, "reward-server"));
    let (role, endpoint) = Role::start(&mut command, &directory.join("reward-server.log"));
    let endpoint = endpoint.unwrap();
    let address = endpoint.strip_prefix("https://").unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let certificates = directory.join(CERTIFICATES);
    let mut lines = vec![];
    for _ in 0..3 {
        // More than may prove who they are at the same time, and they say nothing.
        lines.truncate(0);
        lines.extend((0..600).map(|_| TcpStream::connect(address).unwrap()));
        let served = runtime.block_on(async {
            let channel = channel(&certificates, "actor", PeerRole::RewardServer, &endpoint);
            // A line that says nothing is cut by itself after ten seconds.
            tokio::time::timeout(Duration::from_secs(5), asked(channel)).await
        });
        served.expect("kept out").unwrap();
    }
    signal(role.process(), "TERM");
    assert!(role.wait());
}
