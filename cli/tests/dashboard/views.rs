//! Every view of the dashboard, looked at by axe-core: a person who cannot see, who has no mouse or whose screen is small is to get
//! what everybody gets.

use crate::alone;
use crate::axe::Axe;
use crate::browser::Browser;
use crate::page::Page;
use crate::seen::{address, history_is_open, row};
use crate::stage::{SMALL_STEPS, Stage, port};

const TOKEN: &str = "correct-horse-battery";

/// How outcomes end and what the page says of it, beside what this run comes to.
const RARE: &str = "document.querySelector('main').insertAdjacentHTML('afterbegin', ` \
     <p><span class='pill good'>Working</span> <span class='pill warn'>Waiting</span> <span class='pill bad'>Gone</span> \
        <span class='pill done'>Left</span> <span class='why'>it has not called for longer than a lease lasts</span></p> \
     <p class='trouble'><strong>The run failed. </strong>why</p> <p class='warning'>The catalogue has changed since.</p> \
     <p class='verdict'>went <strong class='up'>up</strong> and <strong class='down'>down</strong></p> \
     <p class='note'>a note</p> <p class='empty'>Nothing yet.</p>`)";

#[test]
#[ignore = "needs Chromium and axe-core (docs/dashboard.md); .ci/run runs it"]
fn every_view_is_one_that_everybody_can_use() {
    let axe = Axe::there();
    let _machine = alone();
    let browser = Browser::start();
    let stage = Stage::with_models();
    std::fs::write(stage.directory.path().join("token"), TOKEN).unwrap();
    let shown = [
        format!("dashboard.listen=127.0.0.1:{}", port()),
        "dashboard.token_file=token".into(),
        "learner.versions=2000".into(),
        SMALL_STEPS.into(),
    ];
    let learner = stage.learner_with("seen", &shown);
    let url = address(&learner);
    let page = &mut Page::open(browser);
    page.screen(1280, 900, "light");
    let mut wrong = vec![];
    let mut look = |page: &mut Page, view: &str| wrong.extend(axe.look_at(page, view));

    page.go(&url);
    look(page, "what asks for the token");
    enter(page, "wrong-horse-battery");
    page.until("it is refused", "document.getElementById('wrong') !== null");
    assert_eq!(
        page.value("document.activeElement.id"),
        "token",
        "to try again nothing has to be looked for"
    );
    look(page, "a wrong token");
    enter(page, TOKEN);
    page.until("the run is shown", "document.getElementById('figures') !== null");
    for (place, view) in [
        ("", "a run that has not begun"),
        ("why", "nothing to compare"),
        ("creatives", "no creatives"),
        ("creatives/7", "an outcome that is none"),
        ("nothing", "a page that is none"),
    ] {
        page.go(&format!("{url}{place}"));
        look(page, view);
    }

    let reward = stage.reward_server();
    let mut actors = vec![
        stage.actor("actor-1", &learner, &reward),
        stage.actor("actor-2", &learner, &reward),
    ];
    page.go(&url);
    page.until(
        "curves are drawn",
        "document.querySelectorAll('#curves path.line:not(.dot)').length >= 6",
    );
    page.until(
        "creatives are shown",
        "document.querySelectorAll('#creatives a.card').length >= 12",
    );
    look(page, "the overview");
    page.value("document.querySelectorAll('details').forEach(one => { one.open = true; }); true");
    look(page, "curves as tables");
    page.value(RARE);
    look(page, "what comes seldom");
    for (place, view) in [
        ("why", "why it moved"),
        ("why?from=v1.1&to=v1.999", "a version that is none"),
        ("creatives", "creatives"),
        ("creatives?before=30", "earlier creatives"),
    ] {
        page.go(&format!("{url}{place}"));
        look(page, view);
    }
    for (outcome, pill) in [("a pair", ".good"), ("no pair", ".done")] {
        let card = format!("document.querySelector('a.card:has(.pill{pill})')");
        page.go(&url);
        page.until_clicked(&format!("{outcome} is shown"), &card);
        history_is_open(page, &[]);
        look(page, &format!("the history of {outcome}"));
    }

    page.go(&url);
    actors.pop();
    page.until(
        "an actor is gone",
        &format!("{}.includes('Gone')", row("actor-2")),
    );
    look(page, "an actor that is gone");
    page.go(&url);
    drop(learner);
    page.until("the page says so", "!document.getElementById('gone').hidden");
    look(page, "a learner that is gone");

    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    it_would_be_found(&axe, page);
}

/// Types a token and sends it, as a person without a mouse does.
fn enter(page: &mut Page, token: &str) {
    page.until("the field has the focus", "document.activeElement.id === 'token'");
    page.write(token);
    page.press("Enter");
}

/// What none of the views has, so that finding nothing means something.
fn it_would_be_found(axe: &Axe, page: &mut Page) {
    page.value(
        "document.querySelector('main').insertAdjacentHTML('afterbegin', \
         `<img src='/icon'><p class='pale'>pale</p><div class='crowd'><button class='tiny'>a</button><button class='tiny'>b</button></div>`); \
         document.querySelector('.pale').style.color = '#ccc'; \
         document.querySelector('.crowd').style.display = 'flex'; \
         document.querySelectorAll('.tiny').forEach(({ style }) => { \
             Object.assign(style, { width: '9px', height: '9px', minHeight: 0, padding: 0, fontSize: '6px' }); }); true",
    );
    let found = axe.findings(page).join("\n");
    for rule in ["image-alt", "color-contrast", "target-size"] {
        assert!(found.contains(rule), "{rule} is not in {found}");
    }
}
