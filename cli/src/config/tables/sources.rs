//! The tables that say where products and clicks come from: the simulated shop, or a user's files.

use super::{is_location, is_path};
use common::{InvalidConfig, SettingsCheck};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// `[catalogue]`: the products to advertise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CatalogueConfig {
    /// `shopworld`, or the path of a JSON catalogue in CAIG's format: `[{"id", "image", "new_caption"}]`, or the URL that
    /// `adwright catalog push` wrote one to. Default `shopworld`.
    pub(crate) source: String,
    /// Share of a JSON catalogue's products that versions are measured on and never trained on, chosen by their ids (docs/data.md), 0 to
    /// 0.5; 0, or of fewer than eight products, none: all are trained on and measured on. The same for every role of a run, and for as
    /// long as it lasts. Default 0.2, as `shopworld.test_share`, which is the simulated shop's.
    pub(crate) test_share: f64,
}

impl Default for CatalogueConfig {
    fn default() -> Self {
        Self {
            source: SHOPWORLD.into(),
            test_share: 0.2,
        }
    }
}

impl CatalogueConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let wanted = "shopworld, the path of a JSON catalogue or its URL";
        check.require(is_location(&self.source), "source", &self.source, wanted);
        check.within("test_share", self.test_share, 0.0..=0.5, "");
        check.finish()
    }

    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        file(&self.source)
    }
}

/// `[corpus]`: what stage A learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct CorpusConfig {
    /// `shopworld`, or the path of a JSON file in LLaVA's format: `[{"id", "image", "conversations"}]`, each conversation one
    /// turn of `human` (with `<image>` where there is an image) and one of `gpt`. Default `shopworld`.
    pub(crate) source: String,
}

impl Default for CorpusConfig {
    fn default() -> Self {
        Self {
            source: SHOPWORLD.into(),
        }
    }
}

impl CorpusConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let wanted = "shopworld or the path of a JSON file in LLaVA's format";
        check.require(is_path(&self.source), "source", &self.source, wanted);
        check.finish()
    }

    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        file(&self.source)
    }
}

/// `[click_log]`: the clicks that stage B learns from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ClickLogConfig {
    /// `shopworld`, or the path of a file with one JSON object per line, `{product_id, caption, category?, image,
    /// impressions, clicks}`, a line per creative. Default `shopworld`.
    pub(crate) source: String,
    /// Share of a file's products that the reward model is measured on and never trained on, 0.01 to 0.9. Default 0.2, as
    /// `shopworld.test_share`, which is the simulated shop's.
    pub(crate) test_share: f64,
}

impl Default for ClickLogConfig {
    fn default() -> Self {
        Self {
            source: SHOPWORLD.into(),
            test_share: 0.2,
        }
    }
}

impl ClickLogConfig {
    pub(crate) fn validate(&self) -> Result<(), InvalidConfig> {
        let mut check = SettingsCheck::default();
        let wanted = "shopworld or the path of a file of JSON lines";
        check.require(is_path(&self.source), "source", &self.source, wanted);
        check.within("test_share", self.test_share, 0.01..=0.9, "");
        check.finish()
    }

    /// The file, where one is named.
    pub(crate) fn file(&self) -> Option<&Path> {
        file(&self.source)
    }
}

/// What a source is called that is no file.
const SHOPWORLD: &str = "shopworld";

fn file(source: &str) -> Option<&Path> {
    (source != SHOPWORLD && is_path(source)).then_some(Path::new(source))
}
