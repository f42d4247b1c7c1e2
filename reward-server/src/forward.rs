//! One pass of a reward network that was trained here over groups of creatives, in chunks of bounded size: what both
//! serving and calibrating stand on.

use crate::orientation::{OrientedMargins, ordered_pairs};
use crate::served::RawScores;
use burn::tensor::{Device, Int, Tensor, TensorData};
use models::ctr::{Concat, CtrNetwork, RewardModel, Siamese};

/// One group as a network reads it; a creative is its pixels unless the network wants something else.
#[derive(Debug, Clone)]
pub(crate) struct NetworkInput<Creative = Vec<f32>> {
    /// Ids of the caption, or of caption and question.
    pub(crate) text: Vec<u32>,
    /// The creatives.
    pub(crate) creatives: Vec<Creative>,
}

/// The same, owned by somebody else.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InputView<'a> {
    pub(crate) text: &'a [u32],
    pub(crate) creatives: &'a [Vec<f32>],
}

impl NetworkInput {
    /// This input, to be read.
    pub(crate) fn view(&self) -> InputView<'_> {
        InputView {
            text: &self.text,
            creatives: &self.creatives,
        }
    }
}

/// Runs the network over `groups`; at most `max_batch` creatives, or ordered pairs of creatives, in one pass.
pub(crate) fn raw_scores(model: &RewardModel, groups: &[InputView<'_>], max_batch: usize) -> Vec<RawScores> {
    match &model.network {
        CtrNetwork::Siamese(network) => siamese(model, network, groups, max_batch),
        CtrNetwork::Concat(network) => concat(model, network, groups, max_batch),
    }
}

fn siamese(
    model: &RewardModel,
    network: &Siamese,
    groups: &[InputView<'_>],
    max_batch: usize,
) -> Vec<RawScores> {
    let creatives = flatten(groups);
    let mut scores = creatives.chunks(max_batch).flat_map(|chunk| {
        let texts = model.rectangle(chunk.iter().map(|(group, _)| groups[*group].text));
        let scores = network.forward(pixels(model, groups, chunk), &texts, None);
        scores.into_data().iter::<f64>().collect::<Vec<_>>()
    });
    let group_scores = |group: &InputView<'_>| {
        let scores: Vec<f64> = scores.by_ref().take(group.creatives.len()).collect();
        RawScores {
            margins: OrientedMargins::new(scores.len(), |a, b| scores[a] - scores[b]),
            scores,
        }
    };
    groups.iter().map(group_scores).collect()
}

fn concat(
    model: &RewardModel,
    network: &Concat,
    groups: &[InputView<'_>],
    max_batch: usize,
) -> Vec<RawScores> {
    let creatives = flatten(groups);
    if creatives.is_empty() {
        return groups.iter().map(|_| empty()).collect();
    }
    let features = creatives
        .chunks(max_batch)
        .map(|chunk| network.encode_images(pixels(model, groups, chunk)));
    let features = Tensor::cat(features.collect(), 0);
    let ordered = group_pairs(groups);
    let mut margins = ordered.chunks(max_batch).flat_map(|chunk| {
        let side = |index: fn(&OrderedPair) -> usize| {
            features
                .clone()
                .select(0, indices(chunk.iter().map(index), &model.network.device()))
        };
        let texts = model.rectangle(chunk.iter().map(|pair| groups[pair.group].text));
        let prediction = network.compare(side(|pair| pair.left), side(|pair| pair.right), &texts);
        let logits: Vec<f64> = prediction.logits.into_data().iter::<f64>().collect();
        logits.chunks(2).map(|pair| pair[0] - pair[1]).collect::<Vec<_>>()
    });
    let group_scores = |group: &InputView<'_>| {
        let margins = OrientedMargins::of_ordered(group.creatives.len(), margins.by_ref());
        RawScores {
            scores: margins.scores(),
            margins,
        }
    };
    groups.iter().map(group_scores).collect()
}

fn empty() -> RawScores {
    RawScores {
        scores: vec![],
        margins: OrientedMargins::new(0, |_, _| 0.0),
    }
}

/// Two creatives of one group in one order, as indices into the list of all creatives.
struct OrderedPair {
    group: usize,
    left: usize,
    right: usize,
}

/// The ordered pairs of every group, group by group.
fn group_pairs(groups: &[InputView<'_>]) -> Vec<OrderedPair> {
    let mut first = 0;
    let mut pairs = vec![];
    for (group, input) in groups.iter().enumerate() {
        let placed = |(left, right)| OrderedPair {
            group,
            left: first + left,
            right: first + right,
        };
        pairs.extend(ordered_pairs(input.creatives.len()).map(placed));
        first += input.creatives.len();
    }
    pairs
}

/// Every creative as its group and its place there.
fn flatten(groups: &[InputView<'_>]) -> Vec<(usize, usize)> {
    let of_group = |(group, input): (usize, &InputView<'_>)| {
        (0..input.creatives.len())
            .map(move |creative| (group, creative))
            .collect::<Vec<_>>()
    };
    groups.iter().enumerate().flat_map(of_group).collect()
}

fn pixels(model: &RewardModel, groups: &[InputView<'_>], creatives: &[(usize, usize)]) -> Tensor<4> {
    let parts: Vec<&[f32]> = creatives
        .iter()
        .map(|&(group, creative)| &groups[group].creatives[creative][..])
        .collect();
    model.pixel_tensor(parts.concat(), creatives.len())
}

fn indices(values: impl Iterator<Item = usize>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i64> = values.map(|value| value as i64).collect();
    let count = values.len();
    Tensor::from_data(TensorData::new(values, [count]), device)
}
