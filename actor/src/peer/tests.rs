//! How long a peer is borne, and what is said of one that is not there.

use super::*;
use proto::{Pauses, PeerRole, Tcp, WireError};
use std::cell::Cell;
use tokio::time::sleep;

fn peer() -> Peer {
    let patience = Duration::from_millis(200);
    let who = Answering::Role(PeerRole::Learner);
    Peer::new("learner", who, "http://127.0.0.1:7000", Arc::new(Tcp), patience)
}

#[tokio::test]
async fn an_outage_is_borne_until_the_patience_ends_and_the_error_names_the_address() {
    let attempts = Cell::new(0);
    let peer = peer();
    let failure = peer.until_answered(|| {
        attempts.set(attempts.get() + 1);
        async { Err::<(), _>(Status::unavailable("connection refused")) }
    });
    let error = failure.await.unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1:7000"), "{error}");
    assert!(matches!(error, ActorError::Unreachable { waited_s, .. } if waited_s >= 0.05));
    assert!(attempts.get() >= 2, "{}", attempts.get());
}

#[tokio::test]
async fn an_answer_after_an_outage_is_the_answer() {
    let attempts = Cell::new(0);
    let peer = peer();
    let answer = peer.until_answered(|| {
        attempts.set(attempts.get() + 1);
        let up = attempts.get() == 2;
        async move {
            if up {
                Ok(7)
            } else {
                Err(Status::cancelled("connection lost"))
            }
        }
    });
    assert_eq!(answer.await.unwrap(), 7);
}

#[tokio::test]
async fn only_time_without_an_answer_counts_as_an_outage() {
    let peer = peer();
    let mut outage = peer.outage();
    for _hiccup in 0..2 {
        sleep(Duration::from_millis(250)).await;
        outage.pause(Status::unavailable("restarting")).await.unwrap();
        outage.over();
    }
}

#[test]
fn callers_who_lost_a_peer_together_come_back_at_other_times() {
    let came_back = |name: &str| {
        let peer = peer().called_by(&ActorId::new(name).unwrap());
        let mut pauses = Pauses::drawn_from(peer.jitter_seed());
        (0..8).map(|_| pauses.next_pause(None)).sum::<Duration>()
    };
    assert!(came_back("a") == came_back("a") && came_back("a") != came_back("b"));
}

#[tokio::test(start_paused = true)]
async fn a_peer_without_room_is_asked_again_when_it_says_and_not_beyond_the_patience() {
    let overloaded = |ms| {
        Status::from(WireError::Overloaded {
            reason: "64 requests are worked on".into(),
            retry_after: Duration::from_millis(ms),
        })
    };
    let attempts = Cell::new(0);
    let peer = peer();
    let began = Instant::now();
    let answer = peer.until_answered(|| {
        attempts.set(attempts.get() + 1);
        let answer = if attempts.get() == 2 {
            Ok(7)
        } else {
            Err(overloaded(120))
        };
        async move { answer }
    });
    assert_eq!(answer.await.unwrap(), 7);
    assert!(began.elapsed() >= Duration::from_millis(120));
    let began = Instant::now();
    let answer = peer.until_answered(|| async { Err::<(), _>(overloaded(5000)) });
    let error = common::with_causes(&answer.await.unwrap_err());
    assert!(
        error.contains("64 requests") && error.contains("7000 had no room: "),
        "{error}"
    );
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test]
async fn a_failure_passes_only_where_it_may() {
    let failing = || async { Err::<(), _>(Status::internal("a picture too many")) };
    let refused = peer().until_answered(failing).await.unwrap_err();
    assert!(matches!(refused, ActorError::Refused { .. }), "{refused}");
    let failed = peer().that_may_fail().until_answered(failing).await.unwrap_err();
    assert!(matches!(failed, ActorError::Failing { waited_s, .. } if waited_s >= 0.05));
}

#[tokio::test]
async fn a_connection_that_broke_under_the_request_is_no_failure_of_the_peer_whatever_its_code() {
    for code in [Code::Internal, Code::ResourceExhausted] {
        let broken = || async move {
            let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            let mut status = Status::new(code, "h2 protocol error");
            status.set_source(Arc::new(reset));
            Err::<(), _>(status)
        };
        let peer = peer().that_may_fail();
        let away = peer.until_answered(broken).await.unwrap_err();
        assert!(matches!(away, ActorError::Unreachable { .. }), "{away}");
        assert!(peer.presence().is_missed(), "{code:?}");
    }
}

#[tokio::test]
async fn what_is_under_way_is_cut_off_at_the_end_and_nothing_begins_after_its_time() {
    let (peer, began) = (peer(), Instant::now());
    let after = |ms| began + Duration::from_millis(ms);
    let hanging = || std::future::pending::<Result<(), Status>>();
    let cut = peer.until_answered_by(after(5_000), after(200), hanging).await;
    assert!(matches!(cut, Err(ActorError::Unreachable { .. })));
    assert!(began.elapsed() < Duration::from_secs(1));
    let attempts = Cell::new(0);
    let late = peer.until_answered_by(began, after(60_000), || {
        attempts.set(attempts.get() + 1);
        async { Err::<(), _>(Status::unavailable("restarting")) }
    });
    assert!(late.await.is_err());
    assert_eq!(attempts.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_without_time_is_told_as_that_and_not_as_a_wait_of_no_seconds() {
    let peer = peer();
    let began = Instant::now();
    let later = began + Duration::from_secs(60);
    for (last_start, end, of) in [(began, began, "the lease"), (began, later, "its timeout")] {
        let away = || async { Err::<(), _>(Status::unavailable("connection refused")) };
        let error = peer.until_answered_by(last_start, end, away).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("learner at http://127.0.0.1:7000 did not answer, and {of} had no time left")
        );
        assert!(error.is_absence() && common::with_causes(&error).contains("connection refused"));
    }
    let hanging = || std::future::pending::<Result<(), Status>>();
    let cut = peer.until_answered_by(began, began, hanging).await.unwrap_err();
    assert!(cut.to_string().ends_with("the lease had no time left"), "{cut}");
    // A little time is told as that, however early the peer was given up within it.
    for seed in 0..20 {
        let peer = Peer {
            jitter_seed: seed,
            ..peer.clone()
        };
        let end = Instant::now() + NO_TIME + Duration::from_millis(20);
        let away = || async { Err::<(), _>(Status::unavailable("connection refused")) };
        let error = peer.until_answered_by(end, end, away).await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.ends_with("within 0.1 s") || told.ends_with("within 0.2 s"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_refusal_is_not_repeated() {
    let attempts = Cell::new(0);
    let peer = peer();
    let refusal = peer.until_answered(|| {
        attempts.set(attempts.get() + 1);
        async { Err::<(), _>(Status::failed_precondition("another run")) }
    });
    let error = refusal.await.unwrap_err();
    assert!(error.to_string().contains("another run"), "{error}");
    assert_eq!(attempts.get(), 1);
}

#[test]
fn an_address_that_is_none_says_what_would_be_right() {
    let patience = Duration::from_secs(1);
    let who = Answering::Host;
    let peer = Peer::new("reward-server", who, "not an address", Arc::new(Tcp), patience);
    let error = peer.channel(Duration::from_secs(1)).unwrap_err();
    assert!(error.to_string().contains("http://host:port"), "{error}");
}
