//! Features of product images under the frozen vision tower: whole images are kept between batches, masked ones are made
//! when they are needed.

use crate::assortment::Assortment;
use crate::mask::Masker;
use crate::negatives::ProductImage;
use common::LastUsed;
use image::RgbaImage;
use models::ModelError;
use models::image_features::ImageFeatures;
use models::policy::Policy;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Most images encoded in one pass of the tower: bounds the memory of a pass.
const IMAGES_PER_PASS: usize = 32;

/// Features by image.
pub(crate) struct FeatureCache {
    policy: Arc<Policy>,
    assortment: Arc<Assortment>,
    masker: Masker,
    /// Of one whole image each.
    kept: LastUsed<ProductImage, ImageFeatures>,
    images_per_pass: usize,
}

impl FeatureCache {
    /// Features under the tower of `policy`; of whole images at most `bound` bytes are kept.
    pub(crate) fn new(
        policy: Arc<Policy>,
        assortment: Arc<Assortment>,
        masker: Masker,
        bound: usize,
    ) -> Self {
        Self {
            policy,
            assortment,
            masker,
            kept: LastUsed::within(bound),
            images_per_pass: IMAGES_PER_PASS,
        }
    }

    /// The same with each image encoded alone: to the last bit, its features then do not depend on which others were missing,
    /// and so not on when the run was begun.
    pub(crate) fn one_by_one(self) -> Self {
        Self {
            images_per_pass: 1,
            ..self
        }
    }

    /// The features of `images`, in their order (at least one image, none twice).
    ///
    /// # Errors
    /// [`ModelError`] when the tower fails.
    pub(crate) fn of(&mut self, images: &[ProductImage]) -> Result<ImageFeatures, ModelError> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        for &image in images {
            match self.kept.get(&image) {
                Some(features) => drop(found.insert(image, features.clone())),
                None => missing.push(image),
            }
        }
        for chunk in missing.chunks(self.images_per_pass) {
            let encoded = self.encode(chunk)?;
            for (row, &image) in chunk.iter().enumerate() {
                let features = encoded.select(&[row]);
                if let ProductImage::Whole(_) = image {
                    self.kept.put(image, features.clone(), features.bytes());
                }
                found.insert(image, features);
            }
        }
        Ok(ImageFeatures::cat(
            images.iter().map(|image| found[image].clone()).collect(),
        ))
    }

    fn encode(&self, images: &[ProductImage]) -> Result<ImageFeatures, ModelError> {
        let pictures: Vec<Cow<'_, RgbaImage>> = images.iter().map(|image| self.picture(*image)).collect();
        self.policy
            .image_features(&pictures.iter().map(AsRef::as_ref).collect::<Vec<_>>())
    }

    fn picture(&self, image: ProductImage) -> Cow<'_, RgbaImage> {
        let cutout = |product: usize| &self.assortment.product(product).image;
        match image {
            ProductImage::Whole(product) => Cow::Borrowed(cutout(product)),
            ProductImage::Masked { product, seed } => Cow::Owned(self.masker.masked(cutout(product), seed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LossConfig;
    use crate::test_policy::{assortment, policy};
    use burn::tensor::Tolerance;

    #[test]
    fn kept_and_fresh_features_are_those_of_each_image_alone() {
        let (policy, assortment) = (Arc::new(policy()), Arc::new(assortment(5)));
        let masker = Masker::new(&LossConfig::default(), &policy.config.vision);
        let one = policy
            .image_features(&[&assortment.product(0).image])
            .unwrap()
            .bytes();
        let mut features = FeatureCache::new(policy.clone(), assortment.clone(), masker, 3 * one + 1);
        let hidden = ProductImage::Masked { product: 1, seed: 9 };
        for (round, kept) in [
            (vec![0, 1], 2),
            (vec![1, 2, 3], 3),
            (vec![4, 0], 3),
            (vec![4, 0, 1, 2], 3),
        ] {
            let mut images: Vec<_> = round.iter().copied().map(ProductImage::Whole).collect();
            images.push(hidden);
            let together = features.of(&images).unwrap();
            for (row, &image) in images.iter().enumerate() {
                let alone = policy
                    .image_features(&[features.picture(image).as_ref()])
                    .unwrap();
                let found = together.select(&[row]).tokens().into_data();
                found.assert_approx_eq::<f32>(&alone.tokens().into_data(), Tolerance::absolute(1e-5));
            }
            assert!(features.kept.len() == kept && features.kept.get(&hidden).is_none());
        }
    }
}
