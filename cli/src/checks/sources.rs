//! Products, texts, clicks and lists: whether every row can be used, and products be trained on.

use super::Checks;
use crate::config::Mistake;
use crate::failure::{Failure, Outcome};
use crate::node_cache;
use crate::shop::{self, Shop};
use ::actor::Guardrails;
use data::{CaigCatalogue, ClickLog, Corpus, ImportError};
use learner::{LearnerConfig, LearnerError};
use models::policy::Policy;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What names the products.
const CATALOGUE: &str = "catalogue.source";

impl Checks {
    /// The products, unless they come by URL.
    pub(crate) fn products(&mut self) -> Option<Shop> {
        if self.config().catalogue.source.contains("://") {
            return None;
        }
        let file = self.config().catalogue.file().map(Path::to_owned);
        self.products_of(file)
    }

    /// The products, brought here where they come by URL.
    pub(crate) fn brought_products(&mut self) -> Option<Shop> {
        // There may be no saying how to ask for them.
        if !self.in_range() {
            return self.products();
        }
        let file = self.look(CATALOGUE, node_cache::catalogue)?;
        self.products_of(file)
    }

    fn products_of(&mut self, file: Option<PathBuf>) -> Option<Shop> {
        if self.has_mistake(CATALOGUE) {
            return None;
        }
        let own = match file {
            Some(file) => {
                let loaded = CaigCatalogue::load(&file, self.config().catalogue.test_share);
                Some(self.imported(CATALOGUE, loaded)?)
            }
            None => None,
        };
        self.in_range()
            .then(|| self.look("shopworld", |config| Shop::with_products(config, own)))?
    }

    /// What stage A learns from.
    pub(crate) fn corpus(&mut self) -> Option<Box<dyn Corpus>> {
        let key = "corpus.source";
        let own = match shop::own_corpus(self.config()).filter(|_| !self.has_mistake(key)) {
            Some(own) => Some(self.imported(key, own)?),
            None => None,
        };
        let fine = self.in_range();
        fine.then(|| self.look(key, |config| shop::corpus_with(config, own)))?
    }

    /// Whether a policy can read every row that stage A learns from.
    pub(crate) fn corpus_fits(&mut self, policy: &Policy, corpus: &dyn Corpus) {
        match learner::check_corpus(policy, corpus) {
            Ok(()) => {}
            Err(LearnerError::Rows(rows)) => drop(self.imported::<()>("corpus.source", Err(rows))),
            Err(other) => self.refused(other),
        }
    }

    /// What stage B learns from.
    pub(crate) fn clicks(&mut self) -> Option<Box<dyn ClickLog>> {
        let key = "click_log.source";
        let own = match shop::own_click_log(self.config()).filter(|_| !self.has_mistake(key)) {
            Some(own) => Some(self.imported(key, own)?),
            None => None,
        };
        let fine = self.in_range();
        fine.then(|| self.look(key, |config| shop::click_log_with(config, own)))?
    }

    /// Whether products can be trained on with these settings, as far as is known of the policy.
    pub(crate) fn training(&mut self, settings: &LearnerConfig, shop: &Shop, policy: Option<&Policy>) {
        let (catalogue, most) = (shop.catalogue.as_ref(), self.config().actor.max_new_tokens);
        for refusal in learner::training_refusals(settings, catalogue, policy, most) {
            self.refused(refusal);
        }
    }

    /// Whether a policy has room for every product's prompt, with the longest completion behind it.
    pub(crate) fn prompts(&mut self, shop: &Shop, policy: &Policy) {
        let most = self.config().actor.max_new_tokens;
        if let Err(refusal) = learner::check_prompts(shop.catalogue.as_ref(), policy, most) {
            self.refused(refusal);
        }
    }

    /// Notes why a learner would refuse its start.
    pub(super) fn refused(&mut self, refusal: LearnerError) {
        match refusal {
            LearnerError::Config(found) => {
                for problem in &found.problems {
                    // What it is told of other tables has its whole key.
                    self.note(match problem.key.starts_with("actor.") {
                        true => Mistake::of_setting(problem),
                        false => Mistake::within("learner", problem),
                    });
                }
            }
            LearnerError::Catalogue { reason, .. } => self.note(Mistake::of_key(
                None,
                CATALOGUE,
                format!("{}: {reason}", self.config().catalogue.source),
            )),
            LearnerError::Rows(rows) => drop(self.imported::<()>(CATALOGUE, Err(rows))),
            LearnerError::Several(refusals) => refusals.into_iter().for_each(|refusal| self.refused(refusal)),
            LearnerError::Output { name, .. } => {
                let reason = Failure::Configuration(refusal.into()).reason();
                self.note(Mistake::told_of(name, &reason));
            }
            other => {
                let reason = Failure::Configuration(other.into()).reason();
                self.note(Mistake::of_key(None, "paths.policy", reason));
            }
        }
    }

    /// The guardrails of an actor.
    pub(crate) fn guardrails(&mut self) -> Option<Arc<Guardrails>> {
        match Guardrails::open(&self.config().actor.guardrails) {
            Ok(guardrails) => Some(Arc::new(guardrails)),
            Err(unusable) => {
                for list in unusable {
                    self.look(list.key, |_| -> Outcome<()> {
                        Err(Failure::Configuration(list.reason.into()))
                    });
                }
                None
            }
        }
    }

    /// What a file holds, or else each of its mistakes.
    pub(crate) fn imported<T>(&mut self, key: &str, loaded: Result<T, ImportError>) -> Option<T> {
        let error = match loaded {
            Ok(loaded) => return Some(loaded),
            Err(error) => error,
        };
        let file = error.path().display().to_string();
        for reason in error.mistakes() {
            self.note(Mistake::of_key(None, key, format!("{file}: {reason}")));
        }
        None
    }
}
