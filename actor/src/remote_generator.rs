//! The image generator that is a service of somebody else's (`ImageService`).
//!
//! An outage is borne for as long as the configuration allows. An answer is checked before anything of it is used, and its pictures
//! are decoded within the limits of cut-outs. Whatever the service does, a group ends with one result a description or with one
//! error that says whether the service or the request is to blame.

pub(crate) mod answer;

use crate::{ActorConfig, ActorError, config::seconds, peer::Peer};
use answer::{UnusableAnswer, images};
use bytes::Bytes;
use common::ActorId;
use data::cutout::{encode_png, is_visible};
use data::{CutoutError, GenerateError, GeneratedImage, ImageGenerator, NoImage};
use image::RgbaImage;
use proto::{
    Answering, MAX_DESCRIPTIONS, MAX_MESSAGE_BYTES, Network, header,
    pb::{self, image_service_client::ImageServiceClient},
    trace::{self, TraceId},
};
use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, time};
use tonic::{Code, Status, transport::Channel};

/// An image service, asked from threads that may block.
pub struct RemoteGenerator {
    name: String,
    peer: Peer,
    client: ImageServiceClient<Channel>,
    caller: ActorId,
    request_timeout: Duration,
    /// The most descriptions that the service takes at once.
    at_once: AtomicUsize,
    runtime: Handle,
}

impl RemoteGenerator {
    /// The service at `url`, which is connected to over `network` when it is first asked. `runtime` drives the connection.
    ///
    /// # Errors
    /// [`ActorError::Address`] when `url` is none.
    pub fn new(
        url: &str,
        network: Arc<dyn Network>,
        caller: &ActorId,
        config: &ActorConfig,
        runtime: Handle,
    ) -> Result<Self, ActorError> {
        let patience = seconds(config.image_timeout_s);
        let peer = Peer::new("image service", Answering::Host, url, network, patience);
        let peer = peer.called_by(caller).that_may_fail();
        let request_timeout = seconds(config.image_request_timeout_s);
        let _within = runtime.enter();
        let client = ImageServiceClient::new(peer.channel(request_timeout)?)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Ok(Self {
            name: format!("remote ({url})"),
            peer,
            client,
            caller: caller.clone(),
            request_timeout,
            at_once: AtomicUsize::new(MAX_DESCRIPTIONS),
            runtime,
        })
    }

    /// The results of descriptions that fit one request.
    fn part(
        &self,
        product: &Bytes,
        descriptions: &[String],
        noise_seed: u64,
        end: Option<Instant>,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        let message = pb::GenerateGroupRequest {
            header: Some(header(None, None, self.caller.as_str())),
            product: product.clone(),
            descriptions: descriptions.to_vec(),
            noise_seed,
        };
        let answer = self.ask(
            TraceId::of(0, noise_seed),
            message,
            end,
            |mut client, request| async move { client.generate_group(request).await },
        )?;
        images(descriptions.len(), answer).map_err(|error| match error {
            UnusableAnswer::Malformed(invalid) => self.blame(self.peer.malformed(invalid)),
            failed @ UnusableAnswer::Model { .. } => GenerateError::Generator {
                generator: self.name.clone(),
                source: Box::new(failed),
            },
        })
    }

    /// Asks until there is an answer, for as long as the service is borne and until `end`.
    fn ask<Q: Clone, A, F>(
        &self,
        trace: TraceId,
        message: Q,
        end: Option<Instant>,
        call: impl Fn(ImageServiceClient<Channel>, tonic::Request<Q>) -> F,
    ) -> Result<A, GenerateError>
    where
        F: Future<Output = Result<tonic::Response<A>, Status>>,
    {
        let attempt = || {
            let mut request = trace::request(trace, message.clone());
            // So that the service need not finish what nobody waits for.
            request.set_timeout(self.request_timeout);
            call(self.client.clone(), request)
        };
        let answer = self.runtime.block_on(async {
            let Some(end) = end.map(time::Instant::from_std) else {
                return self.peer.until_answered(attempt).await;
            };
            let last_start = end.min(time::Instant::now() + self.peer.patience());
            self.peer.until_answered_by(last_start, end, attempt).await
        });
        answer
            .map(tonic::Response::into_inner)
            .map_err(|error| self.blame(error))
    }

    /// A request that is refused as malformed or too large would be refused always; everything else is the service's.
    fn blame(&self, error: ActorError) -> GenerateError {
        let generator = self.name.clone();
        match &error {
            ActorError::Refused {
                code: Code::InvalidArgument | Code::OutOfRange,
                ..
            } => GenerateError::Refused {
                generator,
                reason: common::with_causes(&error),
            },
            _ => GenerateError::Unavailable {
                generator,
                full: matches!(error, ActorError::Overloaded { .. }),
                source: Box::new(error),
            },
        }
    }
}

impl ImageGenerator for RemoteGenerator {
    fn name(&self) -> &str {
        &self.name
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        self.generate_by(product, descriptions, noise_seed, None)
    }

    fn generate_by(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
        end: Option<Instant>,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        if !is_visible(product) {
            let (width, height) = product.dimensions();
            return Err(CutoutError::Transparent { width, height }.into());
        }
        let product = Bytes::from(encode_png(product));
        let mut results = Vec::with_capacity(descriptions.len());
        for part in descriptions.chunks(self.at_once.load(Ordering::Relaxed)) {
            results.extend(self.part(&product, part, noise_seed, end)?);
        }
        Ok(results)
    }

    fn is_outside(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), GenerateError> {
        let header = Some(header(None, None, self.caller.as_str()));
        let message = pb::GetImageGeneratorRequest { header };
        let served = self.ask(
            TraceId::of(0, 0),
            message,
            None,
            |mut client, request| async move { client.get_image_generator(request).await },
        )?;
        let proto::ImageGenerator { name, at_once } = served.into();
        self.at_once.store(at_once, Ordering::Relaxed);
        tracing::info!(url = self.peer.url(), name, at_once, "image service answers");
        Ok(())
    }
}
