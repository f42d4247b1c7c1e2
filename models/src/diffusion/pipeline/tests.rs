//! What is kept between pictures.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use image::{GrayImage, Luma, Rgb, RgbImage};

use super::*;

/// How often each network was used: where its memory is given back, it is read for each use.
#[derive(Default)]
struct Uses {
    text_encoder: Arc<AtomicUsize>,
    autoencoder: Arc<AtomicUsize>,
    controlnet: Arc<AtomicUsize>,
    unet: Arc<AtomicUsize>,
}

impl Uses {
    fn all(&self) -> [usize; 4] {
        let counters = [
            &self.text_encoder,
            &self.autoencoder,
            &self.controlnet,
            &self.unet,
        ];
        counters.map(|counter| counter.load(Ordering::Relaxed))
    }
}

/// A network that is read for each use, which is counted.
fn counted<N: 'static>(
    counter: &Arc<AtomicUsize>,
    read: impl Fn() -> Result<N, ModelError> + Send + 'static,
) -> Part<N> {
    let counter = counter.clone();
    let read = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        read()
    };
    Part::new(read, false)
}

fn pipeline(uses: &Uses) -> Inpainting {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("parity/fixtures/diffusion");
    let model = StableDiffusion::open(&fixtures.join("tiny")).unwrap();
    let files = ControlNetFiles::open(&fixtures.join("controlnet"), &model.unet).unwrap();
    let config = PipelineConfig {
        steps: 1,
        ..PipelineConfig::default()
    };
    let dtype = DType::F32;
    let mut pipeline = Inpainting::new(&model, &files, None, config, &Device::flex(), dtype).unwrap();
    let (of_text, of_autoencoder) = (model.clone(), model.clone());
    pipeline.text_encoder = counted(&uses.text_encoder, move || {
        of_text.read_text_encoder(&Device::flex(), dtype, None)
    });
    pipeline.autoencoder = counted(&uses.autoencoder, move || {
        of_autoencoder.read_autoencoder(&Device::flex(), dtype)
    });
    pipeline.controlnet = counted(&uses.controlnet, move || files.read(&Device::flex(), dtype));
    pipeline.unet = counted(&uses.unet, move || model.read_unet(&Device::flex(), dtype, None));
    pipeline
}

/// A grey square of this level in the middle of a black picture.
fn canvas(level: u8) -> Canvas {
    let is_product = |x: u32, y: u32| (16..48).contains(&x) && (16..48).contains(&y);
    let init = RgbImage::from_fn(64, 64, |x, y| Rgb([if is_product(x, y) { level } else { 0 }; 3]));
    let repaint = GrayImage::from_fn(64, 64, |x, y| Luma([if is_product(x, y) { 0 } else { 255 }]));
    Canvas::new(init.clone(), repaint, init).unwrap()
}

#[test]
fn a_second_picture_of_the_same_description_and_product_encodes_nothing_again() {
    let uses = Uses::default();
    let mut pipeline = pipeline(&uses);
    let mut paint = |description: &str, seed: u64, level: u8| {
        let before = uses.all();
        let wanted = Wanted {
            description: description.into(),
            seed,
        };
        let pictures = pipeline.paint(&canvas(level), &[wanted], None, &mut |_| ());
        assert!(pictures.unwrap().remove(0).is_ok());
        let after = uses.all();
        std::array::from_fn::<_, 4, _>(|network| after[network] - before[network])
    };
    // Text encoder; autoencoder, once for the product and once for the picture; ControlNet, once for the edges and once for
    // the steps; U-net.
    assert_eq!(paint("green leaves", 1, 99), [1, 2, 2, 1]);
    assert_eq!(paint("green leaves", 2, 99), [0, 1, 1, 1]);
    assert_eq!(paint("wet stone", 2, 99), [1, 1, 1, 1]);
    assert_eq!(paint("wet stone", 2, 98), [0, 2, 2, 1]);
    // Both are still known.
    assert_eq!(paint("green leaves", 3, 99), [0, 1, 1, 1]);
}
