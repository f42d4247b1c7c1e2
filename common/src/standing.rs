//! What can be said of a candidate: it has a reward, it could have one, or it must not.

use crate::Reward;

/// How a candidate stands in its group. Only a scored one is ever compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// The reward model has scored its image.
    Scored(Reward),
    /// Its image could be scored and was not: no other one of its group could be, so there was nothing to compare it with; or the reward
    /// model abstained.
    Unscored,
    /// A guardrail found it unusable: it has no reward, and is neither chosen nor rejected.
    Barred(Barred),
}

/// Why a candidate is unusable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Barred {
    /// Which guardrail found it.
    pub guardrail: Guardrail,
    /// What it measured, in its own unit; finite; `None` where there is nothing to measure.
    pub measured: Option<f64>,
}

/// What keeps a candidate from being used. Whatever is barred is recorded and never a loser: the policy is not taught that its
/// description was a bad one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Guardrail {
    /// What the image generator gave is no picture that can be read.
    Undecodable,
    /// The picture shows nothing but the product: it is black, or of one colour.
    Blank,
    /// The product has a rim that is neither its own nor the background's.
    Halo,
    /// The picture does not show the product's opaque pixels as they are.
    Leakage,
    /// The product hardly stands out.
    Visibility,
    /// The picture is nearly that of an earlier candidate of the group.
    NearDuplicate,
    /// The description has a word or phrase of the text blocklist.
    TextBlocklist,
    /// The picture is nearly one of the image blocklist.
    ImageBlocklist,
    /// The image generator does not take the description.
    Description,
    /// The image generator has made an image and does not give it.
    Withheld,
}

impl Guardrail {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Undecodable,
        Self::Blank,
        Self::Halo,
        Self::Leakage,
        Self::Visibility,
        Self::NearDuplicate,
        Self::TextBlocklist,
        Self::ImageBlocklist,
        Self::Description,
        Self::Withheld,
    ];

    /// Its name in reports, metrics and the ledger's export.
    pub fn name(self) -> &'static str {
        match self {
            Self::Undecodable => "undecodable",
            Self::Blank => "blank",
            Self::Halo => "halo",
            Self::Leakage => "leakage",
            Self::Visibility => "visibility",
            Self::NearDuplicate => "near_duplicate",
            Self::TextBlocklist => "text_blocklist",
            Self::ImageBlocklist => "image_blocklist",
            Self::Description => "description",
            Self::Withheld => "withheld",
        }
    }

    /// Whether there is no picture at all: what was generated is none, or shows nothing.
    pub fn means_no_picture(self) -> bool {
        matches!(self, Self::Undecodable | Self::Blank)
    }
}

impl Standing {
    /// The reward, where there is one.
    pub fn reward(&self) -> Option<Reward> {
        match self {
            Self::Scored(reward) => Some(*reward),
            Self::Unscored | Self::Barred(_) => None,
        }
    }

    /// Why it is unusable, where it is.
    pub fn barred(&self) -> Option<Barred> {
        match self {
            Self::Barred(barred) => Some(*barred),
            Self::Scored(_) | Self::Unscored => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_guardrail_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Guardrail::ALL.map(Guardrail::name).into();
        assert_eq!(names.len(), Guardrail::ALL.len());
        assert!(Guardrail::ALL.is_sorted());
    }
}
