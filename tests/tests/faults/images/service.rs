//! An image service that paints, with what goes wrong first.

use anyhow::Result;
use data::{ImageGenerator as _, cutout};
use integration_tests::TextPainter;
use proto::{
    WireError,
    pb::{
        self, ImageFailureReason, image_result,
        image_service_server::{ImageService, ImageServiceServer},
    },
};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

/// What becomes of one request.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    Refuses(WireError),
    Hangs,
    FewerResults,
    NoResult,
    /// These bytes in the place of every image but the last so many.
    Bytes(Vec<u8>, usize),
    /// This in the place of the first image.
    Fails(ImageFailureReason),
}

/// A request to render, in short.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) descriptions: usize,
    pub(crate) noise_seed: u64,
}

/// The service. Clones share what goes wrong and what was asked.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) faults: Arc<Mutex<VecDeque<Fault>>>,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    /// Whether the first fault stays.
    pub(crate) forever: bool,
    pub(crate) max_descriptions: u32,
}

impl Scripted {
    pub(crate) fn new(faults: impl IntoIterator<Item = Fault>) -> Self {
        Self {
            faults: Arc::new(Mutex::new(faults.into_iter().collect())),
            asked: Arc::default(),
            forever: false,
            max_descriptions: 0,
        }
    }

    /// Serves on a free port.
    pub(crate) async fn serve(&self) -> Result<SocketAddr> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(self.clone().served_on(listener));
        Ok(address)
    }

    /// Serves as a process of its own would: whoever shuts the runtime down kills it, connections and all.
    pub(crate) fn process(&self, address: SocketAddr) -> Result<(Runtime, SocketAddr)> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let within = runtime.enter();
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        runtime.spawn(self.clone().served_on(listener));
        drop(within);
        Ok((runtime, address))
    }

    async fn served_on(self, listener: TcpListener) -> Result<(), tonic::transport::Error> {
        let service = ImageServiceServer::new(self).max_decoding_message_size(proto::MAX_MESSAGE_BYTES);
        let server = tonic::transport::Server::builder().add_service(service);
        server.serve_with_incoming(TcpIncoming::from(listener)).await
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic").clone()
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut faults = self.faults.lock().expect("no panic");
        match self.forever {
            true => faults.front().cloned(),
            false => faults.pop_front(),
        }
    }
}

fn painted(request: &pb::GenerateGroupRequest) -> Result<Vec<pb::ImageResult>, Status> {
    let product =
        cutout::decode(&request.product).map_err(|error| Status::invalid_argument(error.to_string()))?;
    let images = TextPainter::default()
        .generate(&product, &request.descriptions, request.noise_seed)
        .map_err(|error| Status::internal(error.to_string()))?;
    let rendered = images.into_iter().flatten().map(|image| pb::RenderedImage {
        image: cutout::encode_rgb_png(&image.image).into(),
        placed: image
            .placed
            .map_or(vec![], |placed| cutout::encode_png(&placed))
            .into(),
        defects: image.defects,
    });
    let result = |rendered| pb::ImageResult {
        result: Some(image_result::Result::Image(rendered)),
    };
    Ok(rendered.map(result).collect())
}

#[tonic::async_trait]
impl ImageService for Scripted {
    async fn generate_group(
        &self,
        request: Request<pb::GenerateGroupRequest>,
    ) -> Result<Response<pb::GenerateGroupResponse>, Status> {
        let request = request.into_inner();
        self.asked.lock().expect("no panic").push(Asked {
            descriptions: request.descriptions.len(),
            noise_seed: request.noise_seed,
        });
        let mut results = painted(&request)?;
        match self.next_fault() {
            None => {}
            Some(Fault::Refuses(error)) => return Err(error.into()),
            Some(Fault::Hangs) => std::future::pending().await,
            Some(Fault::FewerResults) => drop(results.pop()),
            Some(Fault::NoResult) => results[0].result = None,
            Some(Fault::Bytes(bytes, spared)) => {
                let all = results.len() - spared;
                for result in &mut results[..all] {
                    let image = bytes.clone().into();
                    result.result = Some(image_result::Result::Image(pb::RenderedImage {
                        image,
                        ..Default::default()
                    }));
                }
            }
            Some(Fault::Fails(reason)) => {
                let detail = "because".into();
                let reason = reason.into();
                results[0].result = Some(image_result::Result::Failure(pb::ImageFailure { reason, detail }));
            }
        }
        Ok(Response::new(pb::GenerateGroupResponse { results }))
    }

    async fn get_image_generator(
        &self,
        _: Request<pb::GetImageGeneratorRequest>,
    ) -> Result<Response<pb::ImageGenerator>, Status> {
        Ok(Response::new(pb::ImageGenerator {
            name: "scripted".into(),
            max_descriptions: self.max_descriptions,
        }))
    }
}

/// A refusal for want of room.
pub(crate) fn overloaded(ms: u64) -> Fault {
    Fault::Refuses(WireError::Overloaded {
        reason: "2 groups are rendered".into(),
        retry_after: Duration::from_millis(ms),
    })
}
