//! Services that are broken, or none of ours, beside the commands that ask them how they are.

use crate::stage::command;
use futures::stream::BoxStream;
use proto::pb;
use proto::pb::learner_service_server::{LearnerService, LearnerServiceServer};
use proto::pb::reward_service_server::{RewardService, RewardServiceServer};
use std::process::Output;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Orders to a terminal, in 7 and in 8 bits, a line of somebody else's, and text from right to left.
const ORDERS: &str = "\u{1b}]0;mine\u{7}\u{1b}[2J\u{9b}31m\r\nerror: all is well\u{202e}";

/// A learner and a reward-server that answer so, whoever asks.
#[derive(Clone)]
struct Says {
    run: Result<pb::RunStatus, Status>,
    model: pb::RewardModel,
}

impl Says {
    fn of_run(change: impl FnOnce(&mut pb::RunStatus)) -> Self {
        let mut run = pb::RunStatus {
            run_id: "night".into(),
            version: Some(pb::PolicyVersion { epoch: 1, number: 7 }),
            ..Default::default()
        };
        change(&mut run);
        Self {
            run: Ok(run),
            model: pb::RewardModel::default(),
        }
    }

    /// What `adwright` with these `arguments` makes of it; `URL` is where they are.
    fn to(self, arguments: &[&str]) -> Told {
        let serving = Runtime::new().unwrap();
        let listener = serving.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Server::builder()
            .add_service(LearnerServiceServer::new(self.clone()))
            .add_service(RewardServiceServer::new(self));
        let incoming = {
            let _within = serving.enter();
            TcpIncoming::from(listener)
        };
        serving.spawn(server.serve_with_incoming(incoming));
        let arguments: Vec<String> = arguments.iter().map(|text| text.replace("URL", &url)).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let directory = tempfile::tempdir().unwrap();
        Told::by(&command(directory.path(), &arguments).output().unwrap())
    }
}

/// What a command has said, of which nothing may order a terminal about.
struct Told {
    status: Option<i32>,
    output: String,
    errors: String,
}

impl Told {
    fn by(output: &Output) -> Self {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec()).unwrap();
            let is_order = |c: char| c != '\n' && c.is_control() || c == '\u{202e}';
            assert!(!text.contains(is_order), "{text:?}");
            assert!(
                !text.lines().any(|line| line.starts_with("error: all is well")),
                "{text}"
            );
            text
        };
        Self {
            status: output.status.code(),
            output: text(&output.stdout),
            errors: text(&output.stderr),
        }
    }
}

#[test]
fn what_hostile_services_answer_is_refused_or_shown_in_plain_words() {
    type Change = fn(&mut pb::RunStatus);
    let refused: [(Change, &str); 6] = [
        (|m| m.run_id = ORDERS.into(), "run_status.run_id"),
        (|m| m.version = None, "run_status.version"),
        (
            |m| m.actors = vec![pb::ActorStatus::default(); 1_000_000],
            "run_status.actors: 1000000 entries, expected at most",
        ),
        (
            |m| {
                let most = ["tie", "low_margin"].map(|name| (name.to_owned(), u64::MAX));
                m.outcomes.get_or_insert_default().no_pairs = most.into();
            },
            "outcome_counts.no_pairs",
        ),
        (
            |m| m.outcomes.get_or_insert_default().barred = [(ORDERS.to_owned(), 1)].into(),
            "outcome_counts.barred",
        ),
        (
            |m| {
                m.metrics = vec![pb::VersionMetrics {
                    version: m.version,
                    values: [("loss".to_owned(), f64::NAN)].into(),
                }];
            },
            "version_metrics.values: loss is NaN",
        ),
    ];
    for (change, field) in refused {
        let told = Says::of_run(change).to(&["status", "--learner", "URL"]);
        assert_eq!((told.status, told.output.as_str()), (Some(1), ""));
        let why = format!("its answer is not well formed: {field}");
        assert!(told.errors.contains(&why), "{}", told.errors);
    }
}

#[test]
fn what_services_say_for_people_stays_on_its_line() {
    let failed = Says::of_run(|m| {
        m.failure = ORDERS.into();
        m.actors = vec![pb::ActorStatus {
            actor_id: "actor-1".into(),
            waiting_for: ORDERS.into(),
            ..Default::default()
        }];
    });
    for format in ["--interval=1", "--json"] {
        let told = failed.clone().to(&["status", "--learner", "URL", format]);
        assert_eq!(told.status, Some(1));
        let shown = " ]0;mine  [2J 31m  error: all is well ";
        assert!(told.output.contains(shown), "{}", told.output);
        assert!(told.errors.contains(shown), "{}", told.errors);
    }
    let mut refusing = failed;
    refusing.run = Err(Status::failed_precondition(ORDERS));
    refusing.model = pb::RewardModel {
        digest: Some(pb::Digest { blake3: vec![7; 32] }),
        form: ORDERS.into(),
        ..Default::default()
    };
    let told = refusing.clone().to(&["status", "--learner", "URL"]);
    assert!(
        told.errors.contains("FailedPrecondition:  ]0;mine"),
        "{}",
        told.errors
    );
    let examined = [
        "doctor",
        "--role",
        "actor",
        "--set=endpoints.learner=URL",
        "--set=endpoints.reward=URL",
    ];
    let told = refusing.to(&examined);
    for found in ["FailedPrecondition:  ]0;mine", "serves a  ]0;mine"] {
        assert!(told.output.contains(found), "{}", told.output);
    }
}

type Chunks<T> = BoxStream<'static, Result<T, Status>>;

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("nobody asks for that here"))
}

#[tonic::async_trait]
impl LearnerService for Says {
    async fn join(&self, _: Request<pb::JoinRequest>) -> Result<Response<pb::JoinResponse>, Status> {
        no()
    }

    async fn lease_tasks(
        &self,
        _: Request<pb::LeaseTasksRequest>,
    ) -> Result<Response<pb::LeaseTasksResponse>, Status> {
        no()
    }

    async fn submit_outcomes(
        &self,
        _: Request<pb::SubmitOutcomesRequest>,
    ) -> Result<Response<pb::SubmitOutcomesResponse>, Status> {
        no()
    }

    async fn return_tasks(
        &self,
        _: Request<pb::ReturnTasksRequest>,
    ) -> Result<Response<pb::ReturnTasksResponse>, Status> {
        no()
    }

    type WatchPolicyStream = Chunks<pb::PolicyManifest>;

    async fn watch_policy(
        &self,
        _: Request<pb::WatchPolicyRequest>,
    ) -> Result<Response<Self::WatchPolicyStream>, Status> {
        no()
    }

    type FetchArtifactStream = Chunks<pb::ArtifactChunk>;

    async fn fetch_artifact(
        &self,
        _: Request<pb::FetchArtifactRequest>,
    ) -> Result<Response<Self::FetchArtifactStream>, Status> {
        no()
    }

    async fn report_adoption(
        &self,
        _: Request<pb::ReportAdoptionRequest>,
    ) -> Result<Response<pb::ReportAdoptionResponse>, Status> {
        no()
    }

    async fn report_evaluation(
        &self,
        _: Request<pb::ReportEvaluationRequest>,
    ) -> Result<Response<pb::ReportEvaluationResponse>, Status> {
        no()
    }

    async fn get_run_status(
        &self,
        _: Request<pb::GetRunStatusRequest>,
    ) -> Result<Response<pb::RunStatus>, Status> {
        self.run.clone().map(Response::new)
    }
}

#[tonic::async_trait]
impl RewardService for Says {
    async fn score_groups(
        &self,
        _: Request<pb::ScoreGroupsRequest>,
    ) -> Result<Response<pb::ScoreGroupsResponse>, Status> {
        no()
    }

    async fn get_reward_model(
        &self,
        _: Request<pb::GetRewardModelRequest>,
    ) -> Result<Response<pb::RewardModel>, Status> {
        Ok(Response::new(self.model.clone()))
    }

    async fn get_server_status(
        &self,
        _: Request<pb::GetServerStatusRequest>,
    ) -> Result<Response<pb::RewardServerStatus>, Status> {
        no()
    }
}
