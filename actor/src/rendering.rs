//! Rendering a lease's descriptions: the image generator and the guardrails on the blocking pool, PNG, stored by digest before
//! anybody hears of them.

use crate::{
    failure::{Failure, PerTask},
    guardrails::{Guardrails, of_no_image},
    product_images::ProductImages,
    stages::Render,
};
use bytes::Bytes;
use common::{Barred, CandidateImage, Digest, FailureReason, ProductTask, Purpose, Trajectory, derive_seed};
use data::{GenerateError, GeneratedImage, ImageGenerator, NoImage, cutout::encode_rgb_png};
use failpoint::Point;
use futures::{StreamExt, stream};
use image::RgbaImage;
use std::sync::Arc;
use store::Store;

/// What became of the descriptions of one task, in their order.
pub(crate) type RenderedGroup = Vec<RenderedImage>;

/// What became of one description.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct RenderedImage {
    /// As it is recorded.
    pub(crate) candidate: CandidateImage,
    /// The encoded image, as the reward-server gets it; empty when it is not to be scored.
    pub(crate) png: Bytes,
}

/// The images of a group that are to be scored: all that nothing bars, if they are at least two. One alone could not be compared.
pub(crate) fn comparable(group: &RenderedGroup) -> Option<Vec<&RenderedImage>> {
    let usable: Vec<_> = group
        .iter()
        .filter(|image| image.candidate.barred.is_none())
        .collect();
    (usable.len() >= 2).then_some(usable)
}

/// Renders candidates.
pub(crate) struct Renderer {
    pub(crate) generator: Arc<dyn ImageGenerator>,
    pub(crate) guardrails: Arc<Guardrails>,
    pub(crate) products: Arc<ProductImages>,
    pub(crate) store: Store,
    /// Where in the store the run's images go.
    pub(crate) place: String,
    pub(crate) run_seed: u64,
    /// Tasks rendered at the same time.
    pub(crate) concurrency: usize,
}

/// What became of one description, not stored yet.
#[derive(Debug, Default)]
struct Encoded {
    /// `None` where no image was made.
    png: Option<Bytes>,
    defects: u32,
    barred: Option<Barred>,
}

impl Render for Renderer {
    /// The images of a group share their noise seed, so that they differ by description only.
    async fn render(
        &self,
        tasks: &[ProductTask],
        sampled: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<RenderedGroup> {
        let mut groups = Vec::with_capacity(tasks.len());
        for (product, trajectories) in self.products.of(tasks).await.into_iter().zip(sampled) {
            groups.push(self.render_one(product, trajectories));
        }
        stream::iter(groups).buffered(self.concurrency).collect().await
    }
}

impl Renderer {
    async fn render_one(
        &self,
        product: Result<Arc<RgbaImage>, Failure>,
        trajectories: &Result<Vec<Trajectory>, Failure>,
    ) -> Result<RenderedGroup, Failure> {
        let trajectories = trajectories.as_ref().map_err(Clone::clone)?;
        self.store(self.group(product?, trajectories).await?).await
    }

    /// Renders, checks and encodes the candidates of one task.
    async fn group(
        &self,
        product: Arc<RgbaImage>,
        trajectories: &[Trajectory],
    ) -> Result<Vec<Encoded>, Failure> {
        let (generator, guardrails) = (self.generator.clone(), self.guardrails.clone());
        // All of a group are sampled by one version.
        let seed = trajectories.first().map_or(0, |first| {
            derive_seed(
                self.run_seed,
                first.task(),
                first.behaviour(),
                Purpose::RenderNoise,
            )
        });
        let texts: Vec<String> = trajectories.iter().map(|t| t.text().to_owned()).collect();
        let rendered =
            tokio::task::spawn_blocking(move || encoded(&*generator, &guardrails, &product, &texts, seed));
        match rendered.await {
            Ok(Ok(images)) => Ok(images),
            Ok(Err(error)) if error.is_lasting() => Err(Failure::lasting(
                FailureReason::Rendering,
                crate::failure::chain(&error),
            )),
            Ok(Err(error)) => Err(Failure::passing(FailureReason::Rendering, &error)),
            Err(panic) => Err(Failure::passing(FailureReason::Rendering, &panic)),
        }
    }

    /// A barred image is stored too, so that people can see what was barred.
    async fn store(&self, images: Vec<Encoded>) -> Result<RenderedGroup, Failure> {
        let mut stored = Vec::with_capacity(images.len());
        for Encoded { png, defects, barred } in images {
            let digest = match &png {
                Some(png) => Some(self.upload(png.clone()).await?),
                None => None,
            };
            let candidate = CandidateImage {
                digest,
                defects,
                barred,
            };
            let png = png.filter(|_| barred.is_none()).unwrap_or_default();
            stored.push(RenderedImage { candidate, png });
        }
        Ok(stored)
    }

    async fn upload(&self, png: Bytes) -> Result<Digest, Failure> {
        let upload = self.store.renew_content(&self.place, png);
        let digest = failpoint::during(Point::CreativeUpload, upload).await;
        digest.map_err(|error| Failure::passing(FailureReason::Storage, &error))
    }
}

/// What becomes of each description: those that nothing bars are rendered together, and their pictures checked.
fn encoded(
    generator: &dyn ImageGenerator,
    guardrails: &Guardrails,
    product: &RgbaImage,
    descriptions: &[String],
    seed: u64,
) -> Result<Vec<Encoded>, GenerateError> {
    let barred: Vec<Option<Barred>> = descriptions
        .iter()
        .map(|description| guardrails.of_description(description))
        .collect();
    let admitted = descriptions
        .iter()
        .zip(&barred)
        .filter(|(_, barred)| barred.is_none());
    let admitted: Vec<String> = admitted.map(|(description, _)| description.clone()).collect();
    let mut images = match admitted.is_empty() {
        true => vec![],
        false => generator.generate(product, &admitted, seed)?,
    }
    .into_iter();
    if images.len() != admitted.len() {
        return Err(GenerateError::Count {
            generator: generator.name().to_owned(),
            images: images.len(),
            descriptions: admitted.len(),
        });
    }
    let mut outcome = |barred: Option<Barred>| match barred {
        None => images.next().map(|image| match image {
            Ok(generated) => Encoded {
                barred: None,
                defects: generated.defects,
                png: Some(png(&generated)),
            },
            Err(no_image) => without_image(&no_image),
        }),
        barred => Some(Encoded {
            barred,
            ..Encoded::default()
        }),
    };
    Ok(barred.into_iter().filter_map(&mut outcome).collect())
}

fn png(generated: &GeneratedImage) -> Bytes {
    encode_rgb_png(&generated.image).into()
}

fn without_image(reason: &NoImage) -> Encoded {
    tracing::warn!(%reason, "a description gave no image");
    Encoded {
        barred: Some(of_no_image(reason)),
        ..Encoded::default()
    }
}

#[cfg(test)]
mod tests;
