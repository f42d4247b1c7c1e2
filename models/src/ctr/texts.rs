//! Texts of a batch as one rectangle of token ids, padded on the right.
//!
//! Both reward networks read short texts whose lengths differ. What is padding is known on the host, so every mask and
//! index derives from here and no network looks for a padding id.

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::attention::FORBIDDEN;

/// Token ids of several texts, each cut to a longest length and padded on the right to the longest of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRectangle {
    ids: Vec<i64>,
    lengths: Vec<usize>,
    width: usize,
}

impl TokenRectangle {
    /// Lays out `texts`; of each at most the first `longest` tokens. Padding takes id 0, which nothing ever reads.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a [u32]>, longest: usize) -> Self {
        let texts: Vec<&[u32]> = texts
            .into_iter()
            .map(|text| &text[..text.len().min(longest)])
            .collect();
        let width = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let cells = |text: &&[u32]| {
            let padding = std::iter::repeat_n(0, width - text.len());
            text.iter()
                .map(|&id| i64::from(id))
                .chain(padding)
                .collect::<Vec<_>>()
        };
        Self {
            ids: texts.iter().flat_map(cells).collect(),
            lengths: texts.iter().map(|text| text.len()).collect(),
            width,
        }
    }

    /// Number of texts.
    pub fn rows(&self) -> usize {
        self.lengths.len()
    }

    /// Tokens of the longest text.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Tokens of each text.
    pub fn lengths(&self) -> &[usize] {
        &self.lengths
    }

    /// The ids, row after row.
    ///
    /// # Shapes
    /// `[rows * width]`
    pub(crate) fn ids(&self, device: &Device) -> Tensor<1, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), [self.ids.len()]), device)
    }

    /// Added to attention scores over `before` real positions and then these: nobody looks at padding. `None` when
    /// nothing is padded.
    ///
    /// # Shapes
    /// `[rows, 1, 1, before + width]`
    pub(crate) fn key_bias(&self, before: usize, device: &Device) -> Option<Tensor<4>> {
        if self.lengths.iter().all(|&length| length == self.width) {
            return None;
        }
        let values = self.per_position(before, |_, real| if real { 0.0 } else { FORBIDDEN });
        let shape = [self.rows(), 1, 1, before + self.width];
        Some(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// Weights of the mean over `before` real positions and the real ones of these.
    ///
    /// # Shapes
    /// `[rows, 1, before + width]`
    pub(crate) fn mean_weights(&self, before: usize, device: &Device) -> Tensor<3> {
        let values = self.per_position(
            before,
            |length, real| if real { 1.0 / (before + length) as f32 } else { 0.0 },
        );
        Tensor::from_data(
            TensorData::new(values, [self.rows(), 1, before + self.width]),
            device,
        )
    }

    /// Index of each row's last real position in rows of `before` real positions and then these, flattened.
    ///
    /// # Shapes
    /// `[rows]`
    pub(crate) fn last_positions(&self, before: usize, device: &Device) -> Tensor<1, Int> {
        let total = before + self.width;
        let last = self
            .lengths
            .iter()
            .enumerate()
            .map(|(row, length)| (row * total + before + length - 1) as i64);
        Tensor::from_data(TensorData::new(last.collect::<Vec<_>>(), [self.rows()]), device)
    }

    fn per_position(&self, before: usize, value: impl Fn(usize, bool) -> f32) -> Vec<f32> {
        let cells = |&length: &usize| {
            let value = &value;
            (0..before + self.width).map(move |position| value(length, position < before + length))
        };
        self.lengths.iter().flat_map(cells).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rectangle() -> TokenRectangle {
        TokenRectangle::new([&[7, 8, 9, 10][..], &[], &[5]], 3)
    }

    #[test]
    fn texts_are_cut_and_padded_on_the_right() {
        let texts = rectangle();
        assert_eq!(
            (texts.rows(), texts.width(), texts.lengths()),
            (3, 3, &[3, 0, 1][..])
        );
        assert_eq!(texts.ids, [7, 8, 9, 0, 0, 0, 5, 0, 0]);
    }

    #[test]
    fn padding_has_no_weight_and_each_row_sums_to_one() {
        let weights: Vec<f32> = rectangle()
            .mean_weights(1, &Device::flex())
            .into_data()
            .try_to_vec()
            .unwrap();
        assert_eq!(
            weights,
            [0.25, 0.25, 0.25, 0.25, 1.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0]
        );
    }

    #[test]
    fn last_positions_are_those_of_real_tokens() {
        let last: Vec<i64> = rectangle()
            .last_positions(2, &Device::flex())
            .into_data()
            .iter::<i64>()
            .collect();
        assert_eq!(last, [4, 5 + 1, 10 + 2]);
    }

    #[test]
    fn a_bias_is_made_only_where_something_is_padded() {
        let device = Device::flex();
        assert!(
            TokenRectangle::new([&[1, 2][..], &[3, 4]], 9)
                .key_bias(3, &device)
                .is_none()
        );
        let bias: Vec<f32> = rectangle()
            .key_bias(1, &device)
            .unwrap()
            .into_data()
            .try_to_vec()
            .unwrap();
        let open: Vec<bool> = bias.iter().map(|cell| *cell == 0.0).collect();
        assert_eq!(open[4..], [true, false, false, false, true, true, false, false]);
    }
}
