//! What keeps a candidate from being used: checks of its description before anything is rendered, and of its picture after.
//!
//! What a guardrail finds is recorded with the candidate, which then has no reward and is never a loser. The first that finds
//! something is the one that is named; descriptions are checked before pictures.

mod config;
mod error;
mod likeness;
mod pixels;
mod text_blocklist;

pub use config::GuardrailsConfig;
pub use error::{GuardrailError, UnusableList};
pub use pixels::{Blank, Halo, Leakage, Measures, ProductMeasures, Visibility};

use common::{Barred, DecidingSettings, Digest, Guardrail};
use data::{GeneratedImage, NoImage};
use imaging::ImagingError;
use imaging::guardrails::perceptual_hash::{PerceptualHash, background_hash, perceptual_hash};
use likeness::{ImageBlocklist, NearDuplicates};
use pixels::Pixels;
use text_blocklist::TextBlocklist;

/// The keys that name lists.
const TEXT_BLOCKLIST: &str = "actor.guardrails.text_blocklist";
const IMAGE_BLOCKLIST: &str = "actor.guardrails.image_blocklist";

/// One guardrail. It looks at descriptions, or at pictures.
trait Guards: Send + Sync {
    /// What bars a description, so that it is not rendered.
    fn of_description(&self, _description: &str) -> Option<Barred> {
        None
    }

    /// What bars a picture.
    ///
    /// # Errors
    /// [`ImagingError`] when picture and placed product do not belong together.
    fn of_picture(&self, _shown: &Shown<'_>) -> Result<Option<Barred>, ImagingError> {
        Ok(None)
    }

    /// The key that names its list, and the digest of what that holds.
    fn list(&self) -> Option<(&'static str, Digest)> {
        None
    }
}

/// A picture as guardrails see it.
struct Shown<'a> {
    generated: &'a GeneratedImage,
    /// The backgrounds of the group's pictures that came before it and are not barred.
    earlier: &'a [PerceptualHash],
}

impl Shown<'_> {
    /// The hash of its background, or of all of it where the generator does not tell where the product stands; `None` when there is
    /// no background.
    fn background(&self) -> Result<Option<PerceptualHash>, ImagingError> {
        match &self.generated.placed {
            Some(placed) => background_hash(&self.generated.image, placed),
            None => perceptual_hash(&self.generated.image).map(Some),
        }
    }
}

/// The guardrails of an actor, in the order in which they are asked.
#[derive(Default)]
pub struct Guardrails {
    all: Vec<Box<dyn Guards>>,
    /// Whether pictures are compared with earlier ones of their group.
    compares: bool,
}

/// The guardrails of one group of candidates, whose pictures come one after the other.
pub(crate) struct GroupGuardrails<'a> {
    guardrails: &'a Guardrails,
    earlier: Vec<PerceptualHash>,
}

impl Guardrails {
    /// Those of a checked configuration. Reads its lists.
    ///
    /// # Errors
    /// Every list that cannot be used.
    pub fn open(config: &GuardrailsConfig) -> Result<Self, Vec<UnusableList>> {
        let (mut all, mut unusable): (Vec<Box<dyn Guards>>, _) = (vec![], vec![]);
        let mut note = |key, reason| unusable.push(UnusableList { key, reason });
        match config.text_blocklist().map(TextBlocklist::read) {
            Some(Ok(list)) => all.push(Box::new(list)),
            Some(Err(reason)) => note(TEXT_BLOCKLIST, reason),
            None => {}
        }
        all.push(Box::new(Pixels::new(config)));
        let read = |path| ImageBlocklist::read(path, config.image_blocklist_bits);
        match config.image_blocklist().map(read) {
            Some(Ok(list)) => all.push(Box::new(list)),
            Some(Err(reason)) => note(IMAGE_BLOCKLIST, reason),
            None => {}
        }
        if config.near_duplicates {
            let bits = config.near_duplicate_bits;
            all.push(Box::new(NearDuplicates { bits }));
        }
        let compares = config.near_duplicates;
        match unusable.is_empty() {
            true => Ok(Self { all, compares }),
            false => Err(unusable),
        }
    }

    /// What its lists hold, as the learner is told it.
    pub(crate) fn contents(&self) -> DecidingSettings {
        let lists = self.all.iter().filter_map(|guardrail| guardrail.list());
        lists
            .map(|(key, digest)| DecidingSettings::of_contents(key, digest))
            .fold(DecidingSettings::default(), DecidingSettings::and)
    }

    /// What bars a description, so that it is not rendered.
    pub(crate) fn of_description(&self, description: &str) -> Option<Barred> {
        self.all
            .iter()
            .find_map(|guards| guards.of_description(description))
    }

    /// For the pictures of a new group.
    pub(crate) fn of_group(&self) -> GroupGuardrails<'_> {
        GroupGuardrails {
            guardrails: self,
            earlier: vec![],
        }
    }
}

impl GroupGuardrails<'_> {
    /// What bars the next picture.
    ///
    /// # Errors
    /// [`ImagingError`] when picture and placed product do not belong together.
    pub(crate) fn of_picture(&mut self, generated: &GeneratedImage) -> Result<Option<Barred>, ImagingError> {
        let shown = Shown {
            generated,
            earlier: &self.earlier,
        };
        for guards in &self.guardrails.all {
            if let Some(barred) = guards.of_picture(&shown)? {
                return Ok(Some(barred));
            }
        }
        if self.guardrails.compares {
            let background = shown.background()?;
            self.earlier.extend(background);
        }
        Ok(None)
    }
}

/// What a description that gave no image amounts to.
pub(crate) fn of_no_image(reason: &NoImage) -> Barred {
    let guardrail = match reason {
        NoImage::Description(_) => Guardrail::Description,
        NoImage::Withheld(_) => Guardrail::Withheld,
        NoImage::Invalid(_) => Guardrail::Undecodable,
    };
    Barred {
        guardrail,
        measured: None,
    }
}

#[cfg(test)]
mod tests;
