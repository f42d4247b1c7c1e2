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

/// How long somebody is waited for: by then it has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Paints stripes whose colours are a digest of the text and the noise seed.
#[derive(Default)]
pub struct TextPainter {
    door: Option<Arc<Door>>,
    seat: Option<Seat>,
}

impl TextPainter {
    /// A painter that begins only once `gate` is open.
    pub fn behind(gate: &Gate) -> Self {
        Self {
            door: Some(gate.door.clone()),
            ..Self::default()
        }
    }

    /// Painters of whom none begins a group before all have begun as many.
    pub fn in_step(count: usize) -> Vec<Self> {
        let round = Arc::new(Round {
            begun: Mutex::new(vec![0; count]),
            changed: Condvar::new(),
        });
        let seated = |number| Seat {
            round: round.clone(),
            number,
        };
        (0..count)
            .map(|number| Self {
                seat: Some(seated(number)),
                ..Self::default()
            })
            .collect()
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
        if let Some(seat) = &self.seat {
            seat.wait_for_others();
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
    ///
    /// # Panics
    /// When nobody comes.
    pub async fn arrival(&self) {
        let came = async {
            while self.door.arrivals.load(Ordering::Relaxed) == 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let came = tokio::time::timeout(PATIENCE, came).await;
        came.expect("nobody has come to the gate");
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

/// Groups that painters in step have begun, each its own count.
struct Round {
    begun: Mutex<Vec<u64>>,
    changed: Condvar,
}

/// One painter's part in a round.
struct Seat {
    round: Arc<Round>,
    number: usize,
}

impl Seat {
    fn wait_for_others(&self) {
        let mut begun = self.round.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun[self.number] += 1;
        let own = begun[self.number];
        self.round.changed.notify_all();
        // Whoever waits in vain goes on: what the test expects does not come about then.
        let _others = self
            .round
            .changed
            .wait_timeout_while(begun, PATIENCE, |begun| begun.iter().any(|&others| others < own));
    }
}
