//! What the dashboard tells of a real run, over plain HTTP.

use super::resumed::{Place, evaluated, long, published};
use super::*;
use crate::test_outcomes::version;
use dashboard::{DashboardConfig, Door};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Starts a run that is shown; it, and where.
async fn shown(place: &Place, config: LearnerConfig) -> (Running, String) {
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", grpc.local_addr().unwrap());
    let settings = DashboardConfig {
        listen: "127.0.0.1:0".into(),
        token_file: String::new(),
    };
    let door = Door::open(&settings).await.unwrap();
    let pages = door.url();
    let listeners = Listeners {
        grpc,
        dashboard: Some(door),
    };
    let shutdown = CancellationToken::new();
    let ended = tokio::spawn(run(config, place.inputs(), listeners, shutdown.clone()));
    let directory = place.directory.clone();
    let running = Running {
        url,
        shutdown,
        ended,
        directory,
    };
    (running, pages)
}

/// The whole answer to a GET.
async fn get(pages: &str, path: &str) -> String {
    let address = pages.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = vec![];
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until a page says something.
async fn says(pages: &str, path: &str, words: &str) -> String {
    for _ in 0..400 {
        let page = get(pages, path).await;
        if page.contains(words) {
            return page;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{path} does not say {words:?}: {}", get(pages, path).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_shown_with_its_actors_and_the_pedigree_of_what_they_made_and_a_later_start_goes_on_with_it()
{
    let place = Place::new();
    let (first, pages) = shown(&place, long()).await;
    says(&pages, "/", "No actor has joined yet").await;
    let url = first.url.clone();
    // It never ends the fourth version's block, whatever is asked meanwhile.
    let painter = async move {
        TestActor::join(&url, "painter")
            .await
            .work_before(12, made_up)
            .await
    };
    let actor = tokio::spawn(painter);
    published(&first.url, 2).await;
    let overview = says(&pages, "/", "data-key=\"painter\"").await;
    assert!(overview.contains("/creatives/1"), "{overview}");
    // The first pair of the first version's batch; the pictures that the actor names do not exist.
    let history = says(&pages, "/creatives/1", "v1.1</strong>, done at optimizer step 2").await;
    for said in ["painter", "v1.0", "image missing", "chosen", "rejected", "lamp"] {
        assert!(history.contains(said), "{said:?} is not in {history}");
    }
    assert!(!history.contains("The catalogue has changed"), "{history}");
    let product = get(&pages, "/creatives/1/product.png").await;
    assert!(
        product.starts_with("HTTP/1.1 200") && product.contains("image/png"),
        "{product}"
    );
    for none in [
        "/creatives/1/0.png",
        "/creatives/99999",
        "/creatives/99999/product.png",
    ] {
        assert!(get(&pages, none).await.starts_with("HTTP/1.1 404"), "{none}");
    }
    evaluated(&first.url, version(1), 4.321).await;
    says(&pages, "/", "4.321").await;
    actor.abort();
    says(&pages, "/", ">Gone<").await;
    first.shutdown.cancel();
    let stopped = first.ended.await.unwrap().unwrap();
    let (second, pages) = shown(&place, long()).await;
    let curve = format!("at version {}", stopped.version.number);
    says(&pages, "/", &curve).await;
    says(&pages, "/", "4.321").await;
    says(&pages, "/creatives/1", "v1.1</strong>, done at optimizer step 2").await;
    says(&pages, "/why", "painter").await;
    second.shutdown.cancel();
    second.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_retired_versions_sampled_is_in_no_curve_of_a_later_start() {
    let place = Place::new();
    // A stop loses every version.
    let config = LearnerConfig {
        versions: 200,
        checkpoint_every: 200,
        deterministic: false,
        ..long()
    };
    let (first, _) = shown(&place, config.clone()).await;
    let url = first.url.clone();
    let actor = tokio::spawn(async move { TestActor::join(&url, "a").await.work(made_up).await });
    published(&first.url, 3).await;
    first.shutdown.cancel();
    first.ended.await.unwrap().unwrap();
    actor.abort();
    let (second, pages) = shown(&place, config).await;
    says(&pages, "/why", "v1.2").await;
    let page = says(&pages, "/", "Unusable candidates. with defects").await;
    let curve = page.split("Unusable candidates. ").nth(1).unwrap();
    let curve = curve.split('"').next().unwrap();
    assert!(
        curve.contains("at version 0") && !curve.contains("at version 1") && !curve.contains("at version 2"),
        "{curve}"
    );
    second.shutdown.cancel();
    second.ended.await.unwrap().unwrap();
}
