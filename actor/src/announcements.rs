//! Announcements of versions, as they come from a learner that may be away meanwhile.
//!
//! Nothing from an epoch below the highest known one is heard (I6), nor what is no newer than what is known.

use crate::{ActorError, learner_client::LearnerClient, manifest::Manifest, peer::Outage};
use common::PolicyVersion;
use futures::{FutureExt, StreamExt};
use proto::pb;
use std::time::Duration;
use tokio::time::sleep;
use tonic::Streaming;

/// The pause before a stream that has ended is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// What is announced from a version on.
pub(crate) struct Announcements<'a> {
    learner: &'a LearnerClient,
    as_relay: bool,
    known: PolicyVersion,
    outage: Outage<'a>,
    stream: Option<Streaming<pb::PolicyManifest>>,
    is_reopened: bool,
}

/// What comes of waiting for an announcement.
#[derive(Debug)]
pub(crate) enum News {
    /// The learner announces.
    Opened,
    /// A newer version.
    Newer(Box<Manifest>),
    /// The learner has closed the stream: the run has ended, or the learner stops. A stream that broke is not closed.
    Closed,
}

/// How a stream ends.
enum Ended {
    Broken,
    Closed,
}

impl<'a> Announcements<'a> {
    /// Of versions after `known`, for an actor that others may fetch from.
    pub(crate) fn to_a_relay(learner: &'a LearnerClient, known: PolicyVersion) -> Self {
        Self {
            as_relay: true,
            ..Self::to_a_newcomer(learner, known)
        }
    }

    /// The same for one that has nothing yet.
    fn to_a_newcomer(learner: &'a LearnerClient, known: PolicyVersion) -> Self {
        Self {
            learner,
            as_relay: false,
            known,
            outage: learner.peer().outage(),
            stream: None,
            is_reopened: false,
        }
    }

    /// A version need not be announced any more, nor one before it.
    pub(crate) fn is_known(&mut self, version: PolicyVersion) {
        self.known = version;
    }

    /// The newest version that has been announced, or else the next one.
    ///
    /// # Errors
    /// [`ActorError`] when the learner stays unreachable, refuses, or announces something malformed or a version of another base.
    pub(crate) async fn next(&mut self) -> Result<News, ActorError> {
        loop {
            let Some(stream) = &mut self.stream else {
                self.stream = Some(self.open().await?);
                return Ok(News::Opened);
            };
            let (newest, ended) = next_manifest(self.learner, stream, self.known).await?;
            match (newest, ended) {
                (newest, Some(Ended::Broken)) => {
                    self.stream = None;
                    if let Some(newest) = newest {
                        return Ok(News::Newer(newest));
                    }
                }
                // A stream that is closed says so again.
                (Some(newest), _) => return Ok(News::Newer(newest)),
                (None, _) => {
                    self.stream = None;
                    return Ok(News::Closed);
                }
            }
        }
    }

    async fn open(&mut self) -> Result<Streaming<pb::PolicyManifest>, ActorError> {
        if std::mem::replace(&mut self.is_reopened, true) {
            sleep(REOPEN_PAUSE).await;
        }
        loop {
            match self.learner.watch_policy(self.known, self.as_relay).await {
                Ok(stream) => {
                    self.outage.over();
                    return Ok(stream);
                }
                Err(status) => self.outage.pause(status).await?,
            }
        }
    }
}

/// Returns when the last version of the run is announced to an actor that joined it at a version and has nothing yet: it need not
/// begin any more.
///
/// # Errors
/// As [`Announcements::next`].
pub(crate) async fn run_is_over(learner: &LearnerClient, joined: &Manifest) -> Result<(), ActorError> {
    let mut announcements = Announcements::to_a_newcomer(learner, joined.version);
    let mut is_last = joined.last;
    while !is_last {
        if let News::Newer(manifest) = announcements.next().await? {
            announcements.is_known(manifest.version);
            is_last = manifest.last;
        }
    }
    Ok(())
}

/// The newest manifest that has come, or else the next one; and how the stream ended, if it did. One of the two is there.
async fn next_manifest(
    learner: &LearnerClient,
    stream: &mut Streaming<pb::PolicyManifest>,
    version: PolicyVersion,
) -> Result<(Option<Box<Manifest>>, Option<Ended>), ActorError> {
    let mut newest: Option<Manifest> = None;
    loop {
        // Only what has already come replaces a manifest in hand.
        let announced = match newest {
            None => Some(stream.next().await),
            Some(_) => stream.next().now_or_never(),
        };
        let ended = match announced {
            None => None,
            Some(Some(Ok(manifest))) => {
                let manifest = Manifest::try_from(manifest).map_err(|e| learner.peer().malformed(e))?;
                let known = newest.as_ref().map_or(version, |newest| newest.version);
                newest = accept(learner, manifest, known)?.or(newest);
                continue;
            }
            Some(Some(Err(status))) => {
                tracing::warn!(code = ?status.code(), error = status.message(), "announcements of weights interrupted");
                Some(Ended::Broken)
            }
            Some(None) => Some(Ended::Closed),
        };
        return Ok((newest.map(Box::new), ended));
    }
}

/// Passes a manifest that is newer than `version` and not from a fenced learner.
///
/// # Errors
/// [`ActorError::OtherBase`] when it does not belong to the base model at hand.
fn accept(
    learner: &LearnerClient,
    manifest: Manifest,
    version: PolicyVersion,
) -> Result<Option<Manifest>, ActorError> {
    let (offered, known) = (manifest.version.epoch, learner.epoch());
    if offered < known {
        tracing::warn!(
            offered = offered.0,
            known = known.0,
            "weights of a fenced epoch refused"
        );
        return Ok(None);
    }
    learner.check_base(&manifest)?;
    learner.raise_epoch(offered);
    Ok((manifest.version > version).then_some(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scripted_learner::{Script, join, manifest};
    use tokio::time::timeout;

    fn last(epoch: u64, number: u64) -> pb::PolicyManifest {
        pb::PolicyManifest {
            last: true,
            ..manifest(epoch, number, b"x")
        }
    }

    #[tokio::test]
    async fn whoever_joins_when_the_run_is_over_or_ends_need_not_begin() {
        let (learner, joined, _) = join(last(2, 3), Script::default()).await;
        run_is_over(&learner, &joined).await.unwrap();
        let script = Script {
            closes: 1,
            announced: vec![manifest(2, 4, b"x"), last(2, 5)],
            ..Script::default()
        };
        let (learner, joined, _) = join(manifest(2, 3, b"x"), script).await;
        let over = timeout(Duration::from_secs(20), run_is_over(&learner, &joined));
        over.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn the_last_version_of_a_superseded_learner_is_not_the_runs() {
        let script = Script {
            announced: vec![last(1, 9)],
            ..Script::default()
        };
        let (learner, joined, _) = join(manifest(2, 3, b"x"), script).await;
        let over = timeout(Duration::from_millis(300), run_is_over(&learner, &joined));
        assert!(over.await.is_err());
    }
}
