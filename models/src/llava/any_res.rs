//! From the features of an image's tiles to the tokens that the language model reads ("LLaVA-NeXT", `anyres` with
//! `spatial_unpad`): the first tile as it is, then the others as one map, row after row, without the rows and columns that
//! show padding, each row closed by the newline.

use burn::module::Param;
use burn::tensor::Tensor;

use super::Llava;
use crate::processor::Grid;

impl Llava {
    /// # Shapes
    /// `[1 + rows * columns, side * side, hidden]` -> `[tokens, hidden]`
    ///
    /// # Panics
    /// When the model has no newline.
    pub(super) fn join_tiles(&self, tiles: Tensor<3>, grid: &Grid) -> Tensor<2> {
        let [count, patches, hidden] = tiles.dims();
        let side = patches.isqrt();
        let first: Tensor<2> = tiles.clone().narrow(0, 0, 1).reshape([patches, hidden]);
        let (rows, columns) = grid.kept(side);
        if rows.is_empty() {
            return first;
        }
        let map = tiles
            .narrow(0, 1, count - 1)
            .reshape([grid.rows, grid.columns, side, side, hidden])
            .permute([0, 2, 1, 3, 4])
            .reshape([grid.rows * side, grid.columns * side, hidden])
            .narrow(0, rows.start, rows.len());
        let newline = self.image_newline.as_ref().map(Param::val);
        let newline = newline.expect("a model that reads tiles has a newline");
        let newlines: Tensor<3> = newline.reshape([1, 1, hidden]).expand([rows.len(), 1, hidden]);
        let lines = match columns.len() {
            0 => newlines,
            width => Tensor::cat(vec![map.narrow(1, columns.start, width), newlines], 1),
        };
        let lines = lines.reshape([rows.len() * (columns.len() + 1), hidden]);
        Tensor::cat(vec![first, lines], 0)
    }
}
