//! One piece of work is one trace in every process that has a hand in it.

use integration_tests::TestCluster;
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};
use tracing::{
    Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id},
};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// What a span says of itself: its name, its method and its trace.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    name: &'static str,
    method: String,
    trace_id: String,
}

/// Remembers every span.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<BTreeSet<Told>>>);

impl<S: Subscriber> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        let mut told = Told {
            name: attributes.metadata().name(),
            ..Told::default()
        };
        attributes.record(&mut told);
        self.0.lock().expect("no panic").insert(told);
    }
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}").trim_matches('"').to_owned();
        match field.name() {
            "method" => self.method = text,
            "trace_id" => self.trace_id = text,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_trace_of_a_rollout_is_that_of_its_scoring_and_its_submission() {
    let listener = Listener::default();
    let subscriber = tracing_subscriber::registry().with(listener.clone());
    tracing::subscriber::set_global_default(subscriber).expect("the first subscriber");
    let mut cluster = TestCluster::new(31).expect("a cluster");
    cluster.learner.versions = 1;
    cluster.run(1).await.expect("a complete run");

    let told = listener.0.lock().expect("no panic").clone();
    let traces = |name: &str, method: &str| -> BTreeSet<String> {
        let those = told
            .iter()
            .filter(|told| told.name == name && told.method == method);
        those.map(|told| told.trace_id.clone()).collect()
    };
    let rollouts = traces("rollout", "");
    assert!(rollouts.len() >= 2, "{told:?}");
    assert_eq!(traces("grpc", "LearnerService/SubmitOutcomes"), rollouts);
    assert_eq!(traces("grpc", "RewardService/ScoreGroups"), rollouts);
    // Everything else an actor asks is its own trace.
    let own = traces("weights", "");
    assert_eq!(own.len(), 1);
    for method in [
        "Join",
        "LeaseTasks",
        "WatchPolicy",
        "FetchArtifact",
        "ReportAdoption",
    ] {
        assert_eq!(
            traces("grpc", &format!("LearnerService/{method}")),
            own,
            "{method}"
        );
    }
}
