//! On which products, with which instructions and which seeds every version is measured.

use crate::config::Config;
use crate::shop;
use common::Purpose;
use data::Catalogue;
use models::policy::Policy;
use std::ops::Range;

/// What stands for the caption in an instruction.
const CAPTION: &str = "{caption}";

/// One product as it is put to the policy.
pub(super) struct Subject {
    /// Its index in the catalogue.
    pub(super) product: usize,
    /// The templated instruction.
    pub(super) prompt_ids: Vec<u32>,
    /// One seed a sample.
    pub(super) sampling_seeds: Vec<u64>,
    /// Noise of all its pictures.
    pub(super) noise_seed: u64,
}

/// The test products, or all where none are held out: at most as many as configured, evenly spread.
///
/// # Errors
/// When a caption cannot be encoded.
pub(super) fn subjects(
    config: &Config,
    catalogue: &dyn Catalogue,
    policy: &Policy,
) -> anyhow::Result<Vec<Subject>> {
    spread(catalogue.split().test, config.demo.products)
        .into_iter()
        .map(|product| {
            let instruction = instruction(config, catalogue, product);
            let samples = config.demo.samples as u64;
            let sampling =
                |sample| shop::seed(config, Purpose::Evaluation, product as u64 * samples + sample);
            Ok(Subject {
                product,
                prompt_ids: policy.prompt_ids(&instruction, true)?,
                sampling_seeds: (0..samples).map(sampling).collect(),
                noise_seed: shop::seed(config, Purpose::RenderNoise, product as u64),
            })
        })
        .collect()
}

/// The instruction a product is asked with, quotation marks taken out of its caption as for training tasks.
fn instruction(config: &Config, catalogue: &dyn Catalogue, product: usize) -> String {
    let all = catalogue.instructions();
    let drawn = shop::seed(config, Purpose::Instruction, product as u64) % all.len().max(1) as u64;
    let caption = catalogue.products()[product].caption.replace('"', "");
    all.get(drawn as usize)
        .map_or_else(|| caption.clone(), |text| text.replace(CAPTION, &caption))
}

fn spread(range: Range<usize>, most: usize) -> Vec<usize> {
    let (start, length) = (range.start, range.len());
    let count = length.min(most);
    (0..count).map(|i| start + i * length / count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_products_are_measured_where_there_is_room_and_an_even_part_otherwise() {
        assert_eq!(spread(10..14, 9), [10, 11, 12, 13]);
        assert_eq!(spread(0..100, 4), [0, 25, 50, 75]);
        assert!(spread(5..5, 4).is_empty());
    }
}
