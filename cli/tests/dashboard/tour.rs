//! What somebody who opens the dashboard sees and can do, one thing after the other on one run.

use crate::browser::Browser;
use crate::http::{number, page_of};
use crate::page::Page;
use crate::program::signal;
use crate::seen::{
    LIVE, address, asks_nobody_else, changes_by_itself, counted, figure, history_is_open, row,
    says_nothing_and_asks_nobody_else,
};
use crate::stage::{Place, SMALL_STEPS, Stage, port};
use crate::{alone, keyboard};

#[test]
#[ignore = "needs Chromium (docs/dashboard.md); .ci/run runs it"]
fn a_person_watches_a_run_sees_an_actor_die_and_opens_the_history_of_a_creative() {
    let _machine = alone();
    let browser = Browser::start();
    let stage = Stage::with_models();
    let reward = stage.reward_server();
    // Long enough for everything below.
    // At addresses that stay, as it is started twice.
    let numbers = format!("127.0.0.1:{}", port());
    let shown = [
        format!("dashboard.listen=127.0.0.1:{}", port()),
        format!("telemetry.metrics_listen={numbers}"),
        "learner.versions=2000".into(),
        SMALL_STEPS.into(),
    ];
    let learner = stage.learner_with("shown", &shown);
    let url = address(&learner);
    let mut page = Page::open(browser);
    page.screen(1280, 900, "light");
    page.go(&url);
    page.until(
        "an empty run says what it waits for",
        "document.body.textContent.includes('No actor has joined yet')",
    );
    assert!(page.text("#endings").contains("No outcome yet"));
    let mut actors: Vec<Place<'_>> = ["actor-1", "actor-2"]
        .map(|id| stage.actor(id, &learner, &reward))
        .into();
    live_numbers_change_by_themselves(&mut page, &numbers);
    numbers_are_those_of_the_run(&mut page, &numbers);
    keep_a_screenshot(&mut page);
    names_of_pods_have_room(&mut page);
    nothing_is_wider_than_a_phone_and_dark_is_dark(&mut page, &url);
    keyboard::reaches_everything_in_order(&mut page, &url);
    keyboard::a_page_that_changes_leaves_alone_whoever_uses_it(&mut page, &url);
    a_creative_opens_its_history(&mut page, &url);
    the_movement_is_explained(&mut page, &url);
    an_actor_that_is_killed_shows_it(&mut page, &url, &mut actors);
    one_that_is_stopped_has_left(&mut page, &actors[0]);
    says_nothing_and_asks_nobody_else(&mut page, &url);
    // The browser says in its console that nobody answers.
    a_learner_that_is_gone_is_told_of_and_comes_back(&mut page, learner);
    asks_nobody_else(&mut page, &url);
}

fn live_numbers_change_by_themselves(page: &mut Page, numbers: &str) {
    page.until(
        "a version is published",
        "document.querySelector('#curves path.line') !== null",
    );
    page.until(
        "creatives are shown",
        "document.querySelectorAll('#creatives .thumb img').length >= 8",
    );
    page.value("window.opened = document.querySelector('#curves details'); opened.open = true; true");
    changes_by_itself(page, "Ledger", 3, || {
        number(&page_of(numbers), "ledger_records_total") as u64
    });
    assert_eq!(
        page.value("opened.isConnected && opened.open"),
        true,
        "what was opened stays open"
    );
    page.value("opened.open = false");
    page.until(
        "pictures come",
        "[...document.querySelectorAll('#creatives img')].slice(0, 4).every(i => i.naturalWidth > 0)",
    );
    nothing_jumps(page);
}

/// Watches the layout for two seconds of the run, in which nobody does anything.
fn nothing_jumps(page: &mut Page) {
    // What was closed above may still move what is below it.
    page.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))");
    let watch = "new Promise(done => { \
                 const seen = []; \
                 const box = at => [at.x, at.y, at.width, at.height].map(Math.round).join(' '); \
                 const moved = source => { \
                     const node = source.node?.nodeType === 3 ? source.node.parentElement : source.node; \
                     return `${node?.closest('[id]')?.id}: ${node?.tagName} ${node?.className} ${node?.textContent?.slice(0, 40)} \
                             from ${box(source.previousRect)} to ${box(source.currentRect)}`; }; \
                 const take = list => list.forEach(shift => seen.push({ value: shift.value, moved: shift.sources.map(moved) })); \
                 const watcher = new PerformanceObserver(list => take(list.getEntries())); \
                 watcher.observe({ type: 'layout-shift' }); \
                 setTimeout(() => { take(watcher.takeRecords()); done(seen); }, 2000); })";
    let seen = page.value(watch);
    let shifts = seen.as_array().unwrap();
    let sum: f64 = shifts.iter().map(|shift| shift["value"].as_f64().unwrap()).sum();
    assert!(sum < 0.05, "the layout has shifted by {sum}: {seen:#}");
}

/// What the page shows lies between what the learner says before and after.
fn numbers_are_those_of_the_run(page: &mut Page, numbers: &str) {
    for (name, of_run) in [
        ("Ledger", "ledger_records_total"),
        ("Pairs trained", "train_pairs_total"),
        ("Policy version", "weights_policy_version"),
    ] {
        let shown = counted(name);
        let before = number(&page_of(numbers), of_run);
        assert!(before > 0.0, "{of_run} is {before}");
        let told = page.until(
            &format!("{name} is at least {before}"),
            &format!("{shown} >= {before}"),
        );
        assert!(told < LIVE, "{name}: {told:?}");
        let shown = page.value(&shown).as_f64().unwrap();
        let after = number(&page_of(numbers), of_run);
        assert!(
            (before..=after).contains(&shown),
            "{name} is {shown}, {of_run} from {before} to {after}"
        );
    }
}

/// Where it is asked for, the picture of the overview once there is something on it.
fn keep_a_screenshot(page: &mut Page) {
    let Some(file) = std::env::var_os("DASHBOARD_SCREENSHOT") else {
        return;
    };
    page.until(
        "curves have a shape",
        "parseInt(document.querySelector('#figures strong').textContent) >= 12",
    );
    page.screen(1280, 1500, "light");
    let keep = |page: &mut Page, name: &str, whole: bool| {
        page.until("pictures come", "[...document.images].filter(i => i.getBoundingClientRect().top < innerHeight).every(i => i.complete)");
        let picture = page.picture(whole);
        let path = std::path::Path::new(&file);
        let path = if name.is_empty() {
            path.to_owned()
        } else {
            path.with_file_name(name)
        };
        std::fs::write(path, picture).unwrap();
    };
    keep(page, "", false);
    if std::env::var_os("DASHBOARD_ALL_SCREENSHOTS").is_none() {
        return;
    }
    let home = page.value("location.href").as_str().unwrap().to_owned();
    for (name, place, width, scheme) in [
        ("dark.png", "", 1280, "dark"),
        ("phone.png", "", 360, "light"),
        ("phone-dark.png", "why", 360, "dark"),
        ("why.png", "why", 1280, "light"),
        ("creatives.png", "creatives", 1280, "light"),
        ("history.png", "creatives/20", 1280, "light"),
        ("history-phone.png", "creatives/20", 360, "dark"),
    ] {
        page.screen(width, 1100, scheme);
        page.go(&format!("{home}{place}"));
        keep(page, name, true);
    }
    page.screen(1280, 900, "light");
    page.go(&home);
}

/// An actor in a cluster is called after its pod.
fn names_of_pods_have_room(page: &mut Page) {
    let lines = page.value(
        "(() => { \
             const name = document.querySelector('#actors tbody th'); \
             const before = name.textContent; \
             name.textContent = 'actor-adwright-actor-7c9f6d9b5c-abcde-1-9f3a12bc'; \
             const range = document.createRange(); \
             range.selectNodeContents(name); \
             const lines = new Set([...range.getClientRects()].map(line => line.top)).size; \
             name.textContent = before; \
             return lines; })()",
    );
    assert!(lines.as_u64().unwrap() <= 2, "{lines} lines");
}

fn nothing_is_wider_than_a_phone_and_dark_is_dark(page: &mut Page, url: &str) {
    // As narrow as WCAG asks for, which is a desk's screen at 400 % too.
    page.screen(320, 740, "light");
    for place in ["", "why", "creatives", "creatives/1"] {
        page.go(&format!("{url}{place}"));
        let wide = page.value("document.documentElement.scrollWidth");
        assert!(wide.as_u64().unwrap() <= 320, "/{place} is {wide} wide");
    }
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = page.value(ground);
    page.screen(1280, 900, "dark");
    assert_ne!(page.value(ground), light);
    page.screen(1280, 900, "light");
}

fn a_creative_opens_its_history(page: &mut Page, url: &str) {
    page.go(url);
    let pair = "[...document.querySelectorAll('#creatives a.card')].find(card => card.textContent.includes('pair') \
                && !card.textContent.includes('no pair'))";
    page.until_clicked("a pair is shown", pair);
    history_is_open(page, &["v1.", "chosen", "rejected"]);
    page.until(
        "its pictures come",
        "document.images.length >= 3 && [...document.images].every(i => i.naturalWidth > 0)",
    );
}

fn the_movement_is_explained(page: &mut Page, url: &str) {
    page.go(&format!("{url}why"));
    page.until(
        "versions are compared",
        "document.querySelectorAll('#movement tbody tr').length > 6",
    );
    let text = page.text("#movement");
    for said in [
        "By actor",
        "By category",
        "By reward model",
        "actor-1",
        "actor-2",
        "Contributes",
    ] {
        assert!(text.contains(said), "{said} is not in {text}");
    }
}

fn an_actor_that_is_killed_shows_it(page: &mut Page, url: &str, actors: &mut Vec<Place<'_>>) {
    page.go(url);
    page.until(
        "both work",
        &format!(
            "{}.includes('Working') && {}.includes('Working')",
            row("actor-1"),
            row("actor-2")
        ),
    );
    // Dropping a place kills its process.
    actors.pop();
    let told = page.until("its row says so", &format!("{}.includes('Gone')", row("actor-2")));
    assert!(told < LIVE, "{told:?}");
    assert!(
        page.text("#actors tbody tr").contains("actor-2"),
        "whoever is in trouble comes first"
    );
}

/// It hands back what it holds, so nobody has lost anything.
fn one_that_is_stopped_has_left(page: &mut Page, actor: &Place<'_>) {
    signal(actor.process(), "TERM");
    page.until("its row says so", &format!("{}.includes('Left')", row("actor-1")));
    let figures = page.text("#figures");
    assert!(figures.contains("1 gone, 1 left"), "{figures}");
}

fn a_learner_that_is_gone_is_told_of_and_comes_back(page: &mut Page, mut learner: Place<'_>) {
    let version = page.value(&figure("Policy version"));
    learner.role = None;
    let told = page.until("the page says so", "!document.getElementById('gone').hidden");
    assert!(told < LIVE, "{told:?}");
    page.value("window.loadedOnce = true");
    learner.restart();
    page.until("the page goes on", "document.getElementById('gone').hidden");
    page.until(
        "it is the next start",
        "document.querySelector('#figures').textContent.includes('start 2')",
    );
    page.until(
        "the curves go on",
        "document.querySelectorAll('#curves path.line').length >= 6",
    );
    let earlier: u64 = version
        .as_str()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    let points = "document.querySelector('#curves path.line').getAttribute('d').split('L').length";
    page.until(
        "what was measured before is still there",
        &format!("{points} >= {}", earlier.saturating_sub(3).max(2)),
    );
    assert_eq!(
        page.value("window.loadedOnce"),
        true,
        "the page was not loaded again"
    );
}
