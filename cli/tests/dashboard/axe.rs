//! axe-core, which looks at a page for what keeps people out: it is fetched for the tests and no part of this repository.

use crate::page::Page;
use serde_json::{Value, json};

/// What names its script.
const VARIABLE: &str = "DASHBOARD_AXE";

/// The rules of WCAG 2.0 to 2.2, A and AA, and what is good practice beyond them.
const RULES: [&str; 6] = [
    "wcag2a",
    "wcag2aa",
    "wcag21a",
    "wcag21aa",
    "wcag22aa",
    "best-practice",
];

/// Screens that a view is looked at on.
const SCREENS: [(u32, u32); 2] = [(390, 844), (1400, 900)];

/// The script.
pub(crate) struct Axe(String);

impl Axe {
    /// The one that the environment names.
    pub(crate) fn there() -> Self {
        let Some(path) = std::env::var_os(VARIABLE) else {
            panic!("{VARIABLE} names no script of axe-core (docs/dashboard.md)");
        };
        match std::fs::read_to_string(&path) {
            Ok(script) => Self(script),
            Err(error) => panic!("{VARIABLE} is {}: {error}", path.display()),
        }
    }

    /// What it finds wrong with a view, light and dark, on a phone and on a desk.
    pub(crate) fn look_at(&self, page: &mut Page, view: &str) -> Vec<String> {
        page.hold_still();
        let mut found = vec![];
        for (width, height) in SCREENS {
            for scheme in ["light", "dark"] {
                page.screen(width, height, scheme);
                let wrong = self.findings(page);
                found.extend(
                    wrong
                        .into_iter()
                        .map(|wrong| format!("{view}, {width} wide, {scheme}: {wrong}")),
                );
            }
        }
        page.screen(1280, 900, "light");
        found
    }

    /// What it finds wrong with what is to be seen now, and what it cannot judge.
    pub(crate) fn findings(&self, page: &mut Page) -> Vec<String> {
        if page.value("typeof window.axe") != "object" {
            page.value(&format!("{}; true", self.0));
        }
        let options = json!({ "runOnly": { "type": "tag", "values": RULES }, "preload": false });
        let mut seen = page.value(&format!(
            "axe.run(document, {options}).then(seen => ({{ \
                 rules: seen.passes.length, \
                 wrong: [...seen.violations, ...seen.incomplete].flatMap(rule => rule.nodes \
                     .filter(node => !{UNREAD}(node)) \
                     .map(node => `${{rule.id}}: ${{node.target.join(' ')}}: ${{node.failureSummary}}`)) }}))"
        ));
        // Where it looked at nothing it would find nothing.
        assert!(seen["rules"].as_u64().unwrap() > 10, "{seen:#}");
        match seen["wrong"].take() {
            Value::Array(wrong) => wrong
                .iter()
                .map(|wrong| wrong.as_str().unwrap().replace('\n', " "))
                .collect(),
            other => panic!("{other}"),
        }
    }
}

/// What it cannot judge and need not: the contrast of a tick, which is there for the eyes beside words that say the same; and of what
/// lies over the page in several lines, which it judges where a line is enough for it.
const UNREAD: &str = "(node => node.any.some(check => check.data?.messageKey === 'nonBmp' \
                      || node.target[0] === '#gone' && check.data?.messageKey === 'elmPartiallyObscuring'))";
