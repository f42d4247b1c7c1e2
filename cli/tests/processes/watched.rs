//! The roles of a real run, watched: their pages, their health, their logs, the traces of their samples, and TensorBoard's file.

use crate::program::wait_until;
use crate::stage::{Place, Stage};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// A collector: the service that OpenTelemetry defines, keeping what it is sent.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut kept = self.0.lock().unwrap();
        for of_resource in request.into_inner().resource_spans {
            let service = format!("{:?}", of_resource.resource.unwrap().attributes[0].value);
            for of_scope in of_resource.scope_spans {
                kept.extend(of_scope.spans.into_iter().map(|span| (service.clone(), span)));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// What stages a trained pair goes through, in the order in which they begin.
const STAGES: [&str; 8] = [
    "lease",
    "sample",
    "render",
    "score",
    "submit",
    "durable",
    "train_step",
    "publish",
];

/// By how much one process's reading of the clock may be late, in nanoseconds.
const LATE: u64 = 30_000_000;

fn page_of(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

fn number(page: &str, name: &str) -> f64 {
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in {page}"))
        .parse()
        .unwrap()
}

/// Where a role is watched, as its log says.
fn watched_at(role: &Place<'_>) -> String {
    let line = role.line_with("metrics and health are served");
    let address = line.split("127.0.0.1:").nth(1).unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}")
}

async fn health(address: &str, service: &str) -> String {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut client = HealthClient::new(endpoint.connect().await.unwrap());
    let service = service.to_owned();
    let answer = client.check(HealthCheckRequest { service }).await.unwrap();
    format!("{:?}", answer.into_inner().status())
}

#[test]
fn a_run_is_seen_from_outside_from_its_leases_to_its_steps() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let collector = Collector::default();
    let incoming = runtime
        .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
        .unwrap();
    let otlp = format!("telemetry.otlp=http://{}", incoming.local_addr().unwrap());
    let service = TraceServiceServer::new(collector.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(incoming);
    runtime.spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming),
    );

    let stage = Stage::with_models();
    let always = || vec!["telemetry.metrics_listen=127.0.0.1:0".to_owned(), otlp.clone()];
    let json = || "telemetry.log_format=json".to_owned();
    let mut reward = stage.reward_server_with(&always());
    let settings = [always(), vec![json(), "telemetry.tensorboard=board".into()]].concat();
    let mut learner = stage.learner_with("watched", &settings);
    let learner_page = watched_at(&learner);
    let health_of = |address: &str, service: &str| runtime.block_on(health(address, service));
    for service in ["", "startup", "liveness"] {
        assert_eq!(health_of(&learner_page, service), "Serving", "{service:?}");
    }
    let settings = [always(), vec![json()]].concat();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut actor = stage.actor_with("watched", &learner, &reward, &settings);
    let actor_page = watched_at(&actor);
    let mut pages = (String::new(), String::new());
    wait_until("no version was trained", || {
        pages = (page_of(&learner_page), page_of(&actor_page));
        number(&pages.0, "weights_policy_version") >= 3.0
    });
    let (learners, actors) = &pages;
    let first = learners.lines().find(|line| !line.starts_with('#')).unwrap();
    let goodput: Option<f64> = first
        .strip_prefix("rollout_goodput_ratio ")
        .and_then(|number| number.parse().ok());
    assert!(
        goodput.is_some_and(|share| share > 0.0 && share <= 1.0),
        "{first}"
    );
    for role in ["actor", "learner", "reward-server"] {
        let name = format!("rollout_compute_seconds_total{{role=\"{role}\"}}");
        assert!(number(learners, &name) > 0.0, "{name}");
    }
    assert!(number(learners, "train_metric_loss").is_finite());
    assert!(number(learners, "train_version_reward").is_finite());
    assert!(number(actors, "rollout_tokens_total") > 0.0);
    assert!(number(actors, "rollout_stage_seconds_count{stage=\"adopt\"}") >= 1.0);
    let rewards = page_of(&watched_at(&reward));
    assert!(number(&rewards, "reward_groups_computed_total") > 0.0);
    assert!(number(&rewards, "reward_batch_seconds_count") > 0.0);
    assert!(
        rewards.contains("reward_model_info{digest=\"blake3:"),
        "{rewards}"
    );

    assert!(learner.succeeded() && actor.succeeded());
    let said = fs::read_to_string(learner.log()).unwrap() + &fs::read_to_string(actor.log()).unwrap();
    lines_are_json(&said);
    let board = fs::read_dir(stage.directory.path().join("board")).unwrap();
    assert_eq!(board.count(), 1);
    crate::program::signal(reward.process(), "TERM");
    assert!(reward.succeeded());
    let spans = collector.0.lock().unwrap();
    every_trained_pair_is_one_trace_of_all_stages(&spans);
}

fn lines_are_json(said: &str) {
    let mut traces = BTreeSet::new();
    for line in said.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        for key in ["timestamp", "level", "target", "message"] {
            assert!(line[key].is_string(), "{key}: {line}");
        }
        traces.extend(line["span"]["trace_id"].as_str().map(str::to_owned));
    }
    assert!(traces.len() > 1, "{said}");
}

fn every_trained_pair_is_one_trace_of_all_stages(spans: &[(String, Span)]) {
    type Stages<'a> = BTreeMap<&'a str, Vec<&'a (String, Span)>>;
    let mut traces: BTreeMap<&[u8], Stages<'_>> = BTreeMap::new();
    for span in spans {
        let stages = traces.entry(&span.1.trace_id).or_default();
        stages.entry(&span.1.name).or_default().push(span);
    }
    let trained = traces.values().filter(|stages| stages.contains_key("train_step"));
    let mut services = BTreeSet::new();
    let mut pairs = 0;
    for stages in trained {
        pairs += 1;
        let spans = |name: &str| {
            stages
                .get(name)
                .unwrap_or_else(|| panic!("no {name} in {:?}", stages.keys()))
        };
        let mut before = 0;
        for name in STAGES {
            let (_, span) = spans(name).first().unwrap();
            assert!(
                span.start_time_unix_nano + LATE >= before,
                "{name} began early in {stages:?}"
            );
            before = span.start_time_unix_nano;
        }
        let (_, task) = spans("task").first().unwrap();
        assert_eq!(spans("task").len(), 1);
        for (service, span) in stages.values().flatten() {
            services.insert(service.as_str());
            assert!(span.name == "task" || span.parent_span_id == task.span_id);
        }
        assert_eq!(spans("score_group").len(), 1);
    }
    assert_eq!(services.len(), 3, "{services:?}");
    // Twelve versions of what eight tasks each gave; some of them gave no pair.
    assert!(pairs > 24, "{pairs} trained pairs of {} traces", traces.len());
}

/// What a role is given that nobody else may learn.
const SECRET: &str = "correct-horse-battery";

#[test]
fn no_secret_is_logged_however_much_is() {
    let directory = tempfile::tempdir().unwrap();
    let with_password = format!("http://me:{SECRET}@127.0.0.1:9");
    let set = |key: &str| format!("--set={key}={with_password}");
    let hub = ["learner".to_owned(), "--policy=hf:org/name".into()];
    let bucket = [
        "ledger",
        "inspect",
        "--store=s3://bucket/runs",
        "--run=r",
        "--set=store.max_retries=0",
    ];
    let runs: [Vec<String>; 5] = [
        hub.into(),
        bucket.map(str::to_owned).into(),
        vec!["actor".into(), set("endpoints.learner")],
        vec!["actor".into(), set("telemetry.otlp")],
        vec!["learner".into(), format!("--store=s3://key:{SECRET}@bucket/runs")],
    ];
    for arguments in runs {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = crate::stage::command(directory.path(), &arguments);
        let secrets = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
        command.envs(secrets.map(|name| (name, SECRET)));
        command.envs([("HF_ENDPOINT", "http://127.0.0.1:9"), ("HF_ALLOW_HTTP", "true")]);
        command.envs([("AWS_ENDPOINT", "http://127.0.0.1:9"), ("AWS_ALLOW_HTTP", "true")]);
        command.envs([
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_REGION", "here"),
            ("RUST_LOG", "trace"),
        ]);
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
        assert!(
            !output.status.success() && !said.is_empty(),
            "{arguments:?}: {said}"
        );
        for word in [SECRET, "AWS4-HMAC", "Bearer "] {
            assert!(!said.contains(word), "{arguments:?} said {word:?}: {said}");
        }
    }
}
