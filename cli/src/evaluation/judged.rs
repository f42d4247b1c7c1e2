//! What becomes of descriptions: their images, and what the reward model says of those.

use super::Evaluator;
use anyhow::{Context as _, ensure};
use image::RgbImage;
use models::policy::Completion;
use models::sampling::Finish;
use reward_server::CreativeGroup;

/// A completion with what became of it.
pub(super) struct Judged {
    pub(super) subject: usize,
    pub(super) completion: Completion,
    /// `None` where the description gave no image.
    creative: Option<RgbImage>,
    pub(super) defects: u32,
    /// Of the image.
    pub(super) reward: Option<f64>,
}

impl Evaluator {
    /// Renders and scores what was sampled, all samples of a subject one after the other.
    ///
    /// # Errors
    /// When a group as a whole cannot be rendered or scored.
    pub(super) fn judge(&mut self, completions: Vec<Completion>) -> anyhow::Result<Vec<Judged>> {
        let mut judged = self.rendered(completions)?;
        let samples = self.settings.samples;
        let anchors = self.anchors.get_or_insert_with(|| {
            let first = |group: &[Judged]| group.iter().find_map(|judged| judged.creative.clone());
            judged.chunks(samples).map(first).collect()
        });
        let products = self.shop.catalogue.products();
        let groups: Vec<CreativeGroup> = judged
            .chunks(samples)
            .zip(anchors.iter())
            .map(|(group, anchor)| CreativeGroup {
                caption: products[self.subjects[group[0].subject].product].caption.clone(),
                creatives: group
                    .iter()
                    .filter_map(|judged| judged.creative.clone())
                    .chain(anchor.clone())
                    .collect(),
            })
            .collect();
        // A model that only compares centres every group on 0: there, the first version's image is the zero.
        let compares = self.reward.compares();
        let (there, groups): (Vec<usize>, Vec<CreativeGroup>) = groups
            .into_iter()
            .enumerate()
            .filter(|(_, group)| !group.creatives.is_empty())
            .unzip();
        let scores = self.reward.score_groups(&groups, self.settings.score_batch);
        for (at, scores) in there.into_iter().zip(scores) {
            let rewards = scores
                .context("the evaluation's creatives cannot be scored")?
                .rewards;
            let zero = match (compares, &anchors[at]) {
                (false, _) => Some(0.0),
                (true, Some(_)) => rewards.last().copied(),
                (true, None) => None,
            };
            let group = &mut judged[at * samples..][..samples];
            let pictured = group.iter_mut().filter(|judged| judged.creative.is_some());
            for (judged, reward) in pictured.zip(rewards) {
                judged.reward = zero.map(|zero| reward - zero);
            }
        }
        Ok(judged)
    }

    /// The completions with their images.
    fn rendered(&self, completions: Vec<Completion>) -> anyhow::Result<Vec<Judged>> {
        let mut judged = Vec::with_capacity(completions.len());
        for (at, of_subject) in completions.chunks(self.settings.samples).enumerate() {
            let subject = &self.subjects[at];
            let product = self.product(subject);
            for group in of_subject.chunks(self.settings.group) {
                let texts: Vec<String> = group.iter().map(|completion| completion.text.clone()).collect();
                let images = self
                    .shop
                    .generator
                    .generate(&product.image, &texts, subject.noise_seed);
                let images = images.with_context(|| format!("product {}", product.id))?;
                ensure!(
                    images.len() == group.len(),
                    "product {}: {} images of {} descriptions",
                    product.id,
                    images.len(),
                    group.len()
                );
                judged.extend(group.iter().zip(images).map(|(completion, image)| {
                    // A description that did not end, or gives no image, is one that an actor would not offer either.
                    let unfinished = u32::from(completion.finish == Finish::Length);
                    let (creative, defects) = match image {
                        Ok(image) => (Some(image.image), image.defects),
                        Err(_) => (None, 1),
                    };
                    Judged {
                        subject: at,
                        completion: completion.clone(),
                        creative,
                        defects: defects + unfinished,
                        reward: None,
                    }
                }));
            }
        }
        Ok(judged)
    }
}
