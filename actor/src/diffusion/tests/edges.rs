//! The product's edges: those that the ControlNet sees, and the rim around the soft ones.

use super::*;
use data::{CaigCatalogue, Catalogue as _};
use imaging::canny::{HIGH_THRESHOLD, LOW_THRESHOLD, canny};
use imaging::control::control_image;
use imaging::guardrails::halo::halo;

/// The disc, striped: all its edges are strong ones, so that none hangs on what lies outside it.
fn striped() -> RgbaImage {
    let disc = disc();
    RgbaImage::from_fn(270, 210, |x, y| {
        let [.., alpha] = disc.get_pixel(x, y).0;
        match (alpha, x / 30 % 2) {
            (0, _) => Rgba([255, 0, 255, 0]),
            (_, 0) => Rgba([220, 200, 40, alpha]),
            _ => Rgba([20, 60, 90, alpha]),
        }
    })
}

#[test]
fn the_control_image_has_the_finished_pictures_edges_wherever_the_product_is_opaque() {
    const SIDE: u32 = 128;
    for placing in [Placing::Premultiplied, Placing::Compat] {
        let config = DiffusionConfig {
            placing,
            height: SIDE as usize,
            ..small()
        };
        let painted = generator(config).generate_one(&striped(), "a wooden desk", 7);
        let picture = painted.unwrap();
        let placed = picture.placed.unwrap();
        let (control, edges) = (
            control_image(&placed),
            canny(&picture.image, LOW_THRESHOLD, HIGH_THRESHOLD),
        );
        // An edge depends on the colours of 5x5 pixels.
        let is_opaque = |x: u32, y: u32| {
            let mut around = (x - 2..=x + 2).flat_map(|x| (y - 2..=y + 2).map(move |y| (x, y)));
            around.all(|(x, y)| placed.get_pixel(x, y).0[3] == 255)
        };
        let all = (2..SIDE - 2).flat_map(|x| (2..SIDE - 2).map(move |y| (x, y)));
        let (mut compared, mut on_edges) = (0, 0);
        for (x, y) in all.filter(|(x, y)| is_opaque(*x, *y)) {
            let [edge] = edges.get_pixel(x, y).0;
            assert_eq!(control.get_pixel(x, y).0, [edge; 3], "{placing:?} {x} {y}");
            compared += 1;
            on_edges += u32::from(edge > 0);
        }
        assert!(compared > 5000 && on_edges > 300, "{compared} {on_edges}");
    }
}

fn drawn_cutouts() -> Vec<RgbaImage> {
    let ring = drawn(|x, y| 30.0 - (x.hypot(y) - 65.0).abs(), [255; 3]);
    let diamond = drawn(|x, y| 80.0 - x.abs() / 2.0 - y.abs() * 0.9, [0; 3]);
    let lens = drawn(|x, y| 120.0 - x.hypot(y.abs() + 50.0), [0, 255, 0]);
    vec![disc(), ring, diamond, lens]
}

/// The rims of all pictures with both placings, levels of 255: the default's, CAIG's.
fn rims(cutouts: &[RgbaImage], seeds: [u64; 2], config: &DiffusionConfig) -> Vec<(f64, f64)> {
    let [ours, theirs] = [Placing::Premultiplied, Placing::Compat].map(|placing| {
        let generator = generator(DiffusionConfig {
            placing,
            ..config.clone()
        });
        let rim = |cutout: &RgbaImage, seed| {
            let picture = generator.generate_one(cutout, "a wooden desk", seed).unwrap();
            let placed = picture.placed.unwrap();
            assert_eq!(leakage(&picture.image, &placed).unwrap().changed, 0.0);
            let rim = halo(&picture.image, &placed).unwrap();
            assert!(rim.measured > 0);
            rim.excess
        };
        let all = cutouts
            .iter()
            .flat_map(|cutout| seeds.map(|seed| rim(cutout, seed)));
        all.collect::<Vec<f64>>()
    });
    ours.into_iter().zip(theirs).collect()
}

#[test]
fn premultiplied_edges_have_no_more_halo_than_the_references() {
    let rims = rims(&drawn_cutouts(), [7, 8], &small());
    assert_eq!(rims.len(), 8);
    assert!(rims.iter().all(|(ours, theirs)| ours <= theirs), "{rims:?}");
    // Each is of one smooth colour at its edge, so that all of a rim would be the background's.
    assert!(
        rims.iter().all(|(ours, theirs)| *ours < 0.1 && *theirs > 0.1),
        "{rims:?}"
    );
}

/// Cut-outs that are not in the repository, painted as large as by default.
#[test]
#[ignore = "needs a catalogue of your own: ADWRIGHT_PRODUCTS=FILE, as docs/images.md shows"]
fn premultiplied_edges_of_products_of_your_own_have_no_more_halo_than_the_references() {
    #[expect(clippy::disallowed_methods, reason = "only this test asks for them")]
    let file =
        std::env::var("ADWRIGHT_PRODUCTS").expect("ADWRIGHT_PRODUCTS names a catalogue in CAIG's form");
    let catalogue = CaigCatalogue::load(Path::new(&file), 0.0).unwrap();
    let config = DiffusionConfig {
        steps: 2,
        ..DiffusionConfig::default()
    };
    for product in catalogue.products() {
        let rims = rims(std::slice::from_ref(&product.image), [5, 6], &config);
        println!("halo around product {}: {rims:.2?} (default, compat)", product.id);
        assert!(
            rims.iter().all(|(ours, theirs)| ours <= theirs),
            "product {}: {rims:?}",
            product.id
        );
    }
}
