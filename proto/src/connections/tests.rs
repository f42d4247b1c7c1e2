//! Places that are taken and given back, and lines that say nothing, on pipes and a clock that stands still.

use super::*;
use futures::{StreamExt as _, stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

const LIMIT: ConnectionLimit = ConnectionLimit {
    most: 2,
    setting: "learner.max_connections",
};

/// So many connections: the ends of callers, and what a server sees of them.
fn callers(
    count: usize,
) -> (
    Vec<DuplexStream>,
    Limited<impl Incoming<Connection = DuplexStream>>,
) {
    let (ours, theirs): (Vec<_>, Vec<_>) = (0..count).map(|_| duplex(64)).unzip();
    (
        ours,
        LIMIT.around(stream::iter(theirs.into_iter().map(io::Result::Ok))),
    )
}

#[tokio::test(start_paused = true)]
async fn one_connection_too_many_is_closed_and_its_place_is_anothers_when_one_ends() {
    let (mut ours, mut incoming) = callers(4);
    let first = incoming.next().await.unwrap().unwrap();
    let second = incoming.next().await.unwrap().unwrap();
    drop(first);
    let third = incoming.next().await.unwrap().unwrap();
    // The fourth finds nothing free and is closed; then nobody else comes.
    assert!(incoming.next().await.is_none());
    let mut heard = vec![];
    assert_eq!(ours[3].read_to_end(&mut heard).await.unwrap(), 0);
    drop((second, third));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_does_not_greet_in_time_is_cut_however_busy_it_seems() {
    let (mut ours, mut incoming) = callers(2);
    let mut silent = incoming.next().await.unwrap().unwrap();
    let mut slow = incoming.next().await.unwrap().unwrap();
    let mut drip = ours.remove(1);
    let dripping = async move {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if drip.write_all(b"P").await.is_err() {
                break;
            }
        }
    };
    let reading = async {
        let mut heard = vec![];
        for line in [&mut silent, &mut slow] {
            let error = line.read_to_end(&mut heard).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("no caller"), "{error}");
        }
        drop(slow);
        assert!(heard.len() <= 11, "{}", heard.len());
    };
    tokio::join!(dripping, reading);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_has_greeted_may_be_silent() {
    let (mut ours, mut incoming) = callers(1);
    let mut line = incoming.next().await.unwrap().unwrap();
    ours[0].write_all(&[7; GREETING_BYTES]).await.unwrap();
    let mut heard = [0; GREETING_BYTES];
    line.read_exact(&mut heard).await.unwrap();
    tokio::time::sleep(10 * GREETING_TIME).await;
    ours[0].write_all(b"more").await.unwrap();
    let mut more = [0; 4];
    line.read_exact(&mut more).await.unwrap();
    assert_eq!(&more, b"more");
}
