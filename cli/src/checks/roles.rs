//! What each role is asked before it starts.

use super::Checks;
use crate::args::Starter;
use crate::failure::OrConfiguration as _;
use crate::ready::Role;
use crate::security::{self, Security};
use crate::shop::Shop;
use ::actor::Guardrails;
use anyhow::Context as _;
use common::ActorId;
use learner::Outputs;
use models::device::Placement;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a process stands on, as far as it could be had.
pub(crate) struct Process {
    /// Who it proves to be, and whom it believes.
    pub(crate) security: Option<Security>,
    /// Where it computes.
    pub(crate) placement: Option<Placement>,
}

/// Where a learner writes that no key names.
#[derive(Debug, Clone, Default)]
pub(crate) struct LearnerFlags {
    /// `--steps`
    pub(crate) steps: Option<PathBuf>,
    /// `--pairs`
    pub(crate) pairs: Option<PathBuf>,
    /// `--summary`
    pub(crate) summary: Option<PathBuf>,
}

/// What an actor is told that no key names.
#[derive(Debug, Clone, Default)]
pub(crate) struct ActorFlags {
    /// `--id`
    pub(crate) id: Option<String>,
    /// `--work-dir`
    pub(crate) work_dir: Option<PathBuf>,
}

impl Checks {
    /// What a process of this role stands on, and its addresses.
    pub(crate) fn process(&mut self, role: Role) -> Process {
        let process = self.standing(role);
        self.addresses(role);
        process
    }

    /// What a process of this role stands on.
    fn standing(&mut self, role: Role) -> Process {
        let placement = self.placement();
        let security = match self.certificates() {
            true => self.look("tls.cert", |config| Security::open(config, role.peer())),
            false => None,
        };
        Process { security, placement }
    }

    /// Where it computes.
    pub(crate) fn placement(&mut self) -> Option<Placement> {
        match self.has_mistake("compute.dtype") {
            true => None,
            false => self.look("compute.device", |config| {
                config.compute.placement().or_configuration()
            }),
        }
    }

    /// What a process that only asks stands on: the configured certificate, whosever it is.
    pub(crate) fn looking_on(&mut self) -> Option<Security> {
        match self.certificates() {
            true => self.look("tls.cert", Security::looking_on),
            false => None,
        }
    }

    /// Whether every file of certificates can be read, where there are some.
    fn certificates(&mut self) -> bool {
        let keys = ["tls.cert", "tls.key", "tls.ca"];
        if keys.iter().any(|key| self.has_mistake(key)) {
            return false;
        }
        let unreadable = match self.config().tls.is_set() {
            true => security::unreadable(&self.config().tls),
            false => vec![],
        };
        let fine = unreadable.is_empty();
        for (key, error) in unreadable {
            self.look::<()>(&key, |_| Err(error).or_configuration());
        }
        fine
    }

    /// A learner: its policy, its products, and wherever it writes. The products, unless they come by URL.
    pub(crate) fn learner(&mut self, flags: &LearnerFlags) -> Option<Shop> {
        self.store("store.url", |config| &config.store.url);
        self.adapter();
        self.outputs(flags);
        self.dashboard();
        let directory = self.model("paths.policy", |config| &config.paths.policy, "pretrain");
        let policy = directory.and_then(|directory| self.policy_in("paths.policy", &directory));
        let shop = self.products()?;
        self.training(&self.config().learner.clone(), &shop, policy.as_ref());
        Some(shop)
    }

    /// Where a learner writes beside its stores.
    pub(crate) fn outputs(&mut self, flags: &LearnerFlags) {
        let key = "telemetry.tensorboard";
        let tensorboard = self.config().telemetry.tensorboard_dir();
        let outputs = Outputs {
            steps: flags.steps.as_deref(),
            pairs: flags.pairs.as_deref(),
            tensorboard: tensorboard.as_deref().filter(|_| !self.has_mistake(key)),
        };
        for refusal in outputs.refusals() {
            self.refused(refusal);
        }
        if let Some(summary) = &flags.summary {
            self.file("--summary", summary);
        }
    }

    /// The file that a training's steps are to be written into.
    pub(crate) fn steps(&mut self, file: Option<&Path>) {
        let outputs = Outputs {
            steps: file,
            ..Outputs::default()
        };
        for refusal in outputs.refusals() {
            self.refused(refusal);
        }
    }

    /// Who may look at the run, where it is shown.
    pub(crate) fn dashboard(&mut self) {
        let key = "dashboard.token_file";
        if self.config().dashboard.is_on() {
            self.look(key, |config| {
                dashboard::Access::of(&config.dashboard).or_configuration()
            });
        }
    }

    /// A reward-server: the model that it serves.
    pub(crate) fn reward_server(&mut self) {
        let key = "paths.reward_model";
        self.model(key, |config| &config.paths.reward_model, "train-reward");
    }

    /// An actor: its name, its lists, what it paints with, and where it writes. The guardrails.
    pub(crate) fn actor(&mut self, flags: &ActorFlags) -> Option<Arc<Guardrails>> {
        if let Some(id) = &flags.id {
            self.argument(ActorId::new(id.as_str()).context("--id").or_configuration());
        }
        self.store("store.url", |config| &config.store.url);
        if let Some(directory) = &flags.work_dir {
            self.directory("--work-dir", directory);
        }
        self.painting();
        self.guardrails()
    }

    /// An evaluator: everything that versions are measured with and on, as far as it can be known without weights. The products, unless
    /// they come by URL.
    pub(crate) fn evaluator(&mut self) -> Option<Shop> {
        self.placement();
        let directory = self.model("paths.policy", |config| &config.paths.policy, "pretrain");
        let policy = directory.and_then(|directory| self.policy_in("paths.policy", &directory));
        self.reward_server();
        self.painting();
        let shop = self.products();
        if let (Some(shop), Some(policy)) = (&shop, &policy) {
            self.prompts(shop, policy);
        }
        shop
    }

    /// What is asked at a start of what lies on this machine, but for addresses: they may be taken by the very job that is asked about.
    pub(crate) fn starter(&mut self, starter: Starter) {
        match starter {
            Starter::Learner => {
                self.standing(Role::Learner);
                self.learner(&LearnerFlags::default());
            }
            Starter::RewardServer => {
                self.standing(Role::RewardServer);
                self.reward_server();
            }
            Starter::Actor => {
                self.standing(Role::Actor);
                self.actor(&ActorFlags::default());
            }
            Starter::Evaluator => {
                self.looking_on();
                self.evaluator();
            }
        }
    }
}
