//! Products, texts and clicks: whether every row of a user's files can be used.

use super::{Finding, Job};
use crate::failure::{Failure, Outcome};
use crate::ready::Role;
use crate::shop::{self, Shop};

/// The catalogue for a learner; texts and clicks, which stages A and B read, where all is looked at.
pub(super) fn examine(job: &Job) -> Vec<Finding> {
    let config = &job.config;
    let mut found = vec![];
    // What a URL leads to is looked at as an inventory, with the models.
    if job.concerns(Role::Learner) && !config.catalogue.source.contains("://") {
        let opened = catalogue(job);
        found.push(told("catalogue.source", &config.catalogue.source, opened));
    }
    if job.role.is_none() {
        let texts = match shop::own_corpus(config) {
            Some(own) => own
                .map(drop)
                .map_err(|error| Failure::Configuration(error.into())),
            None => Ok(()),
        };
        found.push(told(
            "corpus.source",
            &config.corpus.source,
            texts.map(|()| "read".into()),
        ));
        let clicks = shop::click_log(config).map(|log| format!("{} products", log.products().len()));
        found.push(told("click_log.source", &config.click_log.source, clicks));
    }
    found
}

fn catalogue(job: &Job) -> Outcome<String> {
    let shop = Shop::open(&job.config)?;
    let products = shop.catalogue.as_ref();
    learner::check_catalogue(&job.config.learner, products)
        .map_err(|error| Failure::Configuration(error.into()))?;
    Ok(format!("{} products", products.products().len()))
}

fn told(key: &str, source: &str, read: Outcome<String>) -> Finding {
    match read {
        Ok(what) => Finding::ok("sources", key, format!("{source}: {what}")),
        Err(failure) => Finding::mistake("sources", key, format!("{source}: {}", failure.reason()))
            .right("a file of the documented form, every row of it"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
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
            role: Some(Role::Learner),
        });
        assert_eq!((found.len(), found[0].level), (1, Level::Error));
        assert!(found[0].found.contains("none.png"), "{found:?}");
    }

    #[test]
    fn the_simulated_shop_is_a_source() {
        let job = Job {
            config: Config::default(),
            role: None,
        };
        let found = examine(&job);
        assert!(
            found.iter().all(|finding| finding.level == Level::Ok),
            "{found:#?}"
        );
        assert_eq!(found.len(), 3);
    }
}
