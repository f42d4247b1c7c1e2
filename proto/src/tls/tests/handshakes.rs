//! Handshakes that are slow, never end, or come all at once: nobody is kept out by them.

use super::*;

#[tokio::test]
async fn who_is_slow_to_prove_who_it_is_holds_up_nobody() {
    let authority = Authority::new();
    let (address, _told) = serve(secured(&authority.pem(LEARNER))).await;
    let mut silent = Vec::new();
    for _ in 0..64 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    call(&*actor, address, PeerRole::Learner).await.unwrap();
}

/// Takes every place with lines that say nothing, and again whenever one is cut.
async fn crowd(address: SocketAddr, lines: usize) {
    let hold = |_| async move {
        loop {
            let mut line = TcpStream::connect(address).await.unwrap();
            line.read_u8().await.ok();
        }
    };
    futures::future::join_all((0..lines).map(hold)).await;
}

#[tokio::test]
async fn whoever_proves_who_it_is_finds_room_among_those_that_never_do() {
    let authority = Authority::new();
    let (address, _told) = serve_with(4, secured(&authority.pem(LEARNER))).await;
    let crowd = tokio::spawn(crowd(address, 4));
    sleep(Duration::from_millis(200)).await;
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    for _ in 0..3 {
        // A silent line is cut by itself after ten seconds.
        let called = timeout(Duration::from_secs(4), call(&*actor, address, PeerRole::Learner));
        called.await.expect("kept out").unwrap();
    }
    crowd.abort();
}

#[tokio::test]
async fn those_who_come_together_wait_for_each_other_and_are_all_let_in() {
    let authority = Authority::new();
    let (address, mut told) = serve_with(2, secured(&authority.pem(LEARNER))).await;
    let actor = secured(&authority.pem(&["actor.spring"])).network();
    let calls = (0..16).map(|_| call(&*actor, address, PeerRole::Learner));
    for called in futures::future::join_all(calls).await {
        called.unwrap();
    }
    for _ in 0..16 {
        assert_eq!(told.recv().await.unwrap(), "actor.spring");
    }
}
