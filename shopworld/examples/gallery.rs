//! Draws a contact sheet of the shop: `cargo run -p shopworld --example gallery -- OUT.png [CUTOUT.png ...]`.
//!
//! Rows: products of all categories (or the given cut-outs) in native scenes; then every value of every slot with the
//! other slots held fixed; then each slot left grey. Each picture is shown twice: large, and as the tiny networks see it.

use data::{Catalogue, ImageGenerator, cutout};
use image::{RgbImage, RgbaImage, imageops};
use shopworld::{Description, Renderer, RendererConfig, ShopWorld, ShopWorldConfig, Slot};
use std::error::Error;

/// Side of a large picture in pixels; the small one is a quarter of it, enlarged.
const LARGE: u32 = 192;
/// Pictures in a row.
const COLUMNS: usize = 8;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let out = arguments
        .next()
        .ok_or("usage: gallery OUT.png [CUTOUT.png ...]")?;
    let world = ShopWorld::new(
        ShopWorldConfig {
            products: 64,
            ..ShopWorldConfig::default()
        },
        7,
    )?;
    let products: Vec<RgbaImage> = world
        .catalogue()
        .products()
        .iter()
        .map(|p| p.image.clone())
        .collect();
    let given: Vec<RgbaImage> = arguments
        .map(|path| Ok(cutout::decode(&std::fs::read(path)?)?))
        .collect::<Result<_, Box<dyn Error>>>()?;

    let mut pictures = Vec::new();
    for (index, product) in given.iter().chain(&products[..16]).enumerate() {
        let native = 2 * (index % 8) + index / 8 % 2;
        pictures.push((
            product,
            Description::new([native, (5 * index) % 12, index % 6, native, (3 * index) % 8]),
        ));
    }
    pictures.resize(pictures.len().next_multiple_of(COLUMNS), (&products[0], None));
    for slot in Slot::ALL {
        for value in 0..slot.values().len().next_multiple_of(COLUMNS) {
            let mut values = [0; 5];
            values[slot as usize] = value;
            pictures.push((&products[value % 8], Description::new(values)));
        }
    }
    let whole = Description::new([5, 0, 0, 4, 0])
        .ok_or("no such description")?
        .to_string();
    let mut texts: Vec<_> = pictures
        .into_iter()
        .map(|(product, d)| (product, d.map_or(String::new(), |d| d.to_string())))
        .collect();
    texts.extend(
        whole
            .split(", ")
            .map(|part| (&products[2], whole.replace(part, "?"))),
    );
    sheet(&texts)?.save(out)?;
    Ok(())
}

fn sheet(pictures: &[(&RgbaImage, String)]) -> Result<RgbImage, Box<dyn Error>> {
    let large = Renderer::new(RendererConfig {
        size: LARGE,
        ..RendererConfig::default()
    })?;
    let small = Renderer::new(RendererConfig::default())?;
    let rows = pictures.len().div_ceil(COLUMNS) as u32;
    let mut sheet = RgbImage::new(COLUMNS as u32 * LARGE, rows * LARGE * 2);
    for (index, (product, text)) in pictures.iter().enumerate() {
        let (left, top) = (
            (index % COLUMNS) as u32 * LARGE,
            (index / COLUMNS) as u32 * LARGE * 2,
        );
        let tiny = small.generate_one(product, text, index as u64)?.image;
        let tiny = imageops::resize(&tiny, LARGE, LARGE, imageops::FilterType::Nearest);
        imageops::replace(
            &mut sheet,
            &large.generate_one(product, text, index as u64)?.image,
            left.into(),
            top.into(),
        );
        imageops::replace(&mut sheet, &tiny, left.into(), (top + LARGE).into());
    }
    Ok(sheet)
}
