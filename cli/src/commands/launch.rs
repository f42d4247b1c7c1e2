//! `adwright launch`: an overlay of the manifests with keys of the configuration set, checked before anything is written.

use crate::args::LaunchArgs;
use crate::config::{Config, ConfigError, Layers};
use crate::failure::{OrConfiguration as _, Outcome};
use crate::launch::{
    Added, Configured, Image, Manifests, Moved, Objects, Overlay, Patch, Ways, check_read, fitting, image_of,
    namespace_of, unfit,
};
use crate::output;
use crate::progress::Progress;
use anyhow::{Context as _, anyhow};
use common::RunId;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};

const HEAD: &str = "# What `adwright launch --set` changed; the rest is in the files of the overlay that this one builds on.\n";

/// Runs the command.
pub(super) fn run(args: &LaunchArgs) -> Outcome<()> {
    let overlay = overlay(args)?;
    if args.dry_run {
        return dry_run(&overlay);
    }
    overlay.write(&args.out).or_configuration()?;
    let shown = args.out.display();
    if !args.apply {
        output::line(&format!(
            "{shown} is written; apply it with: kubectl apply -k {shown}"
        ))?;
        return Ok(());
    }
    let status = kubectl()
        .args(["apply", "-k"])
        .arg(&args.out)
        .status()
        .map_err(|error| no_kubectl("--apply", &error))?;
    match status.success() {
        true => Ok(()),
        false => Err(anyhow!("kubectl apply -k {shown} ended with {status}").into()),
    }
}

fn overlay(args: &LaunchArgs) -> Outcome<Overlay> {
    let manifests = Manifests::open(&args.manifests).or_configuration()?;
    let base = manifests.overlay(&args.overlay).or_configuration()?;
    let configured = Configured::of(&base).or_configuration()?;
    let files = configured.paths();
    let objects = Objects::of(&base).or_configuration()?;
    check_read(&objects).or_configuration()?;
    let moved = Moved::of(&files, &args.sets);
    let sets: Vec<String> = moved
        .iter()
        .flat_map(Moved::sets)
        .chain(args.sets.iter().cloned())
        .collect();
    let (text, fitting) = checked(&files, &sets, &objects)?;
    let added = match text.is_empty() {
        true => None,
        false => Some(Added {
            name: configured.next_name().or_configuration()?,
            text: format!("{HEAD}{text}"),
        }),
    };
    let below = examined(&files, &[]);
    let config = examined(&files, &sets);
    let run = renamed(&below, &config)?;
    let namespace = args
        .namespace
        .as_deref()
        .map(namespace)
        .transpose()
        .or_configuration()?;
    let image = args
        .image
        .as_deref()
        .map(Image::parse)
        .transpose()
        .or_configuration()?;
    let image = match image {
        Some(image) => Some((image_of(&base).or_configuration()?, image)),
        None => None,
    };
    let given = namespace_of(&base).or_configuration()?;
    let within = namespace.as_deref().or(given.as_deref());
    let ways = match &added {
        Some(added) => Ways::of(&below, &config, &objects, within, &added.name),
        None => Ways::default(),
    };
    let elsewhere = (within != given.as_deref())
        .then(|| shared(&below, &config))
        .flatten();
    for line in moved
        .iter()
        .map(ToString::to_string)
        .chain(elsewhere)
        .chain(ways.told)
    {
        Progress::detect().say(&line);
    }
    Ok(Overlay {
        base,
        added,
        run,
        namespace,
        image,
        fitting,
        policies: ways.policies,
    })
}

/// The keys that are set, as TOML, once the overlay's configuration with them has passed every check of the real one and those of the
/// manifests; and what it needs otherwise of these.
fn checked(files: &[PathBuf], sets: &[String], objects: &Objects) -> Outcome<(String, Vec<Patch>)> {
    let layers = || Layers::default().files(files).sets(sets);
    let given = layers().given();
    let device = given.get("compute").and_then(|compute| compute.get("device"));
    let on_gpu = device
        .and_then(|device| device.as_str())
        .is_some_and(|device| device.starts_with("cuda"));
    // Whether there is such a device is asked where the roles run, not here.
    let elsewhere = match on_gpu {
        true => vec!["compute.device=cpu".to_owned()],
        false => vec![],
    };
    let (config, mut mistakes) = layers().sets(&elsewhere).examine();
    // A key that is a mistake keeps its default, of which nothing is to be said.
    if mistakes.is_empty() {
        mistakes = unfit(&config, objects);
    }
    if !mistakes.is_empty() {
        return Err(ConfigError { mistakes }).or_configuration();
    }
    let set = Layers::default().sets(sets).given();
    let text = toml::to_string_pretty(&set).context("the configuration has no TOML form")?;
    Ok((text, fitting(&config, objects)))
}

/// What files and `sets` say, whatever is wrong with it.
fn examined(files: &[PathBuf], sets: &[String]) -> Config {
    Layers::default().files(files).sets(sets).examine().0
}

/// The run's name where it is another one than below and certificates have it.
fn renamed(below: &Config, config: &Config) -> Outcome<Option<RunId>> {
    match config.tls.is_set() && config.run.id != below.run.id {
        true => RunId::new(config.run.id.as_str()).or_configuration().map(Some),
        false => Ok(None),
    }
}

/// What is to be known of another namespace whose run is that of the overlay below, in the same store.
fn shared(below: &Config, config: &Config) -> Option<String> {
    let same = config.run.id == below.run.id && config.store.url == below.store.url;
    same.then(|| {
        format!(
            "the run is {}, with the store.url of the overlay below: a learner takes it from one that has it in the same store; --set run.id=NAME \
             makes it another run",
            config.run.id
        )
    })
}

fn namespace(name: &str) -> anyhow::Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let right = (1..=63).contains(&name.len())
        && name.chars().all(plain)
        && !name.starts_with('-')
        && !name.ends_with('-');
    right.then(|| name.to_owned()).with_context(|| {
        format!("--namespace {name:?}: expected 1 to 63 lower-case letters, digits and - inside")
    })
}

fn dry_run(overlay: &Overlay) -> Outcome<()> {
    let place = tempfile::Builder::new()
        .prefix("adwright-launch-")
        .tempdir()
        .context("cannot make a temporary directory")?;
    overlay.write(place.path())?;
    let rendered = kubectl()
        .arg("kustomize")
        .arg(place.path())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| no_kubectl("--dry-run", &error))?;
    if !rendered.status.success() {
        return Err(anyhow!(
            "kubectl kustomize could not render the overlay ({})",
            rendered.status
        )
        .into());
    }
    output::bytes(&rendered.stdout)?;
    Ok(())
}

fn kubectl() -> Command {
    Command::new("kubectl")
}

fn no_kubectl(flag: &str, error: &io::Error) -> anyhow::Error {
    anyhow!("{flag} needs kubectl, which cannot be started: {error}")
}

#[cfg(test)]
mod tests {
    use super::super::manifests;
    use super::*;
    use crate::failure::Failure;
    use proto::PeerRole;
    use std::path::Path;
    use std::slice;

    #[test]
    fn keys_are_set_on_top_of_the_overlays_and_a_mistake_is_the_users() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, "[run]\nid = \"gpu\"\n[compute]\ndevice = \"cuda\"\n").unwrap();
        let nothing = directory.path().join("kustomization.yaml");
        std::fs::write(nothing, "resources: []\n").unwrap();
        let objects = Objects::of(directory.path()).unwrap();
        let set = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
            checked(slice::from_ref(&file), &sets, &objects)
        };
        let (text, _) = set(&["learner.versions=9", "loss.beta=0.5"]).unwrap();
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table["learner"]["versions"].as_integer(), Some(9));
        assert_eq!(table["learner"]["loss"]["beta"].as_float(), Some(0.5));
        assert_eq!(table.len(), 1, "what the overlay has is not said again: {text}");
        assert_eq!(set(&[]).unwrap().0, "");
        let wrong = set(&["learner.versoins=9", "compute.threads=0"]);
        assert!(
            matches!(&wrong, Err(Failure::Configuration(error)) if error.to_string().contains("2 mistakes")),
            "{wrong:?}"
        );
    }

    #[test]
    #[ignore = "needs kubectl; .ci/run runs it"]
    fn a_run_of_another_name_and_namespace_is_certified_and_scaled_under_them() {
        let place = tempfile::tempdir().unwrap();
        let args = LaunchArgs {
            overlay: "elastic-keda".into(),
            sets: vec!["run.id=spring".into()],
            namespace: Some("ads".into()),
            image: None,
            out: place.path().to_owned(),
            manifests: Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s"),
            dry_run: false,
            apply: false,
        };
        overlay(&args).unwrap().write(&args.out).unwrap();
        let objects = manifests::rendered(&args.out);
        for role in PeerRole::ALL {
            assert!(objects.contains(&format!("- {role}.spring\n")), "{role}");
        }
        assert!(!objects.contains(".demo\n"), "a certificate names the run below");
        for host in [
            "- adwright-learner.ads\n",
            "scalerAddress: adwright-learner.ads:7400\n",
        ] {
            assert!(objects.contains(host), "{host} is not in\n{objects}");
        }
    }

    #[test]
    #[ignore = "needs kubectl; .ci/run runs it"]
    fn pods_are_let_out_to_services_that_are_set_also_upon_an_overlay_that_has_some() {
        let place = tempfile::tempdir().unwrap();
        // A copy, below which the first overlay lies as one of one's own does.
        let k8s = Path::new(env!("CARGO_MANIFEST_DIR")).join("../k8s");
        let copied = Command::new("cp").arg("-R").args([&k8s, place.path()]).status();
        assert!(copied.unwrap().success());
        let manifests = place.path().join("k8s");
        let launch = |below: &str, out: PathBuf, namespace: Option<&str>, sets: &[&str]| {
            let args = LaunchArgs {
                overlay: below.into(),
                sets: sets.iter().map(|&set| set.to_owned()).collect(),
                namespace: namespace.map(str::to_owned),
                image: None,
                out,
                manifests: manifests.clone(),
                dry_run: false,
                apply: false,
            };
            overlay(&args).unwrap().write(&args.out).unwrap();
            manifests::rendered(&args.out)
        };
        let first = manifests.join("overlays/first");
        let otlp = |namespace: &str| format!("telemetry.otlp=http://collector.{namespace}:4317");
        let objects = launch("gpu", first, None, &[&otlp("observability")]);
        let policy = "  name: 30-launch-collector\n  namespace: adwright\n";
        let peer = "kubernetes.io/metadata.name: observability\n";
        assert!(objects.contains(policy) && objects.contains(peer), "{objects}");
        let images = "endpoints.images=https://painter.pictures:7402";
        let sets = [&otlp("traces"), "actor.image_generator=remote", images];
        let objects = launch("first", place.path().join("second"), Some("ads"), &sets);
        for name in ["30-launch-collector", "40-launch-collector", "40-launch-images"] {
            let policy = format!("  name: {name}\n  namespace: ads\n");
            assert!(objects.contains(&policy), "{name} is not in\n{objects}");
        }
    }

    #[test]
    fn a_run_is_certified_anew_only_where_its_name_changes_and_certificates_have_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        let renamed_by = |text: &str, set: &str| {
            std::fs::write(&file, text).unwrap();
            let files = slice::from_ref(&file);
            renamed(&examined(files, &[]), &examined(files, &[set.to_owned()])).unwrap()
        };
        let plain = "[run]\nid = \"demo\"\n";
        let secured = format!("{plain}[tls]\ncert = \"c\"\nkey = \"k\"\nca = \"a\"\n");
        assert_eq!(renamed_by(plain, "run.id=spring"), None);
        assert_eq!(renamed_by(&secured, "run.seed=3"), None);
        assert_eq!(
            renamed_by(&secured, "run.id=spring"),
            Some(RunId::new("spring").unwrap())
        );
    }

    #[test]
    fn a_run_that_moves_to_another_namespace_alone_is_told_to_be_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.toml");
        std::fs::write(&file, "[run]\nid = \"a\"\n[store]\nurl = \"s3://b/runs/a\"\n").unwrap();
        let told = |sets: &[&str]| {
            let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
            let files = slice::from_ref(&file);
            shared(&examined(files, &[]), &examined(files, &sets))
        };
        let same = told(&["run.seed=7"]).unwrap();
        assert!(
            same.starts_with("the run is a,") && same.contains("run.id=NAME"),
            "{same}"
        );
        assert_eq!(told(&["run.id=c"]), None);
        assert_eq!(told(&["store.url=s3://c/runs/a"]), None);
    }

    #[test]
    fn a_namespace_is_a_label() {
        assert!(namespace("ads-2").is_ok());
        for wrong in ["", "-a", "Ads", "a.b", "a\nb"] {
            assert!(namespace(wrong).is_err(), "{wrong:?}");
        }
    }
}
