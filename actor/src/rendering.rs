//! Rendering a lease's descriptions: the image generator and the guardrails on the blocking pool, PNG, stored by digest before
//! anybody hears of them.

use crate::{
    ActorError,
    failure::{Failure, PerTask},
    guardrails::{GroupGuardrails, Guardrails, of_no_image},
    learner_client::Lease,
    products::CutOut,
    room::{Making, Raw, Room},
    stages::{Render, Service},
    undone::{NoRoom, UndoneLeases, Waiting},
};
use bytes::Bytes;
use common::{Barred, CandidateImage, Digest, FailureReason, Purpose, Trajectory, derive_seed};
use data::{GenerateError, GeneratedImage, ImageGenerator, NoImage, cutout::encode_rgb_png};
use failpoint::Point;
use futures::{StreamExt, stream};
use std::sync::{Arc, OnceLock};
use store::Store;
use tokio::time::{Instant, timeout_at};

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
    /// Where the pictures have room.
    pub(crate) room: Arc<Room>,
    pub(crate) store: Store,
    /// Where in the store the run's images go.
    pub(crate) place: String,
    pub(crate) run_seed: u64,
    /// Tasks rendered at the same time.
    pub(crate) concurrency: usize,
    pub(crate) unrendered: UndoneLeases<GenerateError>,
}

/// A group of pictures that is wanted.
struct Wanted {
    cut_out: Arc<CutOut>,
    descriptions: Vec<String>,
    seed: u64,
    /// After when nobody waits for them.
    end: Option<std::time::Instant>,
}

/// What became of the descriptions of a group, not stored yet.
struct EncodedGroup {
    images: Vec<Encoded>,
    /// Bytes of PNG.
    png: usize,
    /// What was counted of the pictures that these were made of.
    making: Making,
}

/// Why nothing became of them.
#[derive(Debug)]
enum NoPictures {
    Generator(GenerateError),
    NoRoom(Failure),
}

impl From<GenerateError> for NoPictures {
    fn from(error: GenerateError) -> Self {
        Self::Generator(error)
    }
}

/// What became of one description.
#[derive(Debug, Default)]
struct Encoded {
    /// `None` where no image was made.
    png: Option<Bytes>,
    defects: u32,
    barred: Option<Barred>,
}

impl Service for Renderer {
    fn waits_for(&self) -> Option<Waiting> {
        self.unrendered.waits_for()
    }

    /// Waits until a generator that left the last lease unrendered can generate again.
    ///
    /// # Errors
    /// [`ActorError::GroupTooLarge`] when there is no room for the pictures of one group; [`ActorError::ImageGenerator`] when it cannot
    /// for too long, or left several leases in a row unrendered.
    async fn recovered(&mut self) -> Result<(), ActorError> {
        self.room.check()?;
        if self.unrendered.bearable()?.is_none() {
            return Ok(());
        }
        self.unrendered.until_room().await;
        until_ready(self.generator.clone()).await
    }
}

/// Waits until a generator can generate.
///
/// # Errors
/// [`ActorError::ImageGenerator`] when it cannot for too long.
pub(crate) async fn until_ready(generator: Arc<dyn ImageGenerator>) -> Result<(), ActorError> {
    let ready = tokio::task::spawn_blocking(move || generator.ready()).await;
    let task = "image generator";
    Ok(ready.map_err(|source| ActorError::Task { task, source })??)
}

impl Render for Renderer {
    fn is_own_work(&self) -> bool {
        !self.generator.is_outside()
    }

    /// The images of a group share their noise seed, so that they differ by description only. Nothing is begun once the generator is
    /// lost to this lease. A generator outside is waited for as long as what it renders could still be scored in time.
    async fn render(
        &mut self,
        lease: &Lease,
        cut_outs: &PerTask<Arc<CutOut>>,
        sampled: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<RenderedGroup> {
        let lost = OnceLock::new();
        let end = self.generator.is_outside().then(|| lease.rendered_by());
        let mut groups = Vec::with_capacity(lease.tasks.len());
        for (cut_out, trajectories) in cut_outs.iter().zip(sampled) {
            groups.push(self.render_one(cut_out, trajectories, end, &lost));
        }
        let rendered: PerTask<_> = stream::iter(groups).buffered(self.concurrency).collect().await;
        let asked = rendered.iter().any(Result::is_ok);
        self.unrendered.remember(lost.into_inner(), asked, no_room);
        rendered
    }
}

impl Renderer {
    async fn render_one(
        &self,
        cut_out: &Result<Arc<CutOut>, Failure>,
        trajectories: &Result<Vec<Trajectory>, Failure>,
        end: Option<Instant>,
        lost: &OnceLock<GenerateError>,
    ) -> Result<RenderedGroup, Failure> {
        let trajectories = trajectories.as_ref().map_err(Clone::clone)?;
        if let Some(error) = lost.get() {
            return Err(failure_of(error));
        }
        let cut_out = cut_out.as_ref().map_err(Clone::clone)?;
        let making = self.room.make(cut_out.image.as_raw().len())?;
        let wanted = self.wanted(cut_out.clone(), trajectories, end);
        let group = self.generate(wanted, making);
        let images = match end {
            Some(end) => timeout_at(end, group)
                .await
                .unwrap_or_else(|_| Err(self.too_slow().into())),
            None => group.await,
        };
        let EncodedGroup { images, png, making } = images.map_err(|none| match none {
            NoPictures::NoRoom(failure) => failure,
            NoPictures::Generator(error) => {
                let failure = failure_of(&error);
                if matches!(error, GenerateError::Unavailable { .. }) {
                    // Of several at the same time the first one's reason does.
                    let _told = lost.set(error);
                }
                failure
            }
        })?;
        self.room.encoded(&cut_out.share, making, png)?;
        self.store(images).await
    }

    fn wanted(&self, cut_out: Arc<CutOut>, trajectories: &[Trajectory], end: Option<Instant>) -> Wanted {
        // All of a group are sampled by one version.
        let seed = trajectories.first().map_or(0, |first| {
            derive_seed(
                self.run_seed,
                first.task(),
                first.behaviour(),
                Purpose::RenderNoise,
            )
        });
        Wanted {
            cut_out,
            descriptions: trajectories.iter().map(|t| t.text().to_owned()).collect(),
            seed,
            end: end.map(Instant::into_std),
        }
    }

    /// What a group that has not come in time amounts to.
    fn too_slow(&self) -> GenerateError {
        let slow = "no image within half of the lease's time (learner.lease_ttl_ms); lease fewer tasks (actor.tasks_per_lease), or for longer";
        GenerateError::Unavailable {
            generator: self.generator.name().to_owned(),
            full: false,
            source: slow.into(),
        }
    }

    /// Has the candidates of one task generated, checked and encoded. Where that is given up, its cut-out and `making` are held until
    /// the generator is done.
    async fn generate(&self, wanted: Wanted, making: Making) -> Result<EncodedGroup, NoPictures> {
        let (generator, guardrails) = (self.generator.clone(), self.guardrails.clone());
        let room = self.room.clone();
        let rendered =
            tokio::task::spawn_blocking(move || generated(&*generator, &guardrails, &wanted, &room, making));
        rendered.await.unwrap_or_else(|panic| {
            let panicked = GenerateError::Generator {
                generator: self.generator.name().to_owned(),
                source: Box::new(panic),
            };
            Err(panicked.into())
        })
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
        digest.map_err(|error| Failure::of_store(&error))
    }
}

/// When a generator without room wants to be asked again, where it is a service that says so.
fn no_room(error: &GenerateError) -> Option<NoRoom> {
    let GenerateError::Unavailable {
        full: true, source, ..
    } = error
    else {
        return None;
    };
    let told = source.downcast_ref::<ActorError>().and_then(ActorError::no_room);
    Some(told.unwrap_or(NoRoom { retry_after: None }))
}

fn failure_of(error: &GenerateError) -> Failure {
    let reason = FailureReason::Rendering;
    match error {
        GenerateError::Unavailable { full, .. } => Failure::of_service(reason, error, *full),
        _ if error.is_lasting() => Failure::lasting(reason, common::with_causes(error)),
        _ => Failure::passing(reason, error),
    }
}

/// What becomes of each description: those that nothing bars are rendered together, their pictures checked and encoded.
fn generated(
    generator: &dyn ImageGenerator,
    guardrails: &Guardrails,
    wanted: &Wanted,
    room: &Room,
    mut making: Making,
) -> Result<EncodedGroup, NoPictures> {
    let descriptions = &wanted.descriptions;
    let barred: Vec<Option<Barred>> = descriptions
        .iter()
        .map(|description| guardrails.of_description(description))
        .collect();
    let admitted = descriptions
        .iter()
        .zip(&barred)
        .filter(|(_, barred)| barred.is_none());
    let admitted: Vec<String> = admitted.map(|(description, _)| description.clone()).collect();
    let images = match admitted.is_empty() {
        true => vec![],
        false => generator.generate_by(&wanted.cut_out.image, &admitted, wanted.seed, wanted.end)?,
    };
    if images.len() != admitted.len() {
        let miscounted = GenerateError::Count {
            generator: generator.name().to_owned(),
            images: images.len(),
            descriptions: admitted.len(),
        };
        return Err(miscounted.into());
    }
    room.made(&mut making, raw_bytes(&images))
        .map_err(NoPictures::NoRoom)?;
    let (mut group, mut images) = (guardrails.of_group(), images.into_iter());
    let mut next = || -> Result<Encoded, GenerateError> {
        match images.next() {
            Some(Ok(generated)) => checked(&generated, &mut group, generator.name()),
            Some(Err(no_image)) => Ok(without_image(&no_image)),
            // There are as many as were admitted.
            None => Ok(Encoded::default()),
        }
    };
    let outcome = |barred: Option<Barred>| match barred {
        None => next(),
        barred => Ok(Encoded {
            barred,
            ..Encoded::default()
        }),
    };
    let images = barred
        .into_iter()
        .map(outcome)
        .collect::<Result<Vec<_>, GenerateError>>()?;
    let png = images.iter().flat_map(|image| &image.png).map(Bytes::len).sum();
    Ok(EncodedGroup { images, png, making })
}

fn raw_bytes(images: &[Result<GeneratedImage, NoImage>]) -> Raw {
    let mut raw = Raw::default();
    for GeneratedImage { image, placed, .. } in images.iter().flatten() {
        let bytes = image.as_raw().len();
        raw.pictures += bytes;
        raw.largest = raw.largest.max(bytes);
        raw.placed += placed.as_ref().map_or(0, |placed| placed.as_raw().len());
    }
    raw
}

fn checked(
    generated: &GeneratedImage,
    group: &mut GroupGuardrails<'_>,
    generator: &str,
) -> Result<Encoded, GenerateError> {
    let barred = group
        .of_picture(generated)
        .map_err(|source| GenerateError::Generator {
            generator: generator.to_owned(),
            source: Box::new(source),
        })?;
    // Its length is counted: no more than that is kept.
    let png = encode_rgb_png(&generated.image).into_boxed_slice();
    Ok(Encoded {
        barred,
        defects: generated.defects,
        png: Some(png.into()),
    })
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
