//! An actor without a policy, which makes its completions up.

use super::*;

/// An actor without a policy.
pub(super) struct TestActor {
    pub(super) client: LearnerServiceClient<Channel>,
    pub(super) name: ActorId,
    pub(super) run: RunId,
    pub(super) manifest: pb::PolicyManifest,
    pub(super) received: u64,
}

impl TestActor {
    pub(super) async fn join(url: &str, name: &str) -> Self {
        let channel = Channel::from_shared(url.to_owned())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let mut client = LearnerServiceClient::new(channel);
        let joined = client
            .join(pb::JoinRequest {
                header: Some(header(None, None, name)),
                ..pb::JoinRequest::default()
            })
            .await
            .unwrap();
        let joined = joined.into_inner();
        let run = RunId::new(joined.run_id).unwrap();
        Self {
            client,
            name: ActorId::new(name).unwrap(),
            run,
            manifest: joined.policy.unwrap(),
            received: 0,
        }
    }

    pub(super) fn header(&self) -> Option<pb::RequestHeader> {
        let epoch = self.version().epoch;
        Some(header(Some(&self.run), Some(epoch), self.name.as_str()))
    }

    pub(super) fn version(&self) -> PolicyVersion {
        self.manifest.version.unwrap().try_into().unwrap()
    }

    /// Fetches the adapter, checks it, reports the adoption.
    pub(super) async fn adopt(&mut self, manifest: pb::PolicyManifest) {
        let adapter = manifest.adapter.clone().unwrap();
        self.manifest = manifest;
        self.received += self.fetch(&adapter).await;
        let request = pb::ReportAdoptionRequest {
            header: self.header(),
            version: self.manifest.version,
            adapter_bytes_received: self.received,
            base_bytes_received: 0,
            canary: None,
            relay_bytes_received: 0,
            waiting_for: String::new(),
        };
        self.client.report_adoption(request).await.unwrap();
    }

    pub(super) async fn fetch(&mut self, artifact: &pb::Artifact) -> u64 {
        let digest = artifact.digest.clone();
        let request = pb::FetchArtifactRequest {
            header: self.header(),
            digest: digest.clone(),
            offset: 0,
        };
        let mut stream = self.client.fetch_artifact(request).await.unwrap().into_inner();
        let mut bytes = vec![];
        while let Some(chunk) = stream.message().await.unwrap() {
            bytes.extend_from_slice(&chunk.data);
        }
        assert_eq!(pb::Digest::from(store::digest(&bytes)), digest.unwrap());
        bytes.len() as u64
    }

    pub(super) async fn lease(&mut self) -> Answer {
        let request = pb::LeaseTasksRequest {
            header: self.header(),
            policy: self.manifest.version,
            max_tasks: 3,
        };
        self.client
            .lease_tasks(request)
            .await
            .unwrap()
            .into_inner()
            .answer
            .unwrap()
    }

    pub(super) async fn submit(&mut self, outcomes: Vec<RolloutOutcome>) -> Vec<pb::OutcomeReceipt> {
        let outcomes = outcomes.iter().map(Into::into).collect();
        let request = pb::SubmitOutcomesRequest {
            header: self.header(),
            outcomes,
            ..Default::default()
        };
        self.client
            .submit_outcomes(request)
            .await
            .unwrap()
            .into_inner()
            .receipts
    }

    /// Works until the last version is adopted, always with the newest weights; returns the bytes received.
    pub(super) async fn work(self, outcome: impl Fn(u64, PolicyVersion) -> RolloutOutcome) -> u64 {
        self.work_before(u64::MAX, outcome).await
    }

    /// The same, but what is leased to it of the task `end` and those after it is never submitted: it stays, and the run with it.
    pub(super) async fn work_before(
        mut self,
        end: u64,
        outcome: impl Fn(u64, PolicyVersion) -> RolloutOutcome,
    ) -> u64 {
        let watch = pb::WatchPolicyRequest {
            header: self.header(),
            after: None,
            relay_port: 0,
            evaluates: false,
            settings: Default::default(),
        };
        let mut news = self.client.watch_policy(watch).await.unwrap().into_inner();
        while !self.manifest.last {
            match self.lease().await {
                Answer::Lease(lease) => {
                    let sampled_by = self.version();
                    let tasks = lease.tasks.iter().map(|task| task.task);
                    let outcomes = tasks
                        .filter(|&task| task < end)
                        .map(|task| outcome(task, sampled_by));
                    let receipts = self.submit(outcomes.collect()).await;
                    assert!(
                        receipts
                            .iter()
                            .all(|r| r.disposition() == pb::Disposition::Recorded),
                        "{receipts:?}"
                    );
                    if receipts.len() < lease.tasks.len() {
                        std::future::pending::<()>().await;
                    }
                }
                Answer::Wait(wait) => tokio::time::sleep(Duration::from_millis(wait.retry_after_ms)).await,
                Answer::Complete(_) => {}
            }
            while let Ok(Ok(Some(manifest))) =
                tokio::time::timeout(Duration::from_millis(1), news.message()).await
            {
                self.adopt(manifest).await;
            }
        }
        self.received
    }
}
