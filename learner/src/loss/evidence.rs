//! The evidence: how far each token of the chosen completion speaks for its own product, by the reference.
//!
//! The product-centric term asks for a difference of two log-probabilities of the same completion, and any of its tokens can bring that: those
//! that would stand in a description of either product, such as a kind of light, as well as those that name what only one of them is seen
//! with. What the former bring keeps no description about its product, and where the chosen completion itself is about another one, raising
//! it makes things worse. The reference tells them apart: it was trained on descriptions and what they are of.

use burn::tensor::{Device, Tensor, TensorData};

/// What each token of one completion speaks for its product, 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Evidence(Vec<f32>);

impl Evidence {
    /// By the reference's log-probabilities of the tokens with the own product, and with the negative's.
    pub(crate) fn of(own: &[f64], negative: &[f64]) -> Self {
        let tokens = own.iter().zip(negative);
        Self(
            tokens
                .map(|(own, negative)| of_token(*own, *negative) as f32)
                .collect(),
        )
    }

    /// That of some completions, 0 where they are padded to `length`.
    ///
    /// # Shapes
    /// `[completions, length]`
    pub(crate) fn table(of: &[&Self], length: usize, device: &Device) -> Tensor<2> {
        let mut cells = vec![0.0; of.len() * length];
        for (Self(tokens), row) in of.iter().zip(cells.chunks_mut(length)) {
            row[..tokens.len()].copy_from_slice(tokens);
        }
        Tensor::from_data(TensorData::new(cells, [of.len(), length]), device)
    }
}

/// `max(0, (p - q) / (p + q))` of a token, given the logarithms of its probabilities under the reference: `p` with the own product and `q` with
/// the negative's, after the same tokens. 1 for a token that only the own product would bring, 0 for one that the other is as likely to bring.
fn of_token(own: f64, negative: f64) -> f64 {
    ((own - negative) / 2.0).tanh().max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_speaks_for_its_product_by_how_much_likelier_it_is_there() {
        for (p, q, expected) in [
            (0.4, 0.1, 0.6),
            (0.9, 1e-12, 1.0),
            (0.3, 0.3, 0.0),
            (0.1, 0.4, 0.0),
            (1e-300, 1e-12, 0.0),
        ] {
            let found = of_token(f64::ln(p), f64::ln(q));
            assert!((found - expected).abs() < 1e-9, "{p} {q}: {found}");
        }
        assert_eq!(of_token(-1e4, 0.0), 0.0);
        assert_eq!(of_token(0.0, -1e4), 1.0);
    }

    #[test]
    fn what_stands_behind_a_completion_speaks_for_nothing() {
        let evidence = [[0.0, -1.0].as_slice(), &[0.0]].map(|own| Evidence::of(own, &[-1e4, 0.0]));
        let table = Evidence::table(&evidence.each_ref(), 3, &Device::flex());
        let expected = TensorData::from([[1.0f32, 0.0, 0.0], [1.0, 0.0, 0.0]]);
        table.into_data().assert_eq(&expected, true);
    }
}
