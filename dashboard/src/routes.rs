//! What is answered to which request. Everything is a GET but the login.

use crate::access::{Access, is_guess};
use crate::live::{Live, Subject};
use crate::page::{self, PAGE};
use crate::picture::{self, SMALL};
use crate::places::Guest;
use crate::view::PictureOf;
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::get;
use common::PolicyVersion;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Scripts, styles and pictures of this address alone, none of them inside the page; no frame of anybody shows it.
const POLICY: &str =
    "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Pictures that are decoded, and outcomes that are looked up, at the same time.
const AT_ONCE: usize = 4;

/// How long an answer may take to be made.
const ANSWER_TIME: Duration = Duration::from_secs(20);

/// Bytes of a login.
const LOGIN_BYTES: usize = 4 << 10;

/// How long a wrong token takes to be refused, and how many are refused at the same time: eight guesses a second, on however many
/// connections.
const WRONG_TOKEN: Duration = Duration::from_millis(500);
const REFUSED_AT_ONCE: usize = 4;

/// What the handlers share.
struct App {
    live: Arc<Live>,
    access: Arc<Access>,
    at_once: Arc<Semaphore>,
    refusals: Semaphore,
    stop: CancellationToken,
}

type Shared = State<Arc<App>>;

// Neither semaphore is ever closed.
impl App {
    /// Waits for a place among those that look something up or decode a picture.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.at_once.clone().acquire_owned().await.ok()
    }

    /// Has whoever showed a wrong token wait. Who knows the right one never does.
    async fn refuse_slowly(&self) {
        let _turn = self.refusals.acquire().await;
        tokio::time::sleep(WRONG_TOKEN).await;
    }
}

/// The pages of a run.
pub(crate) fn router(live: Arc<Live>, access: Arc<Access>, stop: CancellationToken) -> Router {
    let app = Arc::new(App {
        live,
        access,
        at_once: Arc::new(Semaphore::new(AT_ONCE)),
        refusals: Semaphore::new(REFUSED_AT_ONCE),
        stop,
    });
    Router::new()
        .route("/", get(overview))
        .route("/why", get(movement))
        .route("/creatives", get(creatives))
        .route("/creatives/{sequence}", get(history))
        .route("/creatives/{sequence}/{file}", get(creative_picture))
        .route("/events", get(events))
        .route_layer(middleware::from_fn_with_state(app.clone(), with_token))
        .route("/login", get(|| async { to("/") }).post(login))
        .route("/assets/{file}", get(asset))
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "There is no such page.") })
        .layer(middleware::from_fn_with_state(app.clone(), with_host_and_headers))
        .with_state(app)
}

/// Turns away whoever names another machine, and says how browsers are to treat every answer.
async fn with_host_and_headers(State(app): Shared, request: Request, next: Next) -> Response {
    let mut response = match app.access.is_for_here(request.uri(), request.headers()) {
        true => match tokio::time::timeout(ANSWER_TIME, next.run(request)).await {
            Ok(response) => response,
            Err(_) => problem(
                StatusCode::GATEWAY_TIMEOUT,
                "The run's store takes too long. Try again.",
            ),
        },
        false => problem(
            StatusCode::MISDIRECTED_REQUEST,
            "This address is served to this machine by its own names only.",
        ),
    };
    let headers = response.headers_mut();
    let always: [(HeaderName, &str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ];
    headers.extend(always.map(|(name, value)| (name, HeaderValue::from_static(value))));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Asks for the token, where there is one.
async fn with_token(State(app): Shared, request: Request, next: Next) -> Response {
    if app.access.knows_token(request.headers()) {
        if let Some(guest) = request.extensions().get::<Guest>() {
            guest.may_look();
        }
        return next.run(request).await;
    }
    if is_guess(request.headers()) {
        app.refuse_slowly().await;
    }
    let form = Html(page::login(false).into_string());
    let headers = [(WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, headers, form).into_response()
}

async fn login(State(app): Shared, body: Body) -> Response {
    if !app.access.has_token() {
        return to("/");
    }
    let Ok(body) = axum::body::to_bytes(body, LOGIN_BYTES).await else {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, "That is no login.");
    };
    let token = url::form_urlencoded::parse(&body).find(|(name, _)| name == "token");
    let session = token.and_then(|(_, token)| app.access.session(&token));
    match session.map(HeaderValue::try_from) {
        Some(Ok(cookie)) => {
            let mut response = to("/");
            response.headers_mut().insert(SET_COOKIE, cookie);
            response
        }
        _ => {
            app.refuse_slowly().await;
            let form = Html(page::login(true).into_string());
            (StatusCode::UNAUTHORIZED, form).into_response()
        }
    }
}

async fn overview(State(app): Shared) -> Response {
    shown(&app, Subject::Overview).await
}

async fn movement(State(app): Shared, uri: Uri) -> Response {
    let (from, to) = versions(&uri);
    shown(&app, Subject::Movement(from, to)).await
}

async fn shown(app: &App, subject: Subject) -> Response {
    match app.live.rendered(subject).await {
        Some(sections) => {
            let overview = app.live.run.overview();
            Html(page::living(&overview, subject, &sections).into_string()).into_response()
        }
        None => problem(StatusCode::INTERNAL_SERVER_ERROR, "The page could not be made."),
    }
}

async fn events(State(app): Shared, uri: Uri) -> Response {
    let subject = match query(&uri).get("page").map(String::as_str) {
        Some("why") => {
            let (from, to) = versions(&uri);
            Subject::Movement(from, to)
        }
        _ => Subject::Overview,
    };
    match app.live.follow(subject, app.stop.clone()) {
        Some(events) => ([(CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response(),
        None => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many pages follow this run already.",
        ),
    }
}

async fn creatives(State(app): Shared, uri: Uri) -> Response {
    let overview = app.live.run.overview();
    let asked = query(&uri).get("before").and_then(|before| before.parse().ok());
    let recorded = overview.recorded;
    let until = asked.unwrap_or(recorded).clamp(recorded.min(1), recorded);
    let from = until.saturating_sub(PAGE);
    let _place = app.place().await;
    match app.live.run.creatives(from, until).await {
        Ok(mut all) => {
            all.reverse();
            Html(page::creatives(&overview, &all, from, until).into_string()).into_response()
        }
        Err(error) => unreadable(&error),
    }
}

async fn history(State(app): Shared, Path(sequence): Path<u64>) -> Response {
    let _place = app.place().await;
    match app.live.run.history(sequence).await {
        Ok(Some(history)) => {
            let overview = app.live.run.overview();
            Html(page::history(&overview, &history).into_string()).into_response()
        }
        Ok(None) => problem(StatusCode::NOT_FOUND, "The ledger has no such outcome."),
        Err(error) => unreadable(&error),
    }
}

async fn creative_picture(State(app): Shared, Path((sequence, file)): Path<(u64, String)>) -> Response {
    let Some((of, most)) = named_picture(&file) else {
        return problem(StatusCode::NOT_FOUND, "There is no such picture.");
    };
    let place = app.place().await;
    let stored = match app.live.run.picture(sequence, of).await {
        Ok(Some(stored)) => stored,
        Ok(None) => return problem(StatusCode::NOT_FOUND, "There is no such picture."),
        Err(error) => return unreadable(&error),
    };
    let decode = move || {
        // Decoding goes on when its caller has left, so the place is its own.
        let _place = place;
        picture::as_png(&stored, most)
    };
    match tokio::task::spawn_blocking(decode).await {
        Ok(Ok(png)) => ([(CONTENT_TYPE, "image/png")], png).into_response(),
        Ok(Err(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, &why.to_string()),
        Err(_) => problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The picture could not be read.",
        ),
    }
}

/// `product.png`, `0.png`, `0-small.png`.
fn named_picture(file: &str) -> Option<(PictureOf, Option<u32>)> {
    let name = file.strip_suffix(".png")?;
    let (name, most) = name
        .strip_suffix("-small")
        .map_or((name, None), |name| (name, Some(SMALL)));
    match name {
        "product" => Some((PictureOf::Product, most)),
        _ => Some((PictureOf::Candidate(name.parse().ok()?), most)),
    }
}

async fn asset(Path(file): Path<String>) -> Response {
    let Some(asset) = page::asset(&file) else {
        return problem(StatusCode::NOT_FOUND, "There is no such file.");
    };
    // Its name changes with its content.
    let headers = [
        (CONTENT_TYPE, asset.kind),
        (CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, asset.content).into_response()
}

fn query(uri: &Uri) -> BTreeMap<String, String> {
    let pairs = url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
    pairs.into_owned().take(8).collect()
}

/// The two versions to compare, where they are named.
fn versions(uri: &Uri) -> (Option<PolicyVersion>, Option<PolicyVersion>) {
    let query = query(uri);
    let version = |name| query.get(name).and_then(|text: &String| text.parse().ok());
    (version("from"), version("to"))
}

fn to(place: &'static str) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(LOCATION, HeaderValue::from_static(place));
    (StatusCode::SEE_OTHER, headers).into_response()
}

fn unreadable(error: &(dyn std::error::Error + 'static)) -> Response {
    tracing::warn!(error, "dashboard");
    problem(
        StatusCode::BAD_GATEWAY,
        "The run's store or ledger cannot be read now. The learner's log says why.",
    )
}

fn problem(status: StatusCode, what: &str) -> Response {
    (status, Html(page::problem(status, what).into_string())).into_response()
}

#[cfg(test)]
mod tests;
