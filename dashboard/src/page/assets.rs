//! The style, the script and the icon, inside the program.

use std::sync::LazyLock;

/// A file of the pages.
pub(crate) struct Asset {
    /// Its media type.
    pub(crate) kind: &'static str,
    /// What is in it.
    pub(crate) content: &'static str,
}

const FILES: [(&str, &str, Asset); 3] = [
    (
        "style",
        "css",
        Asset {
            kind: "text/css; charset=utf-8",
            content: include_str!("../../assets/style.css"),
        },
    ),
    (
        "live",
        "js",
        Asset {
            kind: "text/javascript; charset=utf-8",
            content: include_str!("../../assets/live.js"),
        },
    ),
    (
        "icon",
        "svg",
        Asset {
            kind: "image/svg+xml",
            content: include_str!("../../assets/icon.svg"),
        },
    ),
];

/// Their names, which change with what is in them, so that browsers may keep them.
static NAMES: LazyLock<[String; 3]> = LazyLock::new(|| {
    FILES.map(|(name, end, asset)| {
        format!(
            "{name}-{}.{end}",
            &blake3::hash(asset.content.as_bytes()).to_hex()[..12]
        )
    })
});

/// The file of a name.
pub(crate) fn asset(name: &str) -> Option<&'static Asset> {
    let place = NAMES.iter().position(|known| known == name)?;
    static ALL: [(&str, &str, Asset); 3] = FILES;
    ALL.get(place).map(|(_, _, asset)| asset)
}

/// Where the style, the script and the icon are.
pub(super) fn places() -> [String; 3] {
    [0, 1, 2].map(|place| format!("/assets/{}", NAMES[place]))
}
