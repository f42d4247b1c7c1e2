//! The generator as an actor has it: a thread that owns the networks.

use super::config::DiffusionConfig;
use super::painter::{DiffusionFiles, NAME, Painter, failed};
use data::{GenerateError, GeneratedImage, ImageGenerator, NoImage};
use image::RgbaImage;
use models::ModelError;
use models::compute_thread::ComputeThread;
use models::device::Placement;
use models::diffusion::pipeline::Wanted;

/// Groups that wait while one is painted. An actor renders few tasks at a time.
const QUEUE: usize = 4;

/// Paints groups of candidates, one group after the other.
#[derive(Debug)]
pub struct DiffusionGenerator {
    painter: ComputeThread<Painter>,
}

impl DiffusionGenerator {
    /// Opens the files and starts the thread: call it off the runtime.
    ///
    /// # Errors
    /// [`ModelError`] with the file, key or tensors at fault.
    pub fn start(
        files: DiffusionFiles,
        config: DiffusionConfig,
        placement: Placement,
    ) -> Result<Self, ModelError> {
        let open = move || Painter::open(&files, config, &placement);
        Ok(Self {
            painter: ComputeThread::spawn("image generator", QUEUE, open)?,
        })
    }
}

impl ImageGenerator for DiffusionGenerator {
    fn name(&self) -> &str {
        NAME
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        let wanted: Vec<Wanted> = descriptions
            .iter()
            .map(|description| Wanted {
                description: description.clone(),
                seed: noise_seed,
            })
            .collect();
        let product = product.clone();
        let paint = move |painter: &mut Painter| painter.paint(&product, &wanted, None, &mut |_| ());
        self.painter.call_blocking(paint).map_err(failed)?
    }
}
