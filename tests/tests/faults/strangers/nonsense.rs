//! Bytes in a message's place that are no message: a library reads those, before anything of ours does.

use super::{is_served, learner};
use anyhow::Result;
use bytes::Bytes;
use integration_tests::Raw;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Endpoint;
use tonic::{Code, Request};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_message_is_answered_as_grpc_has_it_and_others_are_served() -> Result<()> {
    let (_cluster, learner) = learner(|_| {}).await?;
    let endpoint = Endpoint::from_shared(format!("http://{}", learner.address))?;
    let mut client = Grpc::new(endpoint.connect().await?);
    for method in ["GetRunStatus", "SubmitOutcomes"] {
        client.ready().await?;
        let path = PathAndQuery::try_from(format!("/adwright.v1.LearnerService/{method}"))?;
        let nonsense = Request::new(Bytes::from_static(b"\xff\xff\xff"));
        let refused = client.unary(nonsense, path, Raw).await.unwrap_err();
        assert_eq!(refused.code(), Code::Internal, "{method}: {refused:?}");
        assert!(refused.message().contains("decode"), "{method}: {refused:?}");
    }
    is_served(&learner).await?;
    learner.stopped().await??;
    Ok(())
}
