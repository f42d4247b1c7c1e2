//! Scaled dot-product attention by hand, and the masks that go with it.
//!
//! Burn's own `attention` is not used: under autodiff it falls back to more tensor operations than these, and its
//! gradient passes through the row maximum.

use burn::tensor::{DType, Device, Tensor, TensorData, activation};

/// Added to the score of a forbidden pair. Finite, so that a row with nothing to look at (padding) gives a mean and
/// not a NaN, and small enough for f16.
pub const FORBIDDEN: f32 = -3.0e4;

/// `softmax(q kᵀ + bias) v` ("Attention is all you need", [arXiv 1706.03762](https://arxiv.org/abs/1706.03762), eq. 1);
/// the caller has already scaled `q` by `1 / sqrt(head width)`. The softmax is taken in f32.
///
/// # Shapes
/// - `q`: `[rows, heads, queries, width]`
/// - `k`, `v`: `[rows, heads, keys, width]`
/// - `bias`: broadcastable to `[rows, heads, queries, keys]`
/// - output: `[rows, heads, queries, width]`
pub fn attend(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, bias: Option<Tensor<4>>) -> Tensor<4> {
    let scores = q.matmul(k.swap_dims(2, 3));
    let scores = match bias {
        Some(bias) => scores + bias,
        None => scores,
    };
    activation::softmax(scores.cast(DType::F32), 3)
        .cast(v.dtype())
        .matmul(v)
}

/// `[rows, length, heads * width]` -> `[rows, heads, length, width]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [rows, length, width] = x.dims();
    x.reshape([rows, length, heads, width / heads]).swap_dims(1, 2)
}

/// `[rows, heads, length, width]` -> `[rows, length, heads * width]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [rows, heads, length, width] = x.dims();
    x.swap_dims(1, 2).reshape([rows, length, heads * width])
}

/// Bias of causal attention over left-padded rows: position `i` of a row sees `j` when `padding <= j <= i`.
///
/// `padding[row]` counts the positions before the row begins. Two small tensors are uploaded and added on the device.
///
/// # Shapes
/// `[rows, 1, length, length]`, or `[1, 1, length, length]` when no row is padded
pub fn causal_bias(padding: &[usize], length: usize, device: &Device) -> Tensor<4> {
    let causal = (0..length * length)
        .map(|cell| {
            if cell % length > cell / length {
                FORBIDDEN
            } else {
                0.0
            }
        })
        .collect::<Vec<f32>>();
    let causal = Tensor::from_data(TensorData::new(causal, [1, 1, length, length]), device);
    match padding_bias(padding, length, device) {
        Some(padding) => causal + padding,
        None => causal,
    }
}

/// Bias that hides the first `padding[row]` of `length` keys from every query; `None` when no row is padded.
///
/// # Shapes
/// `[rows, 1, 1, length]`
pub fn padding_bias(padding: &[usize], length: usize, device: &Device) -> Option<Tensor<4>> {
    if padding.iter().all(|&count| count == 0) {
        return None;
    }
    let hidden = padding
        .iter()
        .flat_map(|&count| (0..length).map(move |key| if key < count { FORBIDDEN } else { 0.0 }))
        .collect::<Vec<f32>>();
    Some(Tensor::from_data(
        TensorData::new(hidden, [padding.len(), 1, 1, length]),
        device,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_sees_its_own_past_and_no_padding() {
        let bias = causal_bias(&[0, 1], 3, &Device::flex()).into_data();
        let open: Vec<bool> = bias.iter::<f32>().map(|cell| cell == 0.0).collect();
        let (yes, no) = (true, false);
        assert_eq!(open[..9], [yes, no, no, yes, yes, no, yes, yes, yes]);
        assert_eq!(open[9..], [no, no, no, no, yes, no, no, yes, yes]);
    }

    #[test]
    fn a_query_with_nothing_to_see_gives_no_nan() {
        let device = Device::flex();
        let one = Tensor::<4>::ones([2, 1, 2, 4], &device);
        let bias = causal_bias(&[0, 2], 2, &device);
        let output = attend(one.clone(), one.clone(), one, Some(bias));
        assert!(output.into_data().iter::<f32>().all(f32::is_finite));
    }

    #[test]
    fn heads_split_and_merge_without_loss() {
        let x = Tensor::<1, burn::tensor::Int>::arange(0..24, &Device::flex())
            .float()
            .reshape([2, 3, 4]);
        assert_eq!(merge_heads(split_heads(x.clone(), 2)).into_data(), x.into_data());
    }
}
