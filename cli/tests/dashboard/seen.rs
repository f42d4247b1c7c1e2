//! Where things are on the pages, and how soon they are to be there.

use crate::page::Page;
use crate::program::wait_until;
use crate::stage::Place;
use std::time::Duration;

/// Longest time from a change to its being seen.
pub(crate) const LIVE: Duration = Duration::from_secs(2);

/// The number in the figure of a name.
pub(crate) fn figure(name: &str) -> String {
    format!(
        "(() => {{ const row = [...document.querySelectorAll('#figures dt')].find(dt => dt.textContent === '{name}'); \
         return row ? row.parentElement.querySelector('strong').textContent : ''; }})()"
    )
}

/// The number at the beginning of such a figure: `1,234`, or `3 / 2000`.
pub(crate) fn counted(name: &str) -> String {
    format!("parseInt({}.replaceAll(',', ''))", figure(name))
}

/// What the row of an actor says.
pub(crate) fn row(actor: &str) -> String {
    format!("(document.querySelector('#actors tr[data-key=\"{actor}\"]')?.textContent ?? '')")
}

/// Where a learner shows its run.
pub(crate) fn address(learner: &Place<'_>) -> String {
    learner
        .line_with("dashboard")
        .split('"')
        .find(|part| part.starts_with("http://"))
        .unwrap()
        .to_owned()
}

/// Waits for several changes of a number that somebody else than the page tells: each is seen within the time of its being told. How often
/// it changes is the run's affair, and nobody loads the page again meanwhile.
#[track_caller]
pub(crate) fn changes_by_itself(page: &mut Page, name: &str, times: usize, mut told: impl FnMut() -> u64) {
    page.value("window.loadedOnce = true");
    // So that the first change is one that the page has not seen yet either.
    let mut newest = page.value(&counted(name)).as_u64().unwrap_or(0).max(told());
    for _ in 0..times {
        let before = newest;
        wait_until(&format!("{name} changes from {before}"), || {
            newest = told();
            newest > before
        });
        let seen = page.until(
            &format!("{name} is at least {newest}"),
            &format!("{} >= {newest}", counted(name)),
        );
        assert!(seen < LIVE, "{name} is {newest}: {seen:?}");
    }
    assert_eq!(
        page.value("window.loadedOnce"),
        true,
        "the page was not loaded again"
    );
}

/// Waits for the history of a creative, which says where it comes from, and `words` besides.
#[track_caller]
pub(crate) fn history_is_open(page: &mut Page, words: &[&str]) {
    page.until(
        "its history is open",
        "document.getElementById('made-title') !== null && document.readyState === 'complete'",
    );
    let text = page.text("main");
    let of_each = [
        "Instruction",
        "Sampled by",
        "On actor",
        "actor-",
        "Scored by",
        "blake3:",
        "Seeds",
    ];
    for said in of_each.iter().chain(words) {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

/// Nothing in the console, and nothing asked for from anywhere but `url`.
#[track_caller]
pub(crate) fn says_nothing_and_asks_nobody_else(page: &mut Page, url: &str) {
    page.take_down();
    assert_eq!(page.complaints, Vec::<String>::new());
    asks_nobody_else(page, url);
}

/// The second half of that.
#[track_caller]
pub(crate) fn asks_nobody_else(page: &mut Page, url: &str) {
    page.take_down();
    let foreign: Vec<&String> = page
        .requests
        .iter()
        .filter(|request| !request.starts_with(url) && *request != "about:blank")
        .collect();
    assert!(page.requests.len() > 20 && foreign.is_empty(), "{foreign:?}");
}
