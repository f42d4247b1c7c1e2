//! Models: the layout of what lies on this machine, and whether what a URL names is there. No weight is brought here.

use super::{Check, Finding, Job};
use crate::locations;
use crate::ready::Role;
use ::models::checkpoint::{Inspection, inspect};
use ::store::{Hub, HubModel};
use actor::Generator;
use futures::future::BoxFuture;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a configured model is to the job.
#[derive(Debug, Clone)]
struct Named {
    key: &'static str,
    location: String,
    kind: Kind,
    /// Whether the job cannot start without it.
    must: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A policy or a reward model, whose layout is compared with its weights.
    Described,
    /// What paints: a directory of diffusers, or one file.
    Painting,
    /// A catalogue that was pushed.
    Pushed,
}

/// A check for each model that the job names.
pub(super) fn checks(job: &Arc<Job>) -> Vec<Check> {
    let check = |named: Named| -> Check {
        let (job, key) = (job.clone(), named.key);
        let check: BoxFuture<'static, Vec<Finding>> =
            Box::pin(async move { vec![examine(&job, named).await] });
        ("model", key, check)
    };
    named(job).into_iter().map(check).collect()
}

fn named(job: &Job) -> Vec<Named> {
    let (config, must) = (&job.config, job.role.is_some());
    let model = |key, location: &str, kind| Named {
        key,
        location: location.to_owned(),
        kind,
        must,
    };
    let mut all = vec![];
    let evaluates = job.concerns_evaluator();
    if evaluates || job.concerns(Role::Learner) {
        all.push(model("paths.policy", &config.paths.policy, Kind::Described));
        if config.catalogue.source.contains("://") {
            all.push(model("catalogue.source", &config.catalogue.source, Kind::Pushed));
        }
    }
    if evaluates || job.concerns(Role::RewardServer) {
        all.push(model(
            "paths.reward_model",
            &config.paths.reward_model,
            Kind::Described,
        ));
    }
    let paints = evaluates || job.concerns(Role::Actor);
    if paints && config.actor.image_generator == Generator::Diffusion {
        let painting = &config.diffusion;
        all.push(model("diffusion.model", &painting.model, Kind::Painting));
        all.push(model(
            "diffusion.controlnet",
            &painting.controlnet,
            Kind::Painting,
        ));
        if !painting.lora.is_empty() {
            all.push(model("diffusion.lora", &painting.lora, Kind::Painting));
        }
    }
    if job.role.is_none() {
        let bases = [
            ("policy.base", &config.policy.base),
            ("reward.base", &config.reward.base),
        ];
        let given = bases.into_iter().filter(|(_, base)| !base.is_empty());
        all.extend(given.map(|(key, base)| model(key, base, Kind::Described)));
    }
    all
}

async fn examine(job: &Job, model: Named) -> Finding {
    if HubModel::is_meant_by(&model.location) {
        return of_hub(job, &model).await;
    }
    if model.location.contains("://") {
        return of_store(job, &model).await;
    }
    let (key, fallback) = (model.key, model.clone());
    let done = tokio::task::spawn_blocking(move || local(&model)).await;
    done.unwrap_or_else(|error| Finding::error("model", key, format!("{}: {error}", fallback.location)))
}

fn local(model: &Named) -> Finding {
    let (key, location) = (model.key, &model.location);
    let path = PathBuf::from(location);
    if location.is_empty() {
        return Finding::mistake("model", key, "empty").right("a directory or a URL");
    }
    if !path.exists() {
        let found = format!("{location} does not exist");
        return match model.must {
            true => Finding::mistake("model", key, found).right(origin(key)),
            false => Finding::warning("model", key, found).right(origin(key)),
        };
    }
    match model.kind {
        Kind::Described => layout(key, &path),
        Kind::Painting | Kind::Pushed => painting(key, &path),
    }
}

/// Which command or setting brings what is missing.
fn origin(key: &str) -> &'static str {
    match key {
        "paths.policy" => "the directory that `adwright pretrain` wrote, a checkpoint, or a URL",
        "paths.reward_model" => "the directory that `adwright train-reward` wrote, a checkpoint, or a URL",
        _ => "a directory of this machine or a URL",
    }
}

fn layout(key: &str, directory: &Path) -> Finding {
    let shown = directory.display();
    let found = match inspect(directory) {
        Ok(found) => found,
        Err(error) => {
            let why = anyhow::Error::from(error);
            return Finding::mistake("model", key, format!("{shown}: {why:#}"))
                .right("a model of a layout in docs/models.md (`adwright inspect`)");
        }
    };
    if found.layout.paints() {
        return Finding::mistake("model", key, format!("{shown} paints: {}", in_words(&found)))
            .right("a policy's or reward model's directory; what paints is named in [diffusion]");
    }
    if let Some(first) = found.missing.iter().chain(&found.misshaped).next() {
        let lacking = found.missing.len() + found.misshaped.len();
        return Finding::mistake(
            "model",
            key,
            format!("{shown}: {lacking} weights are missing or of another shape, such as {first}"),
        )
        .right("all weights of the configured network (`adwright inspect` lists them)");
    }
    Finding::ok("model", key, format!("{shown}: {}", in_words(&found)))
}

fn in_words(found: &Inspection) -> String {
    let layout = serde_json::to_value(found.layout).unwrap_or_default();
    let layout = layout.as_str().unwrap_or_default().to_owned();
    format!("{layout}, {} parameters, whole", found.parameters)
}

/// Diffusion models are compared when they are opened; here only that they look like one.
fn painting(key: &str, path: &Path) -> Finding {
    let shown = path.display();
    let described = ["model_index.json", "config.json"]
        .iter()
        .any(|name| path.join(name).is_file());
    let one_file = path.is_file()
        && path
            .extension()
            .is_some_and(|end| ["safetensors", "ckpt", "pth"].iter().any(|known| end == *known));
    match described || one_file {
        true => Finding::ok("model", key, format!("{shown} is there")),
        false => Finding::mistake(
            "model",
            key,
            format!("{shown} has neither model_index.json nor config.json"),
        )
        .right("a directory as diffusers writes it, or one .safetensors, .ckpt or .pth file"),
    }
}

async fn of_hub(job: &Job, model: &Named) -> Finding {
    let (key, location) = (model.key, &model.location);
    let resolved = async {
        let name: HubModel = location.parse()?;
        let hub = Hub::open(&job.quick())?;
        Ok::<_, anyhow::Error>(hub.resolve(&name).await?)
    };
    match resolved.await {
        Ok(pinned) => Finding::ok("model", key, format!("{location} is {pinned}")),
        Err(error) => Finding::error("model", key, format!("{location}: {error:#}"))
            .right("a hub that answers and has the revision"),
    }
}

async fn of_store(job: &Job, model: &Named) -> Finding {
    let (key, location) = (model.key, &model.location);
    let store = match locations::existing_store(key, location, &job.quick()) {
        Ok(store) => store,
        Err(failure) => return Finding::mistake("model", key, failure.reason()),
    };
    match store.pushed().await {
        Ok(pushed) => {
            let (files, mib) = (pushed.files, pushed.bytes >> 20);
            Finding::ok(
                "model",
                key,
                format!("{location}: {files} files, {mib} MiB, {}", pushed.digest),
            )
        }
        Err(error @ ::store::StoreError::NotFound { .. }) => {
            Finding::mistake("model", key, error.to_string())
                .right("what `adwright model push` or `adwright catalog push` has written there")
        }
        Err(error) => Finding::error("model", key, format!("{:#}", anyhow::Error::from(error)))
            .right("a store that answers and lets this machine read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Starter;
    use crate::config::Config;
    use crate::doctor::{Fault, Level};

    fn job(role: Option<Starter>, change: impl FnOnce(&mut Config)) -> Job {
        let mut config = Config::default();
        change(&mut config);
        Job { config, role }
    }

    fn model(location: &str, must: bool) -> Named {
        Named {
            key: "paths.policy",
            location: location.into(),
            kind: Kind::Described,
            must,
        }
    }

    #[test]
    fn each_role_names_its_own_models() {
        let keys = |job: &Job| named(job).into_iter().map(|named| named.key).collect::<Vec<_>>();
        assert_eq!(keys(&job(Some(Starter::Actor), |_| {})), [""; 0]);
        assert_eq!(
            keys(&job(Some(Starter::Evaluator), |_| {})),
            ["paths.policy", "paths.reward_model"]
        );
        let painting = |config: &mut Config| config.actor.image_generator = Generator::Diffusion;
        assert_eq!(
            keys(&job(Some(Starter::Actor), painting)),
            ["diffusion.model", "diffusion.controlnet"]
        );
        let all = job(None, |config| config.reward.base = "s3://bucket/base".into());
        assert_eq!(keys(&all), ["paths.policy", "paths.reward_model", "reward.base"]);
    }

    #[test]
    fn a_model_that_is_not_there_is_a_mistake_only_for_the_role_that_reads_it() {
        let missing = local(&model("/nowhere/at/all", true));
        assert_eq!(missing.fault, Some(Fault::Configuration));
        assert!(missing.right.unwrap().contains("adwright pretrain"));
        assert_eq!(local(&model("/nowhere/at/all", false)).level, Level::Warning);
    }

    #[test]
    fn a_directory_of_something_else_is_told_with_what_it_lacks() {
        let directory = tempfile::tempdir().unwrap();
        let found = local(&model(directory.path().to_str().unwrap(), true));
        assert_eq!(
            (found.level, found.fault),
            (Level::Error, Some(Fault::Configuration))
        );
        assert!(found.found.contains("model.safetensors"), "{found:?}");
    }

    #[test]
    fn what_paints_is_no_policy_and_is_taken_as_a_directory_or_as_one_file() {
        let fixture = "../models/parity/fixtures/diffusion/tiny";
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(fixture);
        let refused = local(&model(directory.to_str().unwrap(), true));
        assert_eq!(refused.fault, Some(Fault::Configuration), "{refused:?}");
        assert!(refused.found.contains("sd15"), "{refused:?}");
        let painting = |path: &Path| super::painting("diffusion.model", path).level;
        assert_eq!(painting(&directory), Level::Ok);
        let place = tempfile::tempdir().unwrap();
        for (name, level) in [
            ("model.safetensors", Level::Ok),
            ("model.ckpt", Level::Ok),
            ("model.pth", Level::Ok),
            ("model.zip", Level::Error),
        ] {
            let file = place.path().join(name);
            std::fs::write(&file, "weights").unwrap();
            assert_eq!(painting(&file), level, "{name}");
        }
    }

    #[tokio::test]
    async fn a_url_is_looked_up_and_not_brought() {
        let place = tempfile::tempdir().unwrap();
        let url = format!("file://{}", place.path().display());
        let job = job(None, |_| {});
        let nothing = examine(&job, model(&url, true)).await;
        assert_eq!(nothing.fault, Some(Fault::Configuration), "{nothing:?}");
        let file = place.path().join("weights");
        std::fs::write(&file, [7; 4096]).unwrap();
        let pushed = tempfile::tempdir().unwrap();
        let url = format!("file://{}", pushed.path().display());
        let store = ::store::Store::open(&url).unwrap();
        store
            .push_directory(&[("weights".to_owned(), file)].into())
            .await
            .unwrap();
        let found = examine(&job, model(&url, true)).await;
        assert_eq!(found.level, Level::Ok, "{found:?}");
        assert!(found.found.contains("1 files"), "{found:?}");
    }
}
