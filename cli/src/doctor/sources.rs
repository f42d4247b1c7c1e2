//! Products, texts and clicks: whether every row of a user's files can be used.

use super::{Finding, Job};
use crate::checks::Checks;
use crate::config::{Config, Mistake};
use crate::locations;
use crate::ready::Role;
use models::policy::Policy;

/// The catalogue for a learner or an evaluator, which must fit the policy where that lies here; an actor's lists; texts and clicks, which
/// stages A and B read, where all is looked at.
pub(super) fn examine(job: &Job) -> Vec<Finding> {
    let config = &job.config;
    let mut found = vec![];
    // What a URL leads to is looked at as an inventory, with the models.
    let trains = job.concerns(Role::Learner);
    if (trains || job.concerns_evaluator()) && !config.catalogue.source.contains("://") {
        let source = &config.catalogue.source;
        let catalogue = |checks: &mut Checks| catalogue(checks, trains);
        found.extend(told(config, "catalogue.source", source, catalogue));
    }
    let lists = &config.actor.guardrails;
    if job.concerns(Role::Actor) && !(lists.text_blocklist.is_empty() && lists.image_blocklist.is_empty()) {
        let guardrails = |checks: &mut Checks| checks.guardrails().map(|_| "read".into());
        found.extend(told(config, "actor.guardrails", "blocklists", guardrails));
    }
    if job.role.is_none() {
        let corpus = |checks: &mut Checks| checks.corpus().map(|_| "read".into());
        found.extend(told(config, "corpus.source", &config.corpus.source, corpus));
        let clicks = |checks: &mut Checks| {
            let log = checks.clicks()?;
            Some(format!("{} products", log.products().len()))
        };
        found.extend(told(config, "click_log.source", &config.click_log.source, clicks));
    }
    found
}

fn catalogue(checks: &mut Checks, trains: bool) -> Option<String> {
    let config = checks.config().clone();
    let shop = checks.products()?;
    // That there is no policy, or a broken one, is told with the models.
    let policy = locations::local_model(&config.paths.policy).and_then(|directory| {
        let policy = Policy::without_weights(&directory).ok()?;
        Some(policy.read_as(&config.policy.reading()))
    });
    match (trains, &policy) {
        (true, policy) => checks.training(&config.learner, &shop, policy.as_ref()),
        (false, Some(policy)) => checks.prompts(&shop, policy),
        (false, None) => {}
    }
    let (products, split) = (shop.catalogue.products().len(), shop.catalogue.split());
    Some(match split.has_held_out() {
        true => format!("{products} products, {} of them held out", split.test.len()),
        false => format!("{products} products, none held out"),
    })
}

/// What was found, or everything that is wrong with it.
fn told(
    config: &Config,
    key: &str,
    source: &str,
    look: impl FnOnce(&mut Checks) -> Option<String>,
) -> Vec<Finding> {
    let mut checks = Checks::on(config.clone());
    let what = look(&mut checks);
    let mistakes = checks.into_mistakes();
    if let (Some(what), true) = (what, mistakes.is_empty()) {
        return vec![Finding::ok("sources", key, format!("{source}: {what}"))];
    }
    let wrong = |mistake: Mistake| {
        let found = Finding::mistake("sources", mistake.key(), mistake.words());
        match mistake.is_of(key) {
            true => found.right("a file of the documented form, every row of it (docs/data.md)"),
            false => found,
        }
    };
    mistakes.into_iter().map(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Starter;
    use crate::doctor::Level;

    #[test]
    fn every_faulty_row_of_a_catalogue_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("products.json");
        std::fs::write(
            &file,
            r#"[{"id": "1", "image": "none.png", "new_caption": "a lamp"}]"#,
        )
        .unwrap();
        let mut config = Config::default();
        config.catalogue.source = file.display().to_string();
        let found = examine(&Job {
            config,
            role: Some(Starter::Learner),
        });
        assert_eq!((found.len(), found[0].level), (1, Level::Error));
        assert_eq!(found[0].subject, "catalogue.source");
        assert!(
            found[0].found.contains("none.png") && !found[0].found.starts_with("catalogue.source"),
            "{found:?}"
        );
        let right = found[0].right.as_deref();
        assert!(
            right.is_some_and(|right| right.contains("every row")),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_no_row_of_the_file_is_told_by_its_own_key_and_no_file_would_put_it_right() {
        let mut config = Config::default();
        config.shopworld.products = 0;
        let found = examine(&Job {
            config,
            role: Some(Starter::Learner),
        });
        assert_eq!((found.len(), found[0].subject.as_str()), (1, "shopworld"));
        assert!(!found[0].found.starts_with("shopworld"), "{found:?}");
        assert_eq!(found[0].right, None);
    }

    #[test]
    fn the_simulated_shop_is_a_source() {
        let of = |role| {
            let config = Config::default();
            examine(&Job { config, role })
        };
        assert_eq!(of(Some(Starter::Evaluator))[0].subject, "catalogue.source");
        let found = of(None);
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok),
            "{found:#?}"
        );
        assert_eq!(found.len(), 3);
    }
}
