//! KEDA's external scaler: how many actors the run could use, in the words of KEDA's contract. No figure is made here.

use crate::control::ControlPlane;
use common::RunId;
use futures::stream::{self, BoxStream, StreamExt as _};
use proto::keda::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
    ScaledObjectRef, external_scaler_server::ExternalScaler,
};
use proto::{Authorizer, Call, InvalidMessage, Remote, WireError};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// The only metric, and the name under which every other page shows it.
const METRIC: &str = "rollout_actors_wanted";

/// Who calls: the contract has no place for a name.
const CALLER: &str = "scaler";

/// The key of a trigger's metadata that names the run; a trigger that does not name one takes any.
const RUN: &str = "run";

/// Tells an autoscaler what the run could use.
pub(crate) struct Scaler {
    control: Arc<ControlPlane>,
    authorizer: Arc<dyn Authorizer>,
    /// Ends streams.
    stop: CancellationToken,
}

impl Scaler {
    /// A scaler that stops streaming at `stop`.
    pub(crate) fn new(
        control: Arc<ControlPlane>,
        authorizer: Arc<dyn Authorizer>,
        stop: CancellationToken,
    ) -> Self {
        Self {
            control,
            authorizer,
            stop,
        }
    }

    /// Lets in a question of whoever may ask, about which `check` has nothing to say.
    fn admit(
        &self,
        method: &'static str,
        peer: &Remote,
        check: impl FnOnce(&RunId) -> Result<(), InvalidMessage>,
    ) -> Result<(), WireError> {
        self.authorizer.authorize(&Call {
            method,
            caller: CALLER,
            peer,
        })?;
        Ok(check(&self.control.identity.run)?)
    }
}

/// Refuses what is scaled for another run than `expected`.
pub(crate) fn check_run(expected: &RunId, object: &ScaledObjectRef) -> Result<(), InvalidMessage> {
    match object.scaler_metadata.get(RUN) {
        Some(run) if run != expected.as_str() => Err(InvalidMessage::new(
            "scaled_object_ref.scaler_metadata.run",
            format!("{run:?} is another run than {expected}, which this learner serves"),
        )),
        _ => Ok(()),
    }
}

/// Refuses a question for another run than `expected`, or for another metric.
pub(crate) fn check_metrics(expected: &RunId, request: &GetMetricsRequest) -> Result<(), InvalidMessage> {
    let object = request.scaled_object_ref.as_ref();
    object.map_or(Ok(()), |object| check_run(expected, object))?;
    match request.metric_name.as_str() {
        METRIC => Ok(()),
        name => {
            let reason = format!("{name:?} is no metric of this scaler, which has {METRIC}");
            Err(InvalidMessage::new("get_metrics_request.metric_name", reason))
        }
    }
}

#[tonic::async_trait]
impl ExternalScaler for Scaler {
    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        let method = "ExternalScaler/IsActive";
        self.admit(method, &Remote::of(&request), |run| {
            check_run(run, request.get_ref())
        })?;
        let result = self.control.scale().active;
        Ok(Response::new(IsActiveResponse { result }))
    }

    type StreamIsActiveStream = BoxStream<'static, Result<IsActiveResponse, Status>>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        let method = "ExternalScaler/StreamIsActive";
        self.admit(method, &Remote::of(&request), |run| {
            check_run(run, request.get_ref())
        })?;
        Ok(Response::new(
            activity(self.control.clone(), self.stop.clone()).boxed(),
        ))
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        let method = "ExternalScaler/GetMetricSpec";
        self.admit(method, &Remote::of(&request), |run| {
            check_run(run, request.get_ref())
        })?;
        // One replica is for one wanted actor, so the average that is aimed at is 1.
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![MetricSpec {
                metric_name: METRIC.into(),
                target_size: 1,
                target_size_float: 1.0,
            }],
        }))
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let method = "ExternalScaler/GetMetrics";
        self.admit(method, &Remote::of(&request), |run| {
            check_metrics(run, request.get_ref())
        })?;
        let wanted = self.control.scale().wanted;
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![MetricValue {
                metric_name: METRIC.into(),
                metric_value: wanted as i64,
                metric_value_float: wanted as f64,
            }],
        }))
    }
}

/// Whether any actor is of use: at once, and whenever that changes, until the caller leaves or `stop`.
fn activity(
    control: Arc<ControlPlane>,
    stop: CancellationToken,
) -> impl stream::Stream<Item = Result<IsActiveResponse, Status>> {
    let scale = control.watch_scale();
    stream::unfold((scale, stop, None), |(mut scale, stop, told)| async move {
        loop {
            let result = scale.borrow_and_update().active;
            if told != Some(result) {
                return Some((Ok(IsActiveResponse { result }), (scale, stop, Some(result))));
            }
            tokio::select! {
                changed = scale.changed() => changed.ok()?,
                () = stop.cancelled() => return None,
            }
        }
    })
}
