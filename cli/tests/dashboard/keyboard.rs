//! The pages without a mouse, and without eyes.

use crate::page::Page;
use crate::seen::{LIVE, counted, figure};
use serde_json::json;
use std::time::{Duration, Instant};

/// What can be used on a page, in the order in which it is read.
const CONTROLS: &str = "window.controls = [...document.querySelectorAll( \
     'a[href], button, input, select, summary, [tabindex=\"0\"]')].filter(one => one.checkVisibility()); controls.length";

/// Which of them has the focus, and whether one sees that: it has a ring, is on the screen and lies under nothing else.
const FOCUSED: &str = "(() => { \
     const one = document.activeElement, style = getComputedStyle(one), box = one.getBoundingClientRect(); \
     const top = Math.max(box.top, 0), bottom = Math.min(box.bottom, innerHeight); \
     const left = Math.max(box.left, 0), right = Math.min(box.right, innerWidth); \
     const at = bottom > top && document.elementFromPoint((left + right) / 2, (top + bottom) / 2); \
     const corner = bottom > top && document.elementFromPoint((left + right) / 2, top + 2); \
     return { place: controls.indexOf(one), what: `${one.tagName} ${one.className} ${one.textContent.slice(0, 40)}`, \
              ring: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2, \
              seen: Boolean(at && corner) && one.contains(at) && (one.contains(corner) || box.height > innerHeight / 2) }; })()";

/// How long what is read out is listened to: less than what the page leaves between two things.
const LISTENING: Duration = Duration::from_secs(8);

/// From a page's beginning to its end by the Tab key, on each page; and past the links at its top.
pub(crate) fn reaches_everything_in_order(page: &mut Page, url: &str) {
    for (width, height) in [(1280, 900), (390, 844)] {
        page.screen(width, height, "light");
        for place in ["", "why", "creatives", "creatives/1"] {
            page.go(&format!("{url}{place}"));
            page.hold_still();
            let all = page.value(CONTROLS).as_u64().unwrap();
            assert!(all >= 6, "/{place} has {all} controls");
            for next in 0..all {
                page.press("Tab");
                let focused = page.value(FOCUSED);
                assert!(
                    focused["place"] == next && focused["ring"] == true && focused["seen"] == true,
                    "{next} of {all} on /{place}, {width} wide: {focused}"
                );
            }
        }
    }
    page.screen(1280, 900, "light");
    page.go(url);
    page.press("Tab");
    assert_eq!(page.value("document.activeElement.className"), "skip");
    page.press("Enter");
    page.until(
        "what is skipped is skipped",
        "document.activeElement.id === 'main'",
    );
    page.press("Tab");
    assert_eq!(
        page.value("document.activeElement.closest('main') !== null"),
        true
    );
    has_its_landmarks(page);
}

/// What a screen reader goes by.
fn has_its_landmarks(page: &mut Page) {
    let tree = page.call("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let roles: Vec<&str> = nodes
        .iter()
        .filter_map(|node| node["role"]["value"].as_str())
        .collect();
    for role in ["main", "banner", "navigation", "heading", "table", "image"] {
        assert!(roles.contains(&role), "no {role} in {roles:?}");
    }
    let told = page.value(
        "[...document.querySelectorAll('figure.chart:has(svg[role=img])')].map(chart => ({ \
             label: chart.querySelector('svg[role=img]').getAttribute('aria-label'), \
             newest: [...chart.querySelectorAll('.legend strong')].map(value => value.textContent), \
             table: chart.querySelector('details table').textContent }))",
    );
    let told = told.as_array().unwrap();
    assert!(told.len() >= 6, "{told:?}");
    for chart in told {
        let (label, table) = (chart["label"].as_str().unwrap(), chart["table"].as_str().unwrap());
        for value in chart["newest"].as_array().unwrap() {
            let value = value.as_str().unwrap();
            assert!(label.contains(value) && table.contains(value), "{chart}");
        }
    }
}

/// A run goes on under the hands of whoever looks at it.
pub(crate) fn a_page_that_changes_leaves_alone_whoever_uses_it(page: &mut Page, url: &str) {
    page.go(url);
    page.until(
        "creatives are shown",
        "document.querySelectorAll('#creatives a.card').length >= 12",
    );
    let live = page.value("[...document.querySelectorAll('[aria-live], [role=alert], [role=status], [role=log]')].map(one => one.id)");
    assert_eq!(live, json!(["news", "gone"]), "nothing else is read out");
    let begun = Instant::now();
    page.value(
        "window.told = 0; new MutationObserver(() => { told++; }) \
             .observe(document.getElementById('news'), { childList: true, characterData: true, subtree: true }); true",
    );
    let version = page.value(&counted("Policy version")).as_u64().unwrap();
    what_is_opened_closes_with_escape(page);
    what_has_the_focus_stays(page);
    page.until(
        "versions are published",
        &format!("{} >= {}", counted("Policy version"), version + 3),
    );
    std::thread::sleep(LISTENING.saturating_sub(begun.elapsed()));
    // What the page had heard before it was listened to may be among it.
    let told = page.value("told").as_u64().unwrap();
    assert!(
        told <= 1 + begun.elapsed().as_secs() / 20,
        "read out {told} times"
    );
    page.until(
        "the version is read out in the end",
        &format!("told > {told} && document.getElementById('news').textContent.includes('Version ')"),
    );
    let named = "parseInt(document.getElementById('news').textContent.slice(8))";
    assert!(page.value(named).as_u64().unwrap() >= version + 3);
}

fn what_is_opened_closes_with_escape(page: &mut Page) {
    page.value("window.summary = document.querySelector('#curves summary'); summary.focus(); true");
    page.press("Enter");
    page.until("the table is open", "summary.parentElement.open");
    changes(page);
    assert_eq!(
        page.value("summary.parentElement.open && document.activeElement === summary"),
        true,
        "it stays open, and the focus where it was"
    );
    page.press("Escape");
    page.until("Escape closes it", "!summary.parentElement.open");
    assert_eq!(page.value("document.activeElement === summary"), true);
}

fn what_has_the_focus_stays(page: &mut Page) {
    let newest = "document.querySelector('#creatives li').dataset.key";
    page.value("window.card = document.querySelector('#creatives a.card'); card.focus(); true");
    let before = page.value(newest);
    let ledger = page.value(&counted("Ledger")).as_u64().unwrap();
    page.until(
        "there is nothing left of what was shown",
        &format!("{} > {}", counted("Ledger"), ledger + 12),
    );
    assert_eq!(page.value("document.activeElement === card"), true);
    assert_eq!(page.value(newest), before);
    page.value("document.querySelector('.brand').focus(); true");
    let told = page.until(
        "it goes on",
        &format!("{newest} !== '{}'", before.as_str().unwrap()),
    );
    assert!(told < LIVE, "{told:?}");
    changes(page);
}

/// Waits until the page has taken in something.
fn changes(page: &mut Page) {
    let before = page.value(&figure("Ledger"));
    page.until("something changes", &format!("{} !== {before}", figure("Ledger")));
}
