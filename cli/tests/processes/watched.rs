//! The roles of a real run, watched: their pages, their health, their logs, the traces of their samples, and TensorBoard's file.

use crate::http::{ask, number, page_of};
use crate::log_lines::lines_are_json;
use crate::mutual_tls::certify;
use crate::program::{line_in, signal, wait_until};
use crate::role::Role;
use crate::stage::{CERTIFICATES, LONG_LEASES, Stage, certificates, command, configured, done, port};
use crate::store_table::overloaded;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
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

/// Where a process is watched, as its log says.
pub(crate) fn watched_at(log: &Path) -> String {
    let line = line_in(log, "metrics and health are served");
    let address = line.split("127.0.0.1:").nth(1).unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    format!("127.0.0.1:{port}")
}

pub(crate) async fn health(address: &str, service: &str) -> String {
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
    let mut reward = stage.reward_server_with(&[always(), vec![json()]].concat());
    let of_learner = vec![json(), "telemetry.tensorboard=board".into(), LONG_LEASES.into()];
    let settings = [always(), of_learner].concat();
    let mut learner = stage.learner_with("watched", &settings);
    let learner_page = watched_at(&learner.log());
    let health_of = |address: &str, service: &str| runtime.block_on(health(address, service));
    for service in ["", "startup", "liveness"] {
        assert_eq!(health_of(&learner_page, service), "Serving", "{service:?}");
    }
    let settings = [always(), vec![json()]].concat();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let mut actor = stage.actor_with("watched", &learner, &reward, &settings);
    let actor_page = watched_at(&actor.log());
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
    let rewards = page_of(&watched_at(&reward.log()));
    assert!(number(&rewards, "reward_groups_computed_total") > 0.0);
    assert!(number(&rewards, "reward_batch_seconds_count") > 0.0);
    assert!(
        rewards.contains("reward_model_info{digest=\"blake3:"),
        "{rewards}"
    );

    assert!(learner.succeeded() && actor.succeeded());
    let board = fs::read_dir(stage.directory.path().join("board")).unwrap();
    assert_eq!(board.count(), 1);
    signal(reward.process(), "TERM");
    assert!(reward.succeeded());
    let logs = [learner.log(), actor.log(), reward.log()];
    lines_are_json(&logs.map(|log| fs::read_to_string(log).unwrap()).concat());
    let spans = collector.0.lock().unwrap();
    every_trained_pair_is_one_trace_of_all_stages(&spans);
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

/// A command that says all it can, and has the secret wherever it could be given one.
fn talkative(mut command: Command) -> Command {
    let secrets = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
    command.envs(secrets.map(|name| (name, SECRET))).envs([
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_REGION", "here"),
        ("RUST_LOG", "trace"),
    ]);
    command
}

#[test]
fn no_secret_is_logged_however_much_is() {
    let directory = tempfile::tempdir().unwrap();
    let (server, heads) = overloaded();
    let with_password = format!("http://me:{SECRET}@127.0.0.1:9");
    let refused = |key: &str| vec!["actor".to_owned(), format!("--set={key}={with_password}")];
    let once = "--set=store.max_retries=0".to_owned();
    let hub = vec!["learner".to_owned(), "--policy=hf:org/name".into(), once.clone()];
    let bucket = ["ledger", "inspect", "--store=s3://bucket/runs", "--run=r"].map(str::to_owned);
    let in_url = vec![
        "learner".to_owned(),
        format!("--store=s3://key:{SECRET}@bucket/runs"),
    ];
    // Which credentials whoever is asked gets to see.
    let runs = [
        (hub, vec![format!("authorization: bearer {SECRET}")]),
        (
            [&bucket[..], &[once]].concat(),
            vec![
                "authorization: aws4-hmac-sha256 credential=id/".to_owned(),
                format!("x-amz-security-token: {SECRET}"),
            ],
        ),
        (refused("endpoints.learner"), vec![]),
        (refused("telemetry.otlp"), vec![]),
        (in_url, vec![]),
    ];
    for (arguments, shown) in runs {
        heads.lock().unwrap().clear();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command = talkative(command(directory.path(), &arguments));
        command.envs([("HF_ENDPOINT", &server), ("AWS_ENDPOINT_URL", &server)]);
        command.envs([("HF_ALLOW_HTTP", "true"), ("AWS_ALLOW_HTTP", "true")]);
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
        let asked = heads.lock().unwrap().join("\n").to_lowercase();
        assert_eq!(asked.is_empty(), shown.is_empty(), "{arguments:?} asked {asked}");
        for credential in shown {
            assert!(
                asked.contains(&credential),
                "{arguments:?} asked without {credential:?}: {asked}"
            );
        }
    }
}

/// A role that proves who it is and says all it can, in `ROLE.log`.
fn talkative_role(directory: &Path, role: &str, arguments: &[&str]) -> (Role, Option<String>) {
    let always = [
        role,
        "--listen=127.0.0.1:0",
        "--deterministic",
        "--set=run.id=guarded",
    ];
    let mut command = talkative(configured(directory, &always));
    command.args(certificates(directory, role)).args(arguments);
    Role::start(&mut command, &directory.join(format!("{role}.log")))
}

/// Looks at a dashboard with a wrong token, the right one, and the session that it gives; answers with the session.
fn looked_at(dashboard: &str) -> String {
    let login = |token: &str| ask(dashboard, "POST /login", &[], &format!("token={token}"));
    assert!(login(GUESS).starts_with("HTTP/1.1 401"));
    let welcome = login(SECRET);
    let cookie = welcome.lines().find_map(|line| line.strip_prefix("set-cookie: "));
    let cookie = cookie.unwrap().split(';').next().unwrap();
    for header in [
        format!("cookie: {cookie}"),
        format!("authorization: Bearer {SECRET}"),
    ] {
        let page = ask(dashboard, "GET /", &[&header], "");
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    }
    cookie.split_once('=').unwrap().1.to_owned()
}

/// What somebody takes for the secret.
const GUESS: &str = "wrong-horse-battery";

/// The files below a directory, but for those that are `kept` secret.
fn files(directory: &Path, kept: &[&Path]) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let open = entries.filter(|path| !kept.contains(&path.as_path()));
    open.flat_map(|path| match path.is_dir() {
        true => files(&path, kept),
        false => vec![path],
    })
    .collect()
}

#[test]
fn no_log_or_file_of_a_run_has_its_keys_its_tokens_or_the_dashboards_sessions() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut pretrain = configured(directory, &["pretrain", "--out=policy"]);
    done(&pretrain.arg("--set=pretrain.samples=400").output().unwrap());
    let train_reward = ["train-reward", "--out=reward-model"];
    done(&configured(directory, &train_reward).output().unwrap());
    certify(directory, "guarded", CERTIFICATES);
    let (kept_keys, kept_token) = (directory.join(CERTIFICATES), directory.join("token"));
    fs::write(&kept_token, SECRET).unwrap();

    let dashboard = format!("127.0.0.1:{}", port());
    let shown = format!("--dashboard={dashboard}");
    let of_learner = [
        "--policy=policy",
        "--adapter=adapter",
        "--store=store",
        "--summary=run.json",
        "--steps=steps.jsonl",
        "--set=learner.versions=2",
        "--set=dashboard.token_file=token",
        &shown,
    ];
    let (learner, to_learner) = talkative_role(directory, "learner", &of_learner);
    let (reward, to_reward) = talkative_role(directory, "reward-server", &["--model=reward-model"]);
    let (to_learner, to_reward) = (
        format!("--learner={}", to_learner.unwrap()),
        format!("--reward={}", to_reward.unwrap()),
    );
    let session = looked_at(&dashboard);
    let status = ["status", "--json", "--set=run.id=guarded", &to_learner];
    let mut status = talkative(command(directory, &status));
    let status = status.args(certificates(directory, "observer")).output().unwrap();
    fs::write(directory.join("status.log"), &status.stderr).unwrap();
    fs::write(directory.join("status.json"), done(&status)).unwrap();
    let of_actor = ["--store=store", &to_learner, &to_reward];
    let (actor, _) = talkative_role(directory, "actor", &of_actor);
    assert!(learner.wait() && actor.wait());
    signal(reward.process(), "TERM");
    assert!(reward.wait());

    let mut secrets = vec![SECRET.to_owned(), GUESS.to_owned(), session];
    for role in ["learner", "reward-server", "actor", "observer"] {
        let key = fs::read_to_string(kept_keys.join(role).join("tls.key")).unwrap();
        let lines = key.lines().filter(|line| !line.starts_with('-'));
        secrets.extend(lines.map(str::to_owned));
    }
    assert!(secrets.len() >= 3 + 4 * 2 && secrets.iter().all(|secret| secret.len() >= 16));
    let mut said = BTreeSet::new();
    for file in files(directory, &[&kept_keys, &kept_token]) {
        let bytes = fs::read(&file).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        for secret in &secrets {
            assert!(!text.contains(secret), "{} has {secret:?}", file.display());
        }
        if text.contains(" TRACE ") || text.contains("\"version\"") {
            said.insert(file.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    for name in [
        "actor.log",
        "learner.log",
        "reward-server.log",
        "status.log",
        "status.json",
        "run.json",
    ] {
        assert!(said.contains(name), "{name} says nothing: {said:?}");
    }
}
