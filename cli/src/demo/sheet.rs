//! Which advertisements a contact sheet shows, and their pictures at its size.

use super::contact_sheet::{self, Creative, Row};
use crate::evaluation::Sample;
use crate::shop::Shop;
use data::{Catalogue, ImageGenerator};
use image::RgbImage;
use std::collections::BTreeSet;

/// Draws a sheet with a row for each labelled policy; the samples of all rows belong to the same products.
///
/// # Errors
/// When a picture cannot be rendered.
pub(super) fn draw(
    title: &str,
    shop: &Shop,
    generator: &dyn ImageGenerator,
    rows: &[(String, &[Sample])],
    products: usize,
    size: u32,
) -> anyhow::Result<RgbImage> {
    let first = rows.first().map_or(&[][..], |(_, samples)| samples);
    let shown = choose(shop.catalogue.as_ref(), first, products);
    let caption = |&at: &usize| shop.catalogue.products()[first[at].product].caption.clone();
    let captions: Vec<String> = shown.iter().map(caption).collect();
    let mut drawn = Vec::new();
    for (label, samples) in rows {
        let creatives = shown
            .iter()
            .map(|&at| render(shop, generator, &samples[at]))
            .collect::<Result<_, _>>()?;
        drawn.push(Row {
            label: label.clone(),
            creatives,
        });
    }
    Ok(contact_sheet::draw(title, &captions, &drawn, size))
}

/// Places in `samples`: one product of each category first, then others in order.
fn choose(catalogue: &dyn Catalogue, samples: &[Sample], most: usize) -> Vec<usize> {
    let category = |at: &usize| catalogue.products()[samples[*at].product].category.as_deref();
    let mut seen = BTreeSet::new();
    let (mut chosen, rest): (Vec<usize>, Vec<usize>) = (0..samples.len())
        .partition(|at| category(at).is_some_and(|category| seen.insert(category.to_owned())));
    chosen.extend(rest);
    chosen.truncate(most);
    chosen
}

fn render(shop: &Shop, generator: &dyn ImageGenerator, sample: &Sample) -> anyhow::Result<Creative> {
    let product = &shop.catalogue.products()[sample.product];
    Ok(Creative {
        image: generator
            .generate_one(&product.image, &sample.description, sample.noise_seed)?
            .image,
        description: sample.description.clone(),
        predicted_ctr: sample.predicted_ctr,
        true_ctr: sample.true_ctr,
    })
}
