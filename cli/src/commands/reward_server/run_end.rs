//! Whether the run that a reward-server scores for is complete, as its learner announces it: by the last version.
//!
//! A learner that is away is no run that is complete, and one that has failed neither: it is asked again for as long as the server
//! serves. Nothing from an epoch below the highest known one is heard (I6).

use crate::config::Config;
use crate::failure::{OrConfiguration as _, Outcome};
use common::{LearnerEpoch, RunId};
use proto::pb::learner_service_client::LearnerServiceClient;
use proto::tls::Transport;
use proto::{Answering, MAX_MESSAGE_BYTES, Manifest, Pauses, PeerRole, WireError, pb};
use std::time::Duration;
use tokio::time::sleep;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// How long the learner may take to begin an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The pause before a stream that was closed is opened again.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// The pause after a refusal: only a person can help there.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// The learner as a reward-server sees it.
pub(super) struct Announcements {
    client: LearnerServiceClient<Channel>,
    url: String,
    run: RunId,
    /// The highest that is known.
    epoch: Option<LearnerEpoch>,
    pauses: Pauses,
}

/// What came of listening.
enum Heard {
    /// The last version of the run.
    Last,
    /// The learner ends, or its connection has.
    Closed,
}

impl Announcements {
    /// Of the configured learner, which is called when somebody listens.
    ///
    /// # Errors
    /// Configuration at fault: an address or a run's name that is none.
    pub(super) fn of(config: &Config, transport: &Transport) -> Outcome<Self> {
        let url = config.endpoints.learner.clone();
        let settings = |endpoint: Endpoint| endpoint.connect_timeout(PATIENCE).timeout(PATIENCE);
        let learner = Answering::Role(PeerRole::Learner);
        let channel = proto::channel(&transport.network(), &url, learner, settings).or_configuration()?;
        let client = LearnerServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            client,
            url,
            run: RunId::new(config.run.id.clone()).or_configuration()?,
            epoch: None,
            // They are few: nobody minds when they come back together.
            pauses: Pauses::drawn_from(0),
        })
    }

    /// Returns when the run is complete.
    pub(super) async fn run_is_complete(mut self) {
        let mut told = None;
        loop {
            let pause = match self.listen(&mut told).await {
                Ok(Heard::Last) => return,
                Ok(Heard::Closed) => REOPEN_PAUSE,
                Err(status) => {
                    let refused = !(WireError::is_outage(&status) || is_of_earlier(&status));
                    if told.replace(refused) != Some(refused) {
                        self.tell(&status, refused);
                    }
                    match refused {
                        true => REFUSED_PAUSE,
                        false => self.pauses.next_pause(WireError::retry_after(&status)),
                    }
                }
            };
            sleep(pause).await;
        }
    }

    /// Until the last version, or the end of the stream. What was `told` of an outage, whether it is a refusal, is then over.
    async fn listen(&mut self, told: &mut Option<bool>) -> Result<Heard, Status> {
        let request = pb::WatchPolicyRequest {
            header: Some(proto::header(Some(&self.run), self.epoch, "reward-server")),
            after: None,
            // It passes nothing on.
            relay_port: 0,
            evaluates: false,
            settings: Default::default(),
        };
        let mut announced = self.client.watch_policy(request).await?.into_inner();
        if told.take().is_some() {
            tracing::info!(url = self.url, "the learner announces again");
        }
        self.pauses.over();
        while let Some(manifest) = announced.message().await? {
            let Manifest { version, last, .. } = manifest.try_into().map_err(WireError::Invalid)?;
            if self.epoch > Some(version.epoch) {
                tracing::warn!(%version, "announcement of a fenced epoch ignored");
                continue;
            }
            self.epoch = Some(version.epoch);
            if last {
                tracing::info!(run = %self.run, %version, "the learner has announced the last version");
                return Ok(Heard::Last);
            }
        }
        Ok(Heard::Closed)
    }

    fn tell(&self, status: &Status, refused: bool) {
        let (url, code, error) = (&self.url, status.code(), status.message());
        match refused {
            true => tracing::error!(
                url,
                ?code,
                error,
                "the learner does not say whether the run is complete: the server serves until it is stopped"
            ),
            false => tracing::warn!(url, ?code, error, "the learner is away; the server serves on"),
        }
    }
}

/// Whether a learner answered that another one has taken over from: that one will be there.
fn is_of_earlier(status: &Status) -> bool {
    status.code() == tonic::Code::Aborted
}
