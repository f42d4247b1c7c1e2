//! Which matrices lie transposed in Hugging Face files.
//!
//! Burn multiplies `x · W` and keeps a linear weight as `[in, out]`; PyTorch multiplies `x · Wᵀ` and keeps
//! `[out, in]`. An embedding table is `[entries, width]` in both. A name's ending decides, by the two tables
//! below and nothing else: guessing from shapes would be silently wrong for every square matrix. A matrix
//! that neither table knows is an error, so that a new layer cannot be exported in the wrong layout
//! unnoticed.

use burn::tensor::{DType, Element, TensorData, bf16, f16};

use super::NamedTensors;
use crate::error::ModelError;

/// Layers whose `weight` is transposed in files: the last part of the path before `.weight`.
const TRANSPOSED: &[&str] = &[
    // Attention: CLIP (q, k, v, out) and Llama (q, k, v, o).
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
    // Feed-forward: CLIP and Llama.
    "fc1",
    "fc2",
    "gate_proj",
    "up_proj",
    "down_proj",
    // LLaVA's projector, in both spellings.
    "linear_1",
    "linear_2",
    "mm_projector.0",
    "mm_projector.2",
    // Output heads: language model; CAIG's reward model (class scores, click-through rates).
    "lm_head",
    "score",
    "sku_ctr_linear_fc.0",
    // Diffusion: attention, transformers, their gated feed-forward block, the embedding of time.
    "to_q",
    "to_k",
    "to_v",
    "to_out.0",
    "proj_in",
    "proj_out",
    "ff.proj",
    "ff.out",
    "time_emb_proj",
    // PEFT adapters: A is [rank, in], B is [out, rank].
    "lora_A",
    "lora_B",
];

/// Layers whose `weight` is a matrix and lies the same way in both.
const AS_IS: &[&str] = &[
    "embed_tokens",
    "position_embedding",
    "token_embedding",
    "token_type_embedding",
];

/// Converts between the modules' layout and that of Hugging Face files; the same call does both ways.
///
/// Only matrices can differ: other ranks pass unchanged.
///
/// # Errors
/// [`ModelError::WeightLayout`] for a matrix that the tables do not know, [`ModelError::WeightDtype`] for one
/// that is not made of floats.
pub fn swap_hf_layout(tensors: NamedTensors) -> Result<NamedTensors, ModelError> {
    let swap = |(name, data): (String, TensorData)| {
        let data = swapped(&name, &data)?.unwrap_or(data);
        Ok((name, data))
    };
    tensors.into_iter().map(swap).collect()
}

/// The same of tensors that stay; copied are only those that lie the same way in both.
///
/// # Errors
/// As [`swap_hf_layout`].
pub(crate) fn in_other_layout(tensors: &NamedTensors) -> Result<NamedTensors, ModelError> {
    let swap = |(name, data): (&String, &TensorData)| {
        let data = swapped(name, data)?.unwrap_or_else(|| data.clone());
        Ok((name.clone(), data))
    };
    tensors.iter().map(swap).collect()
}

/// A tensor in the other layout; `None` when it lies the same way in both.
pub(super) fn swapped(name: &str, data: &TensorData) -> Result<Option<TensorData>, ModelError> {
    match (data.rank(), is_transposed(name)) {
        (2, Some(true)) => transpose(name, data).map(Some),
        (2, None) => Err(ModelError::WeightLayout {
            name: name.to_owned(),
            shape: data.shape().to_vec(),
        }),
        _ => Ok(None),
    }
}

/// A misfit of shapes as a reader of the file sees it: in its layout instead of the modules'.
pub(crate) fn shape_as_in_file(error: ModelError) -> ModelError {
    match error {
        ModelError::WeightShape {
            name,
            mut expected,
            mut found,
        } if is_transposed(&name) == Some(true) => {
            for shape in [&mut expected, &mut found] {
                if shape.len() == 2 {
                    shape.reverse();
                }
            }
            ModelError::WeightShape {
                name,
                expected,
                found,
            }
        }
        other => other,
    }
}

pub(super) fn is_transposed(name: &str) -> Option<bool> {
    let layer = name.strip_suffix(".weight")?;
    let listed = |table: &[&str]| {
        table.iter().any(|suffix| {
            layer
                .strip_suffix(suffix)
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        })
    };
    match (listed(TRANSPOSED), listed(AS_IS)) {
        (true, _) => Some(true),
        (false, true) => Some(false),
        (false, false) => None,
    }
}

fn transpose(name: &str, data: &TensorData) -> Result<TensorData, ModelError> {
    match data.dtype() {
        DType::F32 => transpose_elements::<f32>(name, data),
        DType::BF16 => transpose_elements::<bf16>(name, data),
        DType::F16 => transpose_elements::<f16>(name, data),
        found => Err(ModelError::WeightDtype {
            name: name.to_owned(),
            expected: "F32, BF16 or F16".to_owned(),
            found: format!("{found:?}"),
        }),
    }
}

fn transpose_elements<E: Element>(name: &str, data: &TensorData) -> Result<TensorData, ModelError> {
    let mut to = Vec::with_capacity(data.shape().num_elements());
    let shape = transpose_onto::<E>(name, data, &mut to)?;
    Ok(TensorData::new(to, shape))
}

/// Appends a matrix, transposed, and answers with the shape that it has then. Block by block, so that both the rows read and the rows
/// written stay in the cache.
pub(super) fn transpose_onto<E: Element>(
    name: &str,
    data: &TensorData,
    to: &mut Vec<E>,
) -> Result<[usize; 2], ModelError> {
    const BLOCK: usize = 32;
    let (rows, columns) = (data.shape()[0], data.shape()[1]);
    let from = data.as_slice::<E>().map_err(|source| ModelError::WeightData {
        name: name.to_owned(),
        source,
    })?;
    let begin = to.len();
    to.extend_from_slice(from);
    let to = &mut to[begin..];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_column in (0..columns).step_by(BLOCK) {
            for row in first_row..rows.min(first_row + BLOCK) {
                for column in first_column..columns.min(first_column + BLOCK) {
                    to[column * rows + row] = from[row * columns + column];
                }
            }
        }
    }
    Ok([columns, rows])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, data: TensorData) -> NamedTensors {
        NamedTensors::from([(name.to_owned(), data)])
    }

    #[test]
    fn a_linear_weight_is_transposed_and_a_second_swap_undoes_it() {
        let name = "model.layers.0.self_attn.q_proj.weight";
        let ours = one(name, TensorData::from([[1.0f32, 2.0, 3.0], [4.0, 5.0, 6.0]]));
        let theirs = swap_hf_layout(ours.clone()).unwrap();
        assert_eq!(
            theirs[name],
            TensorData::from([[1.0f32, 4.0], [2.0, 5.0], [3.0, 6.0]])
        );
        assert_eq!(swap_hf_layout(theirs).unwrap(), ours);
    }

    #[test]
    fn blocks_at_the_edge_are_transposed_too() {
        let (rows, columns) = (65, 33);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let theirs = swap_hf_layout(one("fc1.weight", TensorData::new(values, [rows, columns]))).unwrap();
        let transposed = theirs["fc1.weight"].as_slice::<f32>().unwrap();
        for row in 0..rows {
            for column in 0..columns {
                assert_eq!(transposed[column * rows + row], (row * columns + column) as f32);
            }
        }
    }

    #[test]
    fn embeddings_biases_and_convolutions_pass_unchanged() {
        let same = NamedTensors::from([
            (
                "model.embed_tokens.weight".into(),
                TensorData::zeros::<f32, _>([7, 4]),
            ),
            ("a.q_proj.bias".into(), TensorData::zeros::<f32, _>([7])),
            (
                "patch_embedding.weight".into(),
                TensorData::zeros::<f32, _>([8, 3, 2, 2]),
            ),
        ]);
        assert_eq!(swap_hf_layout(same.clone()).unwrap(), same);
    }

    #[test]
    fn a_matrix_without_a_rule_is_refused_with_its_name() {
        for name in ["head.weight", "xq_proj.weight", "q_proj.bias", "q_proj"] {
            let error = swap_hf_layout(one(name, TensorData::zeros::<f32, _>([2, 2]))).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
