//! Large pictures part by part, for cards that cannot hold the features of a whole one.

use burn::tensor::{Tensor, TensorData};

use super::{Autoencoder, Latents};
use crate::diffusion::attention::SliceBytes;

/// How a picture is cut. Neighbouring tiles overlap by a quarter and are blended there linearly, as diffusers'
/// `enable_tiling` does; seams are not seen, but pixels differ a little from those of the whole picture, since no tile sees
/// beyond its edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tiles {
    /// Side of a tile in latents, at least 8. diffusers: 64.
    pub latents: usize,
    /// Pixels of a side that make one of the latents.
    pub factor: usize,
}

impl Tiles {
    /// Latents from the beginning of a tile to that of the next.
    fn step(self) -> usize {
        self.latents * 3 / 4
    }

    /// Latents in which two tiles are blended.
    fn overlap(self) -> usize {
        self.latents / 4
    }
}

impl Autoencoder {
    /// [`encode`](Self::encode), tile by tile.
    pub fn encode_tiled(&self, pictures: Tensor<4>, tiles: Tiles, slice: SliceBytes) -> Latents {
        let [_, _, height, width] = pictures.dims();
        if height.max(width) <= tiles.latents * tiles.factor {
            return self.encode(pictures, slice);
        }
        let cut = Cut {
            side: tiles.latents * tiles.factor,
            step: tiles.step() * tiles.factor,
            blended: tiles.overlap(),
            kept: tiles.step(),
        };
        let moments = cut.over(pictures, |tile| {
            let latents = self.encode(tile, slice);
            Tensor::cat(vec![latents.mean, latents.log_variance], 1)
        });
        let channels = moments.dims()[1] / 2;
        Latents {
            mean: moments.clone().narrow(1, 0, channels),
            log_variance: moments.narrow(1, channels, channels),
        }
    }

    /// [`decode`](Self::decode), tile by tile.
    pub fn decode_tiled(&self, latents: Tensor<4>, tiles: Tiles, slice: SliceBytes) -> Tensor<4> {
        let [_, _, height, width] = latents.dims();
        if height.max(width) <= tiles.latents {
            return self.decode(latents, slice);
        }
        let cut = Cut {
            side: tiles.latents,
            step: tiles.step(),
            blended: tiles.overlap() * tiles.factor,
            kept: tiles.step() * tiles.factor,
        };
        cut.over(latents, |tile| self.decode(tile, slice))
    }
}

/// Sizes of tiles before and behind a network.
struct Cut {
    /// Side of a tile before it.
    side: usize,
    /// From one to the next before it.
    step: usize,
    /// What of a tile is blended behind it.
    blended: usize,
    /// What of a tile is kept behind it.
    kept: usize,
}

impl Cut {
    fn over(&self, x: Tensor<4>, network: impl Fn(Tensor<4>) -> Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let tile = |top: usize, left: usize| {
            let (tall, wide) = (self.side.min(height - top), self.side.min(width - left));
            network(x.clone().narrow(2, top, tall).narrow(3, left, wide))
        };
        let mut above: Vec<Tensor<4>> = vec![];
        let mut rows = vec![];
        for top in (0..height).step_by(self.step) {
            let mut row: Vec<Tensor<4>> = vec![];
            for (index, left) in (0..width).step_by(self.step).enumerate() {
                let mut found = tile(top, left);
                if let Some(above) = above.get(index) {
                    found = blend(above, found, 2, self.blended);
                }
                if let Some(before) = row.last() {
                    found = blend(before, found, 3, self.blended);
                }
                row.push(found);
            }
            rows.push(Tensor::cat(row.iter().map(|tile| self.kept(tile)).collect(), 3));
            above = row;
        }
        Tensor::cat(rows, 2)
    }

    /// The upper left part of a tile, up to where the next begins.
    fn kept(&self, tile: &Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = tile.dims();
        let (tall, wide) = (self.kept.min(height), self.kept.min(width));
        tile.clone().narrow(2, 0, tall).narrow(3, 0, wide)
    }
}

/// The beginning of `to` mixed with the end of `from` along a dimension, from all of the one to all of the other.
fn blend(from: &Tensor<4>, to: Tensor<4>, dim: usize, extent: usize) -> Tensor<4> {
    let (length, device) = (to.dims()[dim], to.device());
    let extent = extent.min(from.dims()[dim]).min(length);
    if extent == 0 {
        return to;
    }
    let mut shape = [1; 4];
    shape[dim] = extent;
    let share: Vec<f32> = (0..extent).map(|i| i as f32 / extent as f32).collect();
    let share = Tensor::<4>::from_data(TensorData::new(share, shape), (&device, to.dtype()));
    let end = from.clone().narrow(dim, from.dims()[dim] - extent, extent);
    let beginning = to.clone().narrow(dim, 0, extent);
    let mixed = end * (share.clone().neg() + 1.0) + beginning * share;
    if extent == length {
        return mixed;
    }
    Tensor::cat(vec![mixed, to.narrow(dim, extent, length - extent)], dim)
}
