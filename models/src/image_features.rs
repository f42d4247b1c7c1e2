//! What a language model reads of some images: a stretch of tokens for each, not all of one length.

use std::iter;

use burn::tensor::{Device, Int, Tensor, TensorData};

/// The tokens of images, one image after the other.
#[derive(Debug, Clone)]
pub struct ImageFeatures {
    /// `[tokens of all images, hidden]`.
    tokens: Tensor<2>,
    /// How many tokens each image has.
    lengths: Vec<usize>,
}

impl ImageFeatures {
    /// The features of images with `lengths` tokens.
    ///
    /// # Shapes
    /// `tokens`: `[sum of lengths, hidden]`
    ///
    /// # Panics
    /// When the tokens are more or fewer than the images have.
    pub fn new(tokens: Tensor<2>, lengths: Vec<usize>) -> Self {
        assert_eq!(
            tokens.dims()[0],
            lengths.iter().sum::<usize>(),
            "every token belongs to an image"
        );
        Self { tokens, lengths }
    }

    /// Those of images of one length.
    ///
    /// # Shapes
    /// `[images, tokens, hidden]`
    pub fn of_one_length(features: Tensor<3>) -> Self {
        let [images, length, hidden] = features.dims();
        Self {
            tokens: features.reshape([images * length, hidden]),
            lengths: vec![length; images],
        }
    }

    /// Several sets in a row.
    ///
    /// # Panics
    /// When there is none.
    pub fn cat(parts: Vec<Self>) -> Self {
        let lengths = parts
            .iter()
            .flat_map(|part| part.lengths.iter().copied())
            .collect();
        let tokens = parts.into_iter().map(|part| part.tokens).collect();
        Self {
            tokens: Tensor::cat(tokens, 0),
            lengths,
        }
    }

    /// The images at these places, in this order.
    #[must_use]
    pub fn select(&self, images: &[usize]) -> Self {
        let starts: Vec<usize> = iter::once(0)
            .chain(self.lengths.iter().scan(0, |end, length| {
                *end += length;
                Some(*end)
            }))
            .collect();
        let rows = images
            .iter()
            .flat_map(|&image| (starts[image]..starts[image + 1]).map(|row| row as i64));
        let rows: Vec<i64> = rows.collect();
        let count = rows.len();
        let rows: Tensor<1, Int> = Tensor::from_data(TensorData::new(rows, [count]), &self.device());
        Self {
            tokens: self.tokens.clone().select(0, rows),
            lengths: images.iter().map(|&image| self.lengths[image]).collect(),
        }
    }

    /// How many tokens each image has.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The tokens of all images.
    ///
    /// # Shapes
    /// `[sum of lengths, hidden]`
    pub fn tokens(&self) -> Tensor<2> {
        self.tokens.clone()
    }

    /// What the tokens take, in bytes.
    pub fn bytes(&self) -> usize {
        self.tokens.dims().iter().product::<usize>() * self.tokens.dtype().size()
    }

    /// The same outside any autodiff graph.
    #[must_use]
    pub fn without_autodiff(self) -> Self {
        Self {
            tokens: self.tokens.without_autodiff(),
            lengths: self.lengths,
        }
    }

    /// Where the tokens lie.
    pub fn device(&self) -> Device {
        self.tokens.device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn features(lengths: &[usize]) -> ImageFeatures {
        let count = lengths.iter().sum::<usize>();
        let tokens = Tensor::<1, Int>::arange(0..2 * count as i64, &Device::flex()).float();
        ImageFeatures::new(tokens.reshape([count, 2]), lengths.to_vec())
    }

    fn first_column(features: &ImageFeatures) -> Vec<f32> {
        features.tokens().narrow(1, 0, 1).into_data().iter().collect()
    }

    #[test]
    fn images_of_any_length_are_taken_in_any_order_and_more_than_once() {
        let taken = features(&[1, 3, 2]).select(&[2, 0, 2]);
        assert_eq!(taken.lengths(), [2, 1, 2]);
        assert_eq!(first_column(&taken), [8.0, 10.0, 0.0, 8.0, 10.0]);
    }

    #[test]
    fn sets_in_a_row_keep_their_images() {
        let both = ImageFeatures::cat(vec![features(&[1, 2]), features(&[2])]);
        assert_eq!(both.lengths(), [1, 2, 2]);
        assert_eq!(first_column(&both), [0.0, 2.0, 4.0, 0.0, 2.0]);
    }
}
