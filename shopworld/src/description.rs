//! The grammar of background descriptions: five comma-separated slots in fixed order, such as
//! `cafe corner, oak desk, window light, coffee beans, earth tones`.
//!
//! Parsing never fails: what is not understood is a missing slot, counted, and rendered grey.

use crate::vocabulary::{LIGHTS, PALETTES, PROPS, SCENES, SURFACES};
use std::fmt;

/// One of the five parts of a description, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Where the product stands.
    Scene,
    /// What it stands on.
    Surface,
    /// How it is lit.
    Light,
    /// What lies beside it.
    Prop,
    /// The colour mood.
    Palette,
}

impl Slot {
    /// All slots in order.
    pub const ALL: [Self; 5] = [Self::Scene, Self::Surface, Self::Light, Self::Prop, Self::Palette];

    /// What the slot may say.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Self::Scene => &SCENES,
            Self::Surface => &SURFACES,
            Self::Light => &LIGHTS,
            Self::Prop => &PROPS,
            Self::Palette => &PALETTES,
        }
    }

    /// Whether the category with this index makes a difference to which values fit.
    pub(crate) fn has_native_values(self) -> bool {
        matches!(self, Self::Scene | Self::Prop)
    }
}

/// A complete description: for each slot the index of its value in [`Slot::values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Description([usize; 5]);

impl Description {
    /// A description of these value indices, in slot order; `None` when one is out of range.
    pub fn new(values: [usize; 5]) -> Option<Self> {
        Slot::ALL
            .iter()
            .all(|&slot| values[slot as usize] < slot.values().len())
            .then_some(Self(values))
    }

    /// The index of a slot's value in [`Slot::values`].
    pub fn value(&self, slot: Slot) -> usize {
        self.0[slot as usize]
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for slot in Slot::ALL {
            let separator = if slot == Slot::Scene { "" } else { ", " };
            write!(f, "{separator}{}", slot.values()[self.value(slot)])?;
        }
        Ok(())
    }
}

/// What was understood of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsedDescription {
    values: [Option<usize>; 5],
    defects: u32,
}

impl ParsedDescription {
    /// Reads a text. Case and blanks do not matter. A part that says what a later slot may say leaves the slots between
    /// empty; a part that is unknown, repeated or out of order is not used.
    pub fn parse(text: &str) -> Self {
        let mut values = [None; 5];
        let (mut parts, mut next) = (0u32, 0);
        for part in text.split(',').filter(|_| !text.trim().is_empty()) {
            parts = parts.saturating_add(1);
            if let Some((slot, value)) = find(&normalised(part), next) {
                values[slot] = Some(value);
                next = slot + 1;
            }
        }
        let missing = values.iter().filter(|value| value.is_none()).count() as u32;
        let surplus = parts.saturating_sub(Slot::ALL.len() as u32);
        Self {
            values,
            defects: missing.saturating_add(surplus),
        }
    }

    /// The index of a slot's value in [`Slot::values`]; `None` when the slot is missing.
    pub fn value(&self, slot: Slot) -> Option<usize> {
        self.values[slot as usize]
    }

    /// Slots missing plus parts beyond the fifth; 0 means that the text is a description.
    pub fn defects(&self) -> u32 {
        self.defects
    }

    /// The description, when nothing is wrong with it.
    pub fn complete(&self) -> Option<Description> {
        let values = Slot::ALL.map(|slot| self.value(slot));
        let complete = self.defects == 0 && values.iter().all(Option::is_some);
        complete.then(|| Description(values.map(Option::unwrap_or_default)))
    }
}

impl From<Description> for ParsedDescription {
    fn from(description: Description) -> Self {
        Self {
            values: description.0.map(Some),
            defects: 0,
        }
    }
}

fn normalised(part: &str) -> String {
    part.split_whitespace()
        .map(str::to_lowercase)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The first slot from `next` on that may say `part`, and the index of the value.
fn find(part: &str, next: usize) -> Option<(usize, usize)> {
    Slot::ALL.iter().skip(next).find_map(|slot| {
        let value = slot.values().iter().position(|value| *value == part)?;
        Some((*slot as usize, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn any_description() -> impl Strategy<Value = Description> {
        let index = |slot: Slot| 0..slot.values().len();
        let [a, b, c, d, e] = Slot::ALL.map(index);
        (a, b, c, d, e).prop_map(|(a, b, c, d, e)| Description::new([a, b, c, d, e]).unwrap())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(description in any_description()) {
            let parsed = ParsedDescription::parse(&description.to_string());
            prop_assert_eq!(parsed, description.into());
            prop_assert_eq!(parsed.complete(), Some(description));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".*") {
            let parsed = ParsedDescription::parse(&text);
            prop_assert_eq!(parsed.complete().is_some(), parsed.defects() == 0);
        }

        #[test]
        fn each_lost_or_garbled_slot_is_one_defect(
            description in any_description(), fate in prop::collection::vec(0..3, 5)
        ) {
            let text = description.to_string();
            let parts = text.split(", ").zip(&fate);
            let kept: Vec<_> = parts.filter(|(_, fate)| **fate < 2)
                .map(|(part, fate)| if *fate == 0 { part } else { "???" }).collect();
            let parsed = ParsedDescription::parse(&kept.join(", "));
            prop_assert_eq!(parsed.defects() as usize, fate.iter().filter(|fate| **fate > 0).count());
            for (slot, fate) in Slot::ALL.into_iter().zip(&fate) {
                prop_assert_eq!(parsed.value(slot), (*fate == 0).then(|| description.value(slot)));
            }
        }
    }

    #[test]
    fn no_value_belongs_to_two_slots() {
        let values: Vec<_> = Slot::ALL.iter().flat_map(|slot| slot.values()).collect();
        assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), values.len());
        assert!(
            values
                .iter()
                .all(|value| (1..=3).contains(&value.split(' ').count()))
        );
    }

    #[test]
    fn repeated_misplaced_and_surplus_parts_are_defects() {
        let defects = |text: &str| ParsedDescription::parse(text).defects();
        let whole = "cafe corner, oak desk, spotlight, balloons, earth tones";
        assert_eq!(defects(whole), 0);
        assert_eq!(defects(&whole.to_uppercase().replace(", ", " ,  ")), 0);
        assert_eq!(defects(&format!("{whole}, earth tones")), 1);
        assert_eq!(defects(&format!("{whole},")), 1);
        assert_eq!(
            defects("oak desk, cafe corner, spotlight, balloons, earth tones"),
            1
        );
        assert_eq!(
            defects("cafe corner, cafe corner, spotlight, balloons, earth tones"),
            1
        );
        assert_eq!(defects("cafe corner oak desk spotlight balloons earth tones"), 5);
        assert_eq!(defects(""), 5);
    }

    #[test]
    fn values_out_of_range_are_no_description() {
        assert_eq!(Description::new([0, 0, 6, 0, 0]), None);
    }
}
