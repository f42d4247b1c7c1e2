//! For the tests of the roles: that docs/metrics.md and a role's page have the same names. What they mean it cannot compare.

use super::Registry;
use prometheus_client::encoding::prometheus_text::encode;
use std::collections::BTreeSet;

/// The page of `registry`, which has every name of the document's `chapter`, such as `Actor`, and no other.
///
/// # Panics
/// When it has not, with the names of both.
pub fn documented_page(registry: &Registry, chapter: &str) -> String {
    let mut page = String::new();
    encode(&mut page, registry).expect("a page can be written");
    let names = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let documented = include_str!("../../../docs/metrics.md")
        .split("\n#")
        .find_map(|part| part.strip_prefix(&format!("## {chapter}\n")))
        .expect("the document has the chapter");
    let documented = documented
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(
        documented.collect::<BTreeSet<_>>(),
        names.collect(),
        "{chapter}: docs/metrics.md, and the page"
    );
    page
}
