//! What is answered, and to whom.

use super::*;
use crate::config::DashboardConfig;
use crate::test_run::{HOSTILE, TestRun};
use http::Request;
use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST};
use proptest::prelude::*;
use tower::ServiceExt as _;

const TOKEN: &str = "correct-horse-battery";

fn pages(listen: &str, token: bool) -> Router {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), TOKEN).unwrap();
    let token_file = if token {
        file.path().display().to_string()
    } else {
        String::new()
    };
    let access = Access::of(&DashboardConfig {
        listen: listen.into(),
        token_file,
    });
    let live = Arc::new(Live::new(TestRun::new()));
    router(live, Arc::new(access.unwrap()), CancellationToken::new())
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

async fn ask(router: &Router, request: http::request::Builder, body: &str) -> Answer {
    let response = router
        .clone()
        .oneshot(request.body(Body::from(body.to_owned())).unwrap())
        .await
        .unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, 1 << 22).await.unwrap().to_vec(),
    }
}

async fn of(router: &Router, path: &str) -> Answer {
    ask(router, Request::get(path).header(HOST, "127.0.0.1:7403"), "").await
}

#[tokio::test]
async fn every_page_is_there_and_every_answer_is_guarded_against_what_others_wrote() {
    let router = pages("127.0.0.1:0", false);
    let paths = [
        "/",
        "/why",
        "/why?from=v1.1&to=v1.3",
        "/creatives",
        "/creatives?before=30",
        "/creatives/1",
    ];
    for path in paths {
        let answer = of(&router, path).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
        let text = answer.text();
        assert!(
            !text.contains("<script>") && !text.contains("onerror=\"alert"),
            "{path}"
        );
        assert!(
            !text.contains(" style=") && !text.contains("://"),
            "{path} has what the policy forbids"
        );
        assert_eq!(
            text.matches("<script ").count(),
            usize::from(!path.starts_with("/creatives")),
            "{path}"
        );
        assert_eq!(text.matches("<main").count(), 1, "{path}");
        assert!(
            answer
                .header(CONTENT_SECURITY_POLICY)
                .contains("default-src 'self'")
        );
        assert!(
            answer
                .header(CONTENT_SECURITY_POLICY)
                .contains("frame-ancestors 'none'")
        );
        assert_eq!(answer.header(X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(answer.header(CACHE_CONTROL), "no-store");
    }
    let overview = of(&router, "/").await;
    assert!(
        overview.text().contains("&lt;script&gt;alert"),
        "{HOSTILE} is shown as it was written"
    );
    for (path, status) in [
        ("/nothing", StatusCode::NOT_FOUND),
        ("/creatives/2", StatusCode::NOT_FOUND),
        ("/creatives/x", StatusCode::BAD_REQUEST),
        ("/assets/passwd", StatusCode::NOT_FOUND),
        ("/assets/..%2f..%2fetc%2fpasswd", StatusCode::NOT_FOUND),
    ] {
        let answer = of(&router, path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.header(X_CONTENT_TYPE_OPTIONS), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn from_the_oldest_outcomes_one_gets_back_to_the_page_before_them() {
    let router = pages("127.0.0.1:0", false);
    let oldest = of(&router, "/creatives?before=6").await;
    let text = oldest.text();
    assert!(
        text.contains("href=\"/creatives?before=30\" rel=\"prev\"") && !text.contains("rel=\"next\""),
        "{text}"
    );
    let first = of(&router, "/creatives?before=0").await;
    assert!(
        first.text().contains("Outcomes #0 to #0 of the 1,234"),
        "{}",
        first.text()
    );
}

#[tokio::test]
async fn the_history_of_a_creative_names_everything_it_was_made_from() {
    let page = of(&pages("127.0.0.1:0", false), "/creatives/1").await;
    for said in [
        "lamp-7",
        "lamps",
        "v1.1",
        "actor-1",
        "completions <code>11</code>",
        "+0.250",
        "\u{2212}0.125",
        "scored +0.500 on the left and +0.000 on the right",
        "chosen",
        "rejected",
        "v1.2</strong>, done at optimizer step 16",
        "image expired",
        "write about",
    ] {
        assert!(page.text().contains(said), "{said:?} is not in {}", page.text());
    }
}

#[tokio::test]
async fn the_history_of_a_refused_pair_says_why_and_which_lost_version_had_it() {
    let page = of(&pages("127.0.0.1:0", false), "/creatives/3").await;
    for said in [
        "<strong>Refused</strong>: stale: 3 versions behind v1.5",
        "v1.2</strong>",
        "lost",
    ] {
        assert!(page.text().contains(said), "{said:?} is not in {}", page.text());
    }
    let trained = of(&pages("127.0.0.1:0", false), "/creatives/1").await;
    assert!(!trained.text().contains("Refused"), "{}", trained.text());
}

#[tokio::test]
async fn what_versions_do_on_held_out_products_is_a_curve_of_its_own() {
    let page = of(&pages("127.0.0.1:0", false), "/").await;
    let curve = page
        .text()
        .split("<h3>Reward on held-out products</h3>")
        .nth(1)
        .unwrap();
    let curve = curve.split("</figure>").next().unwrap();
    assert!(
        curve.contains("0.420") && !curve.contains("Nothing measured yet"),
        "{curve}"
    );
}

#[tokio::test]
async fn pictures_leave_as_png_and_only_those_that_an_outcome_names() {
    let router = pages("127.0.0.1:0", false);
    let picture = of(&router, "/creatives/1/0.png").await;
    assert_eq!(
        (picture.status, picture.header(CONTENT_TYPE)),
        (StatusCode::OK, "image/png")
    );
    assert!(picture.body.starts_with(b"\x89PNG") && picture.header(CACHE_CONTROL) == "no-store");
    assert_eq!(
        of(&router, "/creatives/1/0-small.png").await.status,
        StatusCode::OK
    );
    // What claims to be a picture and is none.
    let answer = of(&router, "/creatives/1/1.png").await;
    assert_eq!(
        (answer.status, answer.text().contains("onload")),
        (StatusCode::UNPROCESSABLE_ENTITY, false)
    );
    for path in [
        "/creatives/1/7.png",
        "/creatives/4/0.png",
        "/creatives/1/0.svg",
        "/creatives/1/-1.png",
    ] {
        assert_eq!(of(&router, path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let unreadable = of(&router, "/creatives/9/0.png").await;
    assert_eq!(
        (unreadable.status, unreadable.text().contains("the disk")),
        (StatusCode::BAD_GATEWAY, false)
    );
}

#[tokio::test]
async fn without_the_token_nothing_of_the_run_is_told_and_with_it_everything_is() {
    let router = pages("0.0.0.0:0", true);
    for path in [
        "/",
        "/why",
        "/creatives",
        "/creatives/1",
        "/creatives/1/0.png",
        "/events",
    ] {
        let answer = of(&router, path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(
            answer.text().contains("type=\"password\"") && !answer.text().contains("spring"),
            "{path}"
        );
        let known = Request::get(path).header(AUTHORIZATION, format!("Bearer {TOKEN}"));
        let response = router
            .clone()
            .oneshot(known.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{path}");
    }
    // A token in the address is none.
    assert_eq!(
        of(&router, &format!("/?token={TOKEN}")).await.status,
        StatusCode::UNAUTHORIZED
    );
}

#[tokio::test]
async fn a_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get() {
    let router = pages("0.0.0.0:0", true);
    let login = |body: String| {
        let router = router.clone();
        async move { ask(&router, Request::post("/login"), &body).await }
    };
    let wrong = login("token=wrong-horse-battery".into()).await;
    assert_eq!(
        (wrong.status, wrong.header(SET_COOKIE)),
        (StatusCode::UNAUTHORIZED, "")
    );
    assert!(wrong.text().contains("not this run") && !wrong.text().contains("wrong-horse"));
    let right = login(format!("token={TOKEN}")).await;
    assert_eq!(
        (right.status, right.header(LOCATION)),
        (StatusCode::SEE_OTHER, "/")
    );
    let cookie = right.header(SET_COOKIE);
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict") && !cookie.contains(TOKEN));
    let sent = cookie.split(';').next().unwrap();
    let page = ask(&router, Request::get("/").header(COOKIE, sent), "").await;
    assert_eq!(page.status, StatusCode::OK);
    let large = login("x".repeat(LOGIN_BYTES + 1)).await;
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_page_of_somebody_else_whose_name_is_made_to_mean_this_machine_gets_nothing() {
    let router = pages("127.0.0.1:0", false);
    for path in ["/", "/creatives/1/0.png", "/events", "/login"] {
        let rebound = Request::get(path).header(HOST, "evil.example:7403");
        assert_eq!(
            ask(&router, rebound, "").await.status,
            StatusCode::MISDIRECTED_REQUEST,
            "{path}"
        );
    }
}

#[tokio::test]
async fn nothing_can_be_changed_from_here() {
    let router = pages("127.0.0.1:0", false);
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        for path in ["/", "/creatives/1", "/events", "/why"] {
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header(HOST, "localhost");
            assert_eq!(
                ask(&router, request, "").await.status,
                StatusCode::METHOD_NOT_ALLOWED,
                "{method} {path}"
            );
        }
    }
}

#[tokio::test]
async fn what_a_page_needs_comes_from_here_under_names_that_change_with_it() {
    let router = pages("0.0.0.0:0", true);
    let page = of(&router, "/").await;
    let names: Vec<&str> = page
        .text()
        .split('"')
        .filter(|part| part.starts_with("/assets/"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
    for name in names {
        let asset = ask(&router, Request::get(name).header(ACCEPT, "*/*"), "").await;
        assert!(
            asset.status == StatusCode::OK && asset.header(CACHE_CONTROL).contains("immutable"),
            "{name}"
        );
        assert!(
            !asset.text().contains("http://") || name.ends_with("svg"),
            "{name}"
        );
    }
}

/// Text of anybody, often near what is asked for.
fn near(right: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let damaged = (any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(at, byte)| {
        let mut bytes = right.as_bytes().to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    prop_oneof![prop::collection::vec(any::<u8>(), 0..200), damaged]
}

/// A request as the router gets it; `None`: HTTP has no such one.
fn well_formed(request: http::request::Builder, body: Vec<u8>) -> Option<Request<Body>> {
    request.body(Body::from(body)).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_query_cookie_or_login_breaks_a_page_or_lets_a_stranger_in(
        query in near("page=why&from=v1.1&to=v1.3&before=30"),
        cookie in near("adwright-0123abcd=0000000000000000000000000000000000000000000000000000000000000000"),
        login in near("token=correct-horse-batterz"),
    ) {
        prop_assume!(login != format!("token={TOKEN}").into_bytes());
        let query = String::from_utf8_lossy(&query).into_owned();
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let open = pages("127.0.0.1:0", false);
            for query in [&query, &encoded] {
                for path in ["/", "/why", "/creatives", "/events"] {
                    let uri = format!("{path}?{query}");
                    let Some(request) = well_formed(Request::get(uri).header(HOST, "localhost"), vec![]) else {
                        continue;
                    };
                    let status = open.clone().oneshot(request).await.unwrap().status();
                    assert_eq!(status, StatusCode::OK, "{path}?{query}");
                }
            }
            let closed = pages("0.0.0.0:0", true);
            let asked = [
                well_formed(Request::get("/").header(COOKIE, &cookie[..]), vec![]),
                well_formed(Request::get("/").header(AUTHORIZATION, &cookie[..]), vec![]),
                well_formed(Request::post("/login"), login),
            ];
            for request in asked.into_iter().flatten() {
                let status = closed.clone().oneshot(request).await.unwrap().status();
                assert_eq!(status, StatusCode::UNAUTHORIZED);
            }
        });
    }
}
