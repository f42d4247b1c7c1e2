//! Artifacts from learners and relays, good and bad ones.

mod hanging;

use super::*;
use crate::scripted_learner::{Script, artifact, join, manifest, serve_relay};
use std::sync::{Arc, Mutex};
use tokio::net::TcpListener;

const BYTES: &[u8] = b"some forty bytes of weights to be fetched";

/// As many of another version.
const OLD: &[u8] = b"as many bytes of the version before this.";

/// What was verified.
#[derive(Default)]
struct Kept(Vec<u8>);

impl ChunkSink for Kept {
    async fn put(&mut self, chunk: Bytes) -> io::Result<()> {
        self.0.extend_from_slice(&chunk);
        Ok(())
    }
}

fn serving(bytes: &[u8], break_after: Option<usize>) -> Script {
    let artifacts = [(store::digest(BYTES), bytes.to_vec())].into();
    Script {
        artifacts,
        break_after,
        ..Script::default()
    }
}

/// Fetches `BYTES` from a learner that does as `script` says, relays first.
async fn fetch(
    script: Script,
    relays: &[SocketAddr],
) -> (
    Result<Vec<u8>, ActorError>,
    Arc<LearnerClient>,
    Arc<Mutex<Script>>,
) {
    let (learner, _, script) = join(manifest(2, 0, b""), script).await;
    let mut kept = Kept::default();
    let fetched = learner
        .fetch(&artifact(BYTES), Payload::Adapter, relays, &mut kept)
        .await;
    (fetched.map(|()| kept.0), learner, script)
}

/// A relay that passes these bytes on as `BYTES`.
async fn relay(bytes: &[u8], break_after: Option<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    serve_relay(listener, serving(bytes, break_after));
    address
}

#[tokio::test]
async fn a_broken_stream_is_resumed_at_the_first_chunk_that_is_missing() {
    let (fetched, learner, script) = fetch(serving(BYTES, Some(17)), &[]).await;
    assert_eq!(fetched.unwrap(), BYTES);
    // In chunks of eight, a stream of 17 bytes brings two.
    assert_eq!(script.lock().unwrap().offsets, [0, 16, 32]);
    assert!(learner.received().adapter >= BYTES.len() as u64);
    assert_eq!(learner.received().base, 0);
}

#[tokio::test]
async fn i5_bytes_that_are_not_those_promised_are_refused_naming_the_chunk_and_both_digests() {
    let mut forged = BYTES.to_vec();
    forged[20] ^= 1;
    let (fetched, ..) = fetch(serving(&forged, None), &[]).await;
    let Err(ActorError::ArtifactDigest {
        chunk,
        expected,
        found,
        ..
    }) = fetched
    else {
        panic!("{fetched:?}")
    };
    let digests = (store::digest(&BYTES[16..24]), store::digest(&forged[16..24]));
    assert_eq!((chunk, expected, found), (2, digests.0, digests.1));
}

#[tokio::test]
async fn more_bytes_than_promised_are_refused() {
    let longer = [BYTES, BYTES].concat();
    let (fetched, ..) = fetch(serving(&longer, None), &[]).await;
    assert!(
        matches!(fetched, Err(ActorError::ArtifactSize { expected: 41, .. })),
        "{fetched:?}"
    );
}

#[tokio::test]
async fn an_artifact_that_the_learner_does_not_have_is_not_asked_for_again() {
    let (learner, _, script) = join(manifest(2, 0, b""), serving(BYTES, None)).await;
    let unknown = artifact(b"unknown");
    let refused = learner
        .fetch(&unknown, Payload::Adapter, &[], &mut Kept::default())
        .await;
    assert!(matches!(refused, Err(ActorError::Refused { .. })), "{refused:?}");
    assert_eq!(script.lock().unwrap().offsets, [0]);
}

#[tokio::test]
async fn what_a_relay_has_is_not_asked_of_the_learner() {
    let relays = [relay(BYTES, None).await];
    let (fetched, learner, script) = fetch(serving(BYTES, None), &relays).await;
    assert_eq!(fetched.unwrap(), BYTES);
    assert_eq!(script.lock().unwrap().offsets, [0; 0]);
    assert_eq!(learner.received().from_relays, BYTES.len() as u64);
}

#[tokio::test]
async fn i5_a_relay_that_lies_breaks_off_or_is_not_there_costs_no_chunk_and_is_not_asked_again() {
    let mut forged = BYTES.to_vec();
    forged[20] ^= 1;
    let other = |chunk: usize, found: &[u8]| {
        let at = chunk * 8..(chunk + 1) * 8;
        let (found, expected) = (store::digest(&found[at.clone()]), store::digest(&BYTES[at]));
        format!("chunk {chunk}: received bytes have digest {found}, the manifest says {expected}")
    };
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for (relay, resumed, why) in [
        (relay(&forged, None).await, 16, other(2, &forged)),
        (relay(OLD, None).await, 0, other(0, OLD)),
        (relay(BYTES, Some(30)).await, 24, "broken by the script".into()),
        (gone, 0, "Unavailable".into()),
    ] {
        let (learner, ..) = join(manifest(2, 0, b""), serving(BYTES, None)).await;
        let promised = artifact(BYTES);
        let (mut download, mut kept) = (Download::new(&promised), Kept::default());
        let given_up = learner.fetch_relayed(relay, &promised, Payload::Adapter, &mut download, &mut kept);
        let reason = given_up.await.unwrap().unwrap_err();
        assert!(reason.contains(&why), "{reason}");
        assert_eq!(kept.0, BYTES[..resumed]);
        let (fetched, learner, script) = fetch(serving(BYTES, None), &[relay]).await;
        assert_eq!(fetched.unwrap(), BYTES);
        assert_eq!(script.lock().unwrap().offsets, [resumed as u64]);
        assert!(learner.transfers.is_avoided(relay, Instant::now()));
    }
}
