//! Rendering a lease's descriptions: the image generator on the blocking pool, PNG, stored by digest before anybody hears
//! of them.

use crate::{
    failure::{Failure, PerTask},
    product_images::ProductImages,
    stages::Render,
};
use bytes::Bytes;
use common::{Digest, FailureReason, ProductTask, Purpose, Trajectory, derive_seed};
use data::{ImageGenerator, cutout::encode_rgb_png};
use failpoint::Point;
use futures::{StreamExt, stream};
use image::RgbaImage;
use std::sync::Arc;
use store::Store;

/// One rendered candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RenderedImage {
    /// Its key in the store.
    pub(crate) digest: Digest,
    /// Parts of the description that could not be rendered.
    pub(crate) defects: u32,
    /// The encoded image, as the reward-server gets it.
    pub(crate) png: Bytes,
}

/// Renders candidates.
pub(crate) struct Renderer {
    pub(crate) generator: Arc<dyn ImageGenerator>,
    pub(crate) products: Arc<ProductImages>,
    pub(crate) store: Store,
    /// Where in the store the run's images go.
    pub(crate) place: String,
    pub(crate) run_seed: u64,
    /// Tasks rendered at the same time.
    pub(crate) concurrency: usize,
}

impl Render for Renderer {
    /// The images of a group share their noise seed, so that they differ by description only.
    async fn render(
        &self,
        tasks: &[ProductTask],
        sampled: &PerTask<Vec<Trajectory>>,
    ) -> PerTask<Vec<RenderedImage>> {
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
    ) -> Result<Vec<RenderedImage>, Failure> {
        let trajectories = trajectories.as_ref().map_err(Clone::clone)?;
        self.store(self.group(product?, trajectories).await?).await
    }

    /// Renders and encodes the candidates of one task.
    async fn group(
        &self,
        product: Arc<RgbaImage>,
        trajectories: &[Trajectory],
    ) -> Result<Vec<(Bytes, u32)>, Failure> {
        let generator = self.generator.clone();
        let seeds: Vec<u64> = trajectories
            .iter()
            .map(|t| derive_seed(self.run_seed, t.task(), t.behaviour(), Purpose::RenderNoise))
            .collect();
        let texts: Vec<String> = trajectories.iter().map(|t| t.text().to_owned()).collect();
        let rendered = tokio::task::spawn_blocking(move || {
            let render = |(text, seed): (String, u64)| {
                let generated = generator.generate(&product, &text, seed)?;
                Ok((Bytes::from(encode_rgb_png(&generated.image)), generated.defects))
            };
            texts
                .into_iter()
                .zip(seeds)
                .map(render)
                .collect::<Result<Vec<_>, data::GenerateError>>()
        });
        match rendered.await {
            Ok(Ok(images)) => Ok(images),
            Ok(Err(error @ data::GenerateError::Product(_))) => Err(Failure::lasting(
                FailureReason::Rendering,
                crate::failure::chain(&error),
            )),
            Ok(Err(error)) => Err(Failure::passing(FailureReason::Rendering, &error)),
            Err(panic) => Err(Failure::passing(FailureReason::Rendering, &panic)),
        }
    }

    async fn store(&self, images: Vec<(Bytes, u32)>) -> Result<Vec<RenderedImage>, Failure> {
        let mut stored = Vec::with_capacity(images.len());
        for (png, defects) in images {
            let upload = self.store.renew_content(&self.place, png.clone());
            let digest = failpoint::during(Point::CreativeUpload, upload).await;
            let digest = digest.map_err(|error| Failure::passing(FailureReason::Storage, &error))?;
            stored.push(RenderedImage { digest, defects, png });
        }
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use common::{Finish, LearnerEpoch, PolicyVersion, ProductId, RolloutOutcome, RunId, TaskId};
    use data::{GenerateError, GeneratedImage};
    use image::{Rgb, RgbImage, Rgba};

    /// Paints the noise seed and the length of the description; fails at "fail", panics at "panic".
    struct Painter;

    impl ImageGenerator for Painter {
        fn name(&self) -> &str {
            "painter"
        }

        fn generate(
            &self,
            _: &RgbaImage,
            description: &str,
            seed: u64,
        ) -> Result<GeneratedImage, GenerateError> {
            match description {
                "fail" => Err(GenerateError::Generator {
                    generator: "painter".into(),
                    source: "out of paint".into(),
                }),
                "panic" => panic!("the painter fell"),
                _ => {
                    let colour = Rgb([seed as u8, (seed >> 8) as u8, description.len() as u8]);
                    Ok(GeneratedImage {
                        image: RgbImage::from_pixel(2, 2, colour),
                        defects: 1,
                    })
                }
            }
        }
    }

    async fn renderer() -> (Renderer, ProductTask) {
        let store = Store::open("memory:///").unwrap();
        let cut_out = data::cutout::encode_png(&RgbaImage::from_pixel(2, 2, Rgba([1, 2, 3, 255])));
        let image = store.put_content("products", cut_out).await.unwrap();
        let product = ProductId::new("lamp").unwrap();
        let task = ProductTask {
            id: TaskId(4),
            product,
            caption: String::new(),
            instruction: String::new(),
            image,
        };
        let products = Arc::new(ProductImages::new(store.clone(), 4));
        (
            Renderer {
                generator: Arc::new(Painter),
                products,
                store,
                place: RunId::new("spring").unwrap().images_prefix(),
                run_seed: 7,
                concurrency: 2,
            },
            task,
        )
    }

    fn trajectory(task: u64, text: &str) -> Trajectory {
        let version = PolicyVersion::initial(LearnerEpoch(1));
        Trajectory::new(
            TaskId(task),
            version,
            vec![5],
            vec![-0.5],
            text.into(),
            Finish::Stop,
        )
        .unwrap()
    }

    #[tokio::test]
    async fn candidates_of_a_group_share_their_noise_and_groups_do_not() {
        let (renderer, task) = renderer().await;
        let other = ProductTask {
            id: TaskId(5),
            ..task.clone()
        };
        let sampled = vec![
            Ok(vec![trajectory(4, "oak"), trajectory(4, "elm")]),
            Ok(vec![trajectory(5, "oak")]),
        ];
        let rendered = renderer.render(&[task, other], &sampled).await;
        let (group, other) = (rendered[0].as_ref().unwrap(), rendered[1].as_ref().unwrap());
        assert_eq!(group[0].digest, group[1].digest);
        assert_ne!(group[0].digest, other[0].digest);
    }

    #[tokio::test]
    async fn images_are_in_the_store_under_their_digest_before_anybody_hears_of_them() {
        let (renderer, task) = renderer().await;
        let rendered = renderer
            .render(
                &[task],
                &vec![Ok(vec![trajectory(4, "oak"), trajectory(4, "teak")])],
            )
            .await;
        for image in rendered[0].as_ref().unwrap() {
            assert_eq!(
                renderer
                    .store
                    .get_content("runs/spring/images", &image.digest)
                    .await
                    .unwrap(),
                image.png
            );
            assert_eq!(image.defects, 1);
        }
    }

    #[tokio::test]
    async fn a_generator_that_fails_or_panics_fails_its_own_task_only() {
        let (renderer, task) = renderer().await;
        let sampled =
            ["fail", "oak", "panic"].map(|text| Ok(vec![trajectory(4, text), trajectory(4, "elm")]));
        let rendered = renderer
            .render(&[task.clone(), task.clone(), task], &sampled.to_vec())
            .await;
        assert!(rendered[1].is_ok());
        for (position, cause) in [(0, "out of paint"), (2, "the painter fell")] {
            let outcome = rendered[position].clone().unwrap_err().outcome(TaskId(4));
            let RolloutOutcome::Failed {
                reason,
                retryable,
                detail,
                ..
            } = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!((reason, retryable), (FailureReason::Rendering, true));
            assert!(detail.contains(cause), "{detail}");
        }
    }
}
