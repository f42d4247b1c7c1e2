//! Keys and values of the positions already seen, so that decoding computes one position at a time.
//!
//! Buffers are allocated once for the whole length. A write goes into a buffer that nobody else holds, which the CPU
//! backend does in place; a shared buffer would be copied at every token.

use burn::tensor::{DType, Device, Int, Tensor};

/// Shape of a [`KvCache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvCacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// Rows of the batch.
    pub rows: usize,
    /// Key-value heads.
    pub heads: usize,
    /// Positions it can hold.
    pub capacity: usize,
    /// Width of a head.
    pub width: usize,
}

/// The cache of every layer of one batch.
#[derive(Debug)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    length: usize,
    capacity: usize,
}

#[derive(Debug)]
struct LayerCache {
    /// `[rows, heads, capacity, width]`; `None` only while being written.
    keys: Option<Tensor<4>>,
    values: Option<Tensor<4>>,
}

impl KvCache {
    /// An empty cache.
    pub fn new(shape: KvCacheShape, dtype: DType, device: &Device) -> Self {
        let buffer = || {
            Some(Tensor::zeros(
                [shape.rows, shape.heads, shape.capacity, shape.width],
                (device, dtype),
            ))
        };
        let layers = (0..shape.layers).map(|_| LayerCache {
            keys: buffer(),
            values: buffer(),
        });
        Self {
            layers: layers.collect(),
            length: 0,
            capacity: shape.capacity,
        }
    }

    /// Positions held.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Positions it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Writes the keys and values of new positions of `layer` behind those held and returns all of them. The length
    /// moves when [`advance`](Self::advance) is called, after the last layer.
    ///
    /// # Shapes
    /// `[rows, heads, new, width]` -> `[rows, heads, length + new, width]`
    pub(crate) fn extend(
        &mut self,
        layer: usize,
        keys: Tensor<4>,
        values: Tensor<4>,
    ) -> (Tensor<4>, Tensor<4>) {
        let start = self.length;
        let layer = &mut self.layers[layer];
        (
            write(&mut layer.keys, start, keys),
            write(&mut layer.values, start, values),
        )
    }

    /// Counts `new` positions that every layer has written.
    pub(crate) fn advance(&mut self, new: usize) {
        self.length += new;
    }

    /// A cache whose row `i` is this one's row `rows[i]`: completions of one prompt share its prefill.
    pub fn select_rows(self, rows: &Tensor<1, Int>) -> Self {
        let select = |buffer: Option<Tensor<4>>| buffer.map(|buffer| buffer.select(0, rows.clone()));
        let layers = self.layers.into_iter().map(|layer| LayerCache {
            keys: select(layer.keys),
            values: select(layer.values),
        });
        Self {
            layers: layers.collect(),
            length: self.length,
            capacity: self.capacity,
        }
    }
}

fn write(buffer: &mut Option<Tensor<4>>, start: usize, new: Tensor<4>) -> Tensor<4> {
    let [rows, heads, count, width] = new.dims();
    let held = buffer.take().expect("a buffer is put back by every write");
    let held = held.slice_assign([0..rows, 0..heads, start..start + count, 0..width], new);
    let all = held.clone().narrow(2, 0, start + count);
    *buffer = Some(held);
    all
}
