//! Every word of the shop: what descriptions may say and what captions are made of. Kept small, so that each word is
//! frequent enough for a tiny model to learn.

/// A product category.
pub(crate) struct Category {
    /// Its name.
    pub(crate) name: &'static str,
    /// Synonyms that captions call its products by.
    pub(crate) nouns: [&'static str; 4],
}

/// The categories. Scenes and props `2 k` and `2 k + 1` are native to category `k`.
pub(crate) const CATEGORIES: [Category; 8] = [
    Category {
        name: "furniture",
        nouns: ["cabinet", "dresser", "sideboard", "drawers"],
    },
    Category {
        name: "skincare",
        nouns: ["cream", "lotion", "serum", "balm"],
    },
    Category {
        name: "coffee",
        nouns: ["coffee", "espresso", "roast", "mocha"],
    },
    Category {
        name: "audio",
        nouns: ["headphones", "headset", "earphones", "earcups"],
    },
    Category {
        name: "shoes",
        nouns: ["sneakers", "trainers", "runners", "shoes"],
    },
    Category {
        name: "toys",
        nouns: ["teddy", "bear", "plush", "cub"],
    },
    Category {
        name: "bags",
        nouns: ["backpack", "rucksack", "daypack", "knapsack"],
    },
    Category {
        name: "watches",
        nouns: ["watch", "wristwatch", "timepiece", "chronograph"],
    },
];

/// Where the product stands; two native to each category.
pub(crate) const SCENES: [&str; 16] = [
    "living room",
    "bedroom loft",
    "spa bath",
    "rose garden",
    "country kitchen",
    "cafe corner",
    "neon street",
    "music studio",
    "running track",
    "city skyline",
    "bright nursery",
    "birthday party",
    "mountain lake",
    "pine forest",
    "velvet lounge",
    "night gala",
];

/// What it stands on; neutral.
pub(crate) const SURFACES: [&str; 12] = [
    "oak desk",
    "walnut table",
    "white marble",
    "black granite",
    "raw concrete",
    "linen cloth",
    "wool rug",
    "fresh grass",
    "beach sand",
    "glass shelf",
    "red silk",
    "brushed steel",
];

/// How it is lit; neutral.
pub(crate) const LIGHTS: [&str; 6] = [
    "soft light",
    "spotlight",
    "window light",
    "sunset light",
    "overhead light",
    "candle light",
];

/// What lies beside it; two native to each category.
pub(crate) const PROPS: [&str; 16] = [
    "potted fern",
    "book stack",
    "orchid bloom",
    "sea shells",
    "coffee beans",
    "cookie plate",
    "vinyl record",
    "music notes",
    "water bottle",
    "gold medal",
    "balloons",
    "toy blocks",
    "brass compass",
    "camp fire",
    "pearl string",
    "gift box",
];

/// The colour mood; neutral.
pub(crate) const PALETTES: [&str; 8] = [
    "pastel tones",
    "earth tones",
    "ocean blue",
    "ruby red",
    "mint green",
    "golden hues",
    "violet hues",
    "monochrome",
];

/// Invented brands.
pub(crate) const BRANDS: [&str; 12] = [
    "lumo", "verra", "nordan", "astela", "kivo", "mirelle", "tamsin", "oryx", "paloma", "zenti", "halden",
    "bravia",
];

/// Product colours, with their RGB values.
pub(crate) const COLOURS: [(&str, [u8; 3]); 8] = [
    ("red", [204, 44, 48]),
    ("blue", [46, 92, 196]),
    ("green", [52, 142, 76]),
    ("yellow", [240, 196, 44]),
    ("black", [48, 48, 54]),
    ("white", [238, 238, 236]),
    ("pink", [240, 130, 172]),
    ("brown", [134, 88, 56]),
];

/// Product patterns.
pub(crate) const PATTERNS: [&str; 4] = ["plain", "striped", "dotted", "checked"];

/// What the product claims to be; says nothing about its category, so that a caption without a noun leaves it to the
/// picture.
pub(crate) const STYLES: [&str; 8] = [
    "classic", "modern", "premium", "vintage", "handmade", "organic", "slim", "deluxe",
];

/// Product sizes.
pub(crate) const SIZES: [&str; 4] = ["mini", "small", "medium", "large"];

/// Instructions that name the product: the ones asked in reinforcement learning.
pub(crate) const PROMPT_INSTRUCTIONS: [&str; 3] = [
    "suggest a background for {caption}",
    "describe a scene for {caption}",
    "advertise {caption}",
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn descriptions_and_captions_use_at_most_256_words() {
        let slots = [&SCENES[..], &SURFACES, &LIGHTS, &PROPS, &PALETTES].concat();
        let nouns = CATEGORIES.iter().flat_map(|category| category.nouns);
        let colours = COLOURS.iter().map(|(name, _)| *name);
        let captions = BRANDS
            .into_iter()
            .chain(PATTERNS)
            .chain(STYLES)
            .chain(SIZES)
            .chain(nouns)
            .chain(colours);
        let words: BTreeSet<&str> = slots
            .into_iter()
            .chain(captions)
            .flat_map(str::split_whitespace)
            .collect();
        assert!(words.len() <= 256, "{} words", words.len());
    }

    #[test]
    fn every_noun_names_one_category() {
        let nouns: Vec<_> = CATEGORIES.iter().flat_map(|category| category.nouns).collect();
        assert_eq!(nouns.iter().collect::<BTreeSet<_>>().len(), nouns.len());
    }
}
