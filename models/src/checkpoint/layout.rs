//! Which names a checkpoint gives the weights of our networks: the layouts in circulation, told apart by their keys, and
//! the rules from our names to theirs.
//!
//! Our module tree is named as transformers named LLaVA before 4.52, so one layout needs no rule at all. A rule replaces
//! the beginning of a name; the first that fits counts.

use serde::Serialize;

use crate::error::ModelError;

/// How a directory is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Layout {
    /// `LlavaForConditionalGeneration` of transformers.
    #[serde(rename = "llava-hf-1.5")]
    LlavaHf15,
    /// `LlavaNextForConditionalGeneration` of transformers.
    #[serde(rename = "llava-hf-1.6")]
    LlavaHf16,
    /// `LlavaLlamaForCausalLM` of the LLaVA repository, 1.5 and 1.6.
    #[serde(rename = "llava-original")]
    LlavaOriginal,
    /// CAIG's reward model: the body of the same with a head for two classes.
    #[serde(rename = "caig-reward")]
    CaigReward,
    /// A reward model that was trained here from nothing.
    #[serde(rename = "adwright-reward")]
    AdwrightReward,
    /// An adapter as the PEFT library writes it: no model of its own.
    #[serde(rename = "peft")]
    Peft,
    /// Stable Diffusion as diffusers lays it out.
    #[serde(rename = "sd15")]
    StableDiffusion,
    /// A ControlNet as diffusers writes it.
    #[serde(rename = "controlnet")]
    ControlNet,
}

/// How a checkpoint's weights are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Naming {
    tree: Tree,
    /// transformers 5 leaves out the level `vision_model` of the tower.
    bare_tower: bool,
    /// CAIG's reward model: `score` in place of `lm_head`.
    reward: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tree {
    /// transformers before 4.52: our names.
    Flat,
    /// transformers since 4.52: everything but the head below `model`.
    Nested,
    /// The LLaVA repository.
    Original,
}

/// Ours, theirs.
type Rule = (&'static str, &'static str);

const NESTED: [Rule; 5] = [
    ("language_model.lm_head.", "lm_head."),
    // transformers' `LlavaModel` holds the decoder without its head, hence one level less.
    ("language_model.model.", "model.language_model."),
    ("vision_tower.", "model.vision_tower."),
    ("multi_modal_projector.", "model.multi_modal_projector."),
    ("image_newline", "model.image_newline"),
];

const ORIGINAL: [Rule; 6] = [
    ("language_model.lm_head.", "lm_head."),
    // `LlavaLlamaModel` is itself the decoder; everything else hangs below it.
    ("language_model.model.", "model."),
    // A wrapper named `vision_tower` holds the tower under that name again.
    ("vision_tower.vision_model.", ORIGINAL_TOWER),
    // `nn.Sequential(Linear, GELU, Linear)`.
    ("multi_modal_projector.linear_1.", "model.mm_projector.0."),
    ("multi_modal_projector.linear_2.", "model.mm_projector.2."),
    ("image_newline", "model.image_newline"),
];

/// CAIG's head of click-through rates.
pub(crate) const CTR_HEAD: &str = "sku_ctr_linear_fc.0.";

/// Where the LLaVA repository keeps the vision tower.
pub(crate) const ORIGINAL_TOWER: &str = "model.vision_tower.vision_tower.vision_model.";

/// What stands in checkpoints and is no weight: tables that are computed from the configuration.
const COMPUTED: [&str; 3] = ["rotary_emb.inv_freq", "embeddings.position_ids", "masked_bias"];

impl Layout {
    /// The layout of weights that are named so, of a model of this type.
    pub(crate) fn of(naming: Naming, model_type: &str) -> Self {
        match (naming.is_original(), model_type) {
            (true, _) if naming.is_reward() => Self::CaigReward,
            (true, _) => Self::LlavaOriginal,
            (false, "llava") => Self::LlavaHf15,
            (false, _) => Self::LlavaHf16,
        }
    }

    /// Whether it is of what paints, and of no policy or reward model.
    pub fn paints(self) -> bool {
        matches!(self, Self::StableDiffusion | Self::ControlNet)
    }
}

impl Naming {
    /// Our names, which transformers before 4.52 had and every later one reads.
    pub(crate) const FLAT: Self = Self {
        tree: Tree::Flat,
        bare_tower: false,
        reward: false,
    };

    /// The LLaVA repository's names of a policy.
    pub(crate) const ORIGINAL: Self = Self {
        tree: Tree::Original,
        ..Self::FLAT
    };

    /// CAIG's of its reward model.
    pub(crate) const CAIG_REWARD: Self = Self {
        reward: true,
        ..Self::ORIGINAL
    };

    /// Tells the naming by keys that only it has.
    ///
    /// # Errors
    /// [`ModelError::UnknownLayout`] with some of the names.
    pub(crate) fn detect<'a>(mut names: impl Iterator<Item = &'a str> + Clone) -> Result<Self, ModelError> {
        let has = |beginning: &str| names.clone().any(|name| name.starts_with(beginning));
        let tree = if has("model.mm_projector.") {
            Some(Tree::Original)
        } else if has("model.language_model.") {
            Some(Tree::Nested)
        } else if has("language_model.model.") {
            Some(Tree::Flat)
        } else {
            None
        };
        if let Some(tree) = tree {
            let bare_tower = has("vision_tower.embeddings.") || has("model.vision_tower.embeddings.");
            let reward = tree == Tree::Original && names.clone().any(|name| name == "score.weight");
            return Ok(Self {
                tree,
                bare_tower,
                reward,
            });
        }
        let found = names.by_ref().take(3).map(str::to_owned).collect();
        Err(ModelError::UnknownLayout {
            found: crate::weights::NameList(found),
        })
    }

    /// Whether it is the LLaVA repository's.
    pub(crate) fn is_original(self) -> bool {
        self.tree == Tree::Original
    }

    /// Whether it is CAIG's reward model.
    pub(crate) fn is_reward(self) -> bool {
        self.reward
    }

    /// What the checkpoint calls the weight that our network has under this name.
    pub(crate) fn theirs(self, ours: &str) -> String {
        let ours = ours.strip_prefix("body.").unwrap_or(ours);
        if let (true, Some(end)) = (self.reward, ours.strip_prefix("language_model.lm_head.")) {
            return format!("score.{end}");
        }
        let rules: &[Rule] = match self.tree {
            Tree::Flat => &[],
            Tree::Nested => &NESTED,
            Tree::Original => &ORIGINAL,
        };
        let bare = ours.replacen("vision_tower.vision_model.", "vision_tower.", 1);
        let ours = if self.bare_tower { bare.as_str() } else { ours };
        let renamed = rules
            .iter()
            .find_map(|(from, to)| Some(format!("{to}{}", ours.strip_prefix(from)?)));
        renamed.unwrap_or_else(|| ours.to_owned())
    }
}

/// Whether a name is that of a table which is computed.
pub(crate) fn is_computed(name: &str) -> bool {
    COMPUTED.iter().any(|ending| name.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: [&str; 6] = [
        "language_model.model.layers.3.self_attn.q_proj.weight",
        "language_model.model.embed_tokens.weight",
        "language_model.lm_head.weight",
        "vision_tower.vision_model.embeddings.class_embedding",
        "multi_modal_projector.linear_2.weight",
        "image_newline",
    ];

    #[test]
    fn names_are_those_of_published_checkpoints() {
        let theirs = |tree| {
            let naming = Naming {
                tree,
                bare_tower: false,
                reward: false,
            };
            OURS.map(|name| naming.theirs(name))
        };
        assert_eq!(theirs(Tree::Flat), OURS);
        assert_eq!(
            theirs(Tree::Nested),
            [
                "model.language_model.layers.3.self_attn.q_proj.weight",
                "model.language_model.embed_tokens.weight",
                "lm_head.weight",
                "model.vision_tower.vision_model.embeddings.class_embedding",
                "model.multi_modal_projector.linear_2.weight",
                "model.image_newline",
            ]
        );
        assert_eq!(
            theirs(Tree::Original),
            [
                "model.layers.3.self_attn.q_proj.weight",
                "model.embed_tokens.weight",
                "lm_head.weight",
                "model.vision_tower.vision_tower.vision_model.embeddings.class_embedding",
                "model.mm_projector.2.weight",
                "model.image_newline",
            ]
        );
    }

    #[test]
    fn each_naming_is_told_by_its_own_names_and_others_are_refused() {
        let namings = [
            (Tree::Flat, false),
            (Tree::Flat, true),
            (Tree::Nested, false),
            (Tree::Nested, true),
            (Tree::Original, false),
        ];
        for (tree, bare_tower) in namings {
            let naming = Naming {
                tree,
                bare_tower,
                reward: false,
            };
            let names = OURS.map(|name| naming.theirs(name));
            assert_eq!(Naming::detect(names.iter().map(String::as_str)).unwrap(), naming);
        }
        let error = Naming::detect(["transformer.h.0.weight"].into_iter()).unwrap_err();
        assert!(error.to_string().contains("transformer.h.0.weight"), "{error}");
    }
}
