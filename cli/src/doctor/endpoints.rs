//! The services that an actor or an evaluator dials: whether each is there, is the one that it should be, and belongs to this run.

use super::{Check, Finding, Job};
use crate::peer::{Peer, Trouble};
use crate::ready::Role;
use crate::security::Security;
use actor::Generator;
use proto::{Answering, PeerRole};
use std::sync::Arc;
use std::time::Duration;

/// How long a service may take for one answer.
const PATIENCE: Duration = Duration::from_secs(5);

const CALLER: &str = "doctor";

/// A check for each service that an actor or an evaluator dials.
pub(super) fn checks(job: &Arc<Job>) -> Vec<Check> {
    let acts = job.concerns(Role::Actor);
    if !acts && !job.concerns_evaluator() {
        return vec![];
    }
    let (learner_job, reward_job, images_job) = (job.clone(), job.clone(), job.clone());
    let mut checks: Vec<Check> = vec![(
        "endpoint",
        "endpoints.learner",
        Box::pin(async move { vec![learner(&learner_job).await] }),
    )];
    if acts {
        checks.push((
            "endpoint",
            "endpoints.reward",
            Box::pin(async move { vec![reward(&reward_job).await] }),
        ));
    }
    if job.config.actor.image_generator == Generator::Remote {
        checks.push((
            "endpoint",
            "endpoints.images",
            Box::pin(async move { vec![images(&images_job).await] }),
        ));
    }
    checks
}

async fn learner(job: &Job) -> Finding {
    let (key, url) = ("endpoints.learner", &job.config.endpoints.learner);
    let asked = async {
        dial(job, Answering::Role(PeerRole::Learner), url)
            .await?
            .run_status(u64::MAX)
            .await
    };
    let status = match asked.await {
        Ok(status) => status,
        // Its certificate has proven what it is, and that the run is that of ours; an actor may not ask for more.
        Err(Trouble::Denied(_)) if job.config.tls.is_set() => {
            let found = format!("{url} proves to be the learner of this certificate's run");
            return Finding::ok("endpoint", key, found);
        }
        Err(trouble) => return told(job, key, url, &trouble, "a learner"),
    };
    let run = &job.config.run.id;
    if status.run.as_str() != run {
        let found = format!("{url} serves the run {}", status.run);
        return Finding::error("endpoint", key, found).right(format!("the learner of the run {run}"));
    }
    let found = format!("{url} serves the run {run}, version {}", status.version);
    Finding::ok("endpoint", key, found)
}

async fn reward(job: &Job) -> Finding {
    let (key, url) = ("endpoints.reward", &job.config.endpoints.reward);
    let asked = async {
        dial(job, Answering::Role(PeerRole::RewardServer), url)
            .await?
            .reward_model()
            .await
    };
    let model = match asked.await {
        Ok(model) => model,
        Err(trouble) => return told(job, key, url, &trouble, "a reward-server"),
    };
    let digest = model.digest.to_string();
    let wanted = &job.config.learner.reward_model;
    let found = format!("{url} serves a {} model, {digest}", model.form);
    if job.config.learner.deterministic && !model.scores_alone {
        let right = "one started with --deterministic (learner.deterministic), since the run is";
        return Finding::error(
            "endpoint",
            key,
            format!("{found}, and does not score every group alone"),
        )
        .right(right);
    }
    match wanted.is_empty() || *wanted == digest {
        true => Finding::ok("endpoint", key, found),
        false => Finding::error("endpoint", key, found).right(format!("learner.reward_model, {wanted}")),
    }
}

async fn images(job: &Job) -> Finding {
    let (key, url) = ("endpoints.images", &job.config.endpoints.images);
    let asked = async { dial(job, Answering::Host, url).await?.image_generator().await };
    match asked.await {
        Ok(generator) => Finding::ok(
            "endpoint",
            key,
            format!("{url} renders with {:?}", generator.name),
        ),
        Err(trouble) => told(job, key, url, &trouble, "an image service"),
    }
}

async fn dial(job: &Job, who: Answering, url: &str) -> Result<Peer, Trouble> {
    let transport = Security::asking(&job.config).map_err(|failure| Trouble::Unproven(failure.reason()))?;
    Peer::dial(CALLER, &transport, who, url, PATIENCE).await
}

/// Before a job is launched nothing answers, and that is no mistake; an actor needs its services.
fn told(job: &Job, key: &str, url: &str, trouble: &Trouble, wanted: &str) -> Finding {
    let found = format!("{url}: {trouble}");
    match trouble.is_absence() && job.role.is_none() {
        true => Finding::warning("endpoint", key, found).right(format!("{wanted}, once the job runs")),
        false => Finding::error("endpoint", key, found).right(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Starter;
    use crate::config::Config;
    use crate::doctor::Level;

    #[test]
    fn an_evaluator_asks_its_learner_and_no_reward_server() {
        let keys = |role| {
            let config = Config::default();
            let checks = checks(&Arc::new(Job { config, role }));
            checks.iter().map(|(_, key, _)| *key).collect::<Vec<_>>()
        };
        assert_eq!(keys(Some(Starter::Evaluator)), ["endpoints.learner"]);
        assert_eq!(keys(None), ["endpoints.learner", "endpoints.reward"]);
        assert_eq!(keys(Some(Starter::Learner)), [""; 0]);
    }

    #[tokio::test]
    async fn nothing_that_listens_is_an_error_for_an_actor_and_a_warning_before_a_launch() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut config = Config::default();
        config.endpoints.learner = format!("http://{closed}");
        let mut job = Job { config, role: None };
        assert_eq!(learner(&job).await.level, Level::Warning);
        job.role = Some(Starter::Actor);
        let found = learner(&job).await;
        assert_eq!(found.level, Level::Error);
        assert!(
            found.found.contains("refused") && found.subject == "endpoints.learner",
            "{found:?}"
        );
    }
}
