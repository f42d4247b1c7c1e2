//! An image generator that understands nothing: each text has its own colours.

use data::{GenerateError, GeneratedImage, ImageGenerator, NoImage, cutout};
use image::{Rgb, RgbImage, RgbaImage};
use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Side of the pictures, in pixels.
const SIDE: u32 = 16;

/// Paints stripes whose colours are a digest of the text and the noise seed.
#[derive(Default)]
pub struct TextPainter {
    door: Option<Arc<Door>>,
}

impl TextPainter {
    /// A painter that begins only once `gate` is open.
    pub fn behind(gate: &Gate) -> Self {
        Self {
            door: Some(gate.door.clone()),
        }
    }
}

impl ImageGenerator for TextPainter {
    fn name(&self) -> &str {
        "text painter"
    }

    fn generate(
        &self,
        product: &RgbaImage,
        descriptions: &[String],
        noise_seed: u64,
    ) -> Result<Vec<Result<GeneratedImage, NoImage>>, GenerateError> {
        if let Some(door) = &self.door {
            door.pass();
        }
        let placed = cutout::golden_ratio_zoom(product, SIDE)?;
        let paint = |description: &String| {
            let colours = store::digest(format!("{noise_seed} {description}").as_bytes());
            let stripe = |_, y: u32| {
                let at = (y / 4 * 3) as usize;
                Rgb([0, 1, 2].map(|channel| colours.as_bytes()[at + channel]))
            };
            Ok(GeneratedImage {
                image: cutout::composite(&RgbImage::from_fn(SIDE, SIDE, stripe), &placed),
                placed: None,
                defects: 0,
            })
        };
        Ok(descriptions.iter().map(paint).collect())
    }
}

/// Holds painters up for as long as it exists.
#[derive(Default)]
pub struct Gate {
    door: Arc<Door>,
}

#[derive(Default)]
struct Door {
    open: Mutex<bool>,
    opened: Condvar,
    arrivals: AtomicU64,
}

impl Gate {
    /// Returns once somebody has come.
    pub async fn arrival(&self) {
        while self.door.arrivals.load(Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Whatever ends a test opens its gate: the runtime waits for whoever stands before it.
impl Drop for Gate {
    fn drop(&mut self) {
        *self.door.open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.door.opened.notify_all();
    }
}

impl Door {
    fn pass(&self) {
        self.arrivals.fetch_add(1, Ordering::Relaxed);
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let _open = self
            .opened
            .wait_while(open, |open| !*open)
            .unwrap_or_else(PoisonError::into_inner);
    }
}
