//! PyTorch's normal random numbers on a CPU, so that a seed gives the same noise here as in diffusers.
//!
//! `torch.Generator("cpu")` is a Mersenne Twister ("Mersenne twister: a 623-dimensionally equidistributed uniform
//! pseudo-random number generator", 1998) seeded with the low 32 bits of its seed. `torch.randn` fills a tensor of at least 16
//! numbers in blocks of 16: eight radii and eight angles of Box and Muller's method, cosines before sines; a smaller one in
//! pairs, in f64.

use burn::tensor::{Device, Tensor, TensorData};

const WORDS: usize = 624;
const AHEAD: usize = 397;
const BLOCK: usize = 16;

/// A stream of normal random numbers. One picture draws all its noise from one.
#[derive(Debug, Clone)]
pub struct NoiseStream {
    words: [u32; WORDS],
    next: usize,
    spare: Option<f64>,
}

impl NoiseStream {
    /// `torch.Generator("cpu").manual_seed(seed)`.
    pub fn new(seed: u64) -> Self {
        let mut words = [0u32; WORDS];
        // The low half only, as PyTorch.
        words[0] = seed as u32;
        for i in 1..WORDS {
            let before = words[i - 1];
            words[i] = 1_812_433_253u32
                .wrapping_mul(before ^ (before >> 30))
                .wrapping_add(i as u32);
        }
        Self {
            words,
            next: WORDS,
            spare: None,
        }
    }

    /// `torch.randn(shape, generator=..)`, in f32.
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], device: &Device) -> Tensor<D> {
        let values = self.draw(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), device)
    }

    fn draw(&mut self, count: usize) -> Vec<f32> {
        if count < BLOCK {
            return (0..count).map(|_| self.single() as f32).collect();
        }
        let mut values: Vec<f32> = (0..count).map(|_| self.uniform()).collect();
        let whole = count - count % BLOCK;
        values[..whole].chunks_exact_mut(BLOCK).for_each(box_muller);
        if whole < count {
            // The last block is drawn anew, over what is there.
            let last = &mut values[count - BLOCK..];
            last.fill_with(|| self.uniform());
            box_muller(last);
        }
        values
    }

    /// One number of a small tensor; they are made in pairs, the second of which waits for the next tensor where it has to.
    fn single(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (angle, share) = (std::f64::consts::TAU * self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-share).ln_1p()).sqrt();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// 53 random bits as a number from 0 to below 1.
    fn uniform_f64(&mut self) -> f64 {
        let bits = u64::from(self.word()) << 32 | u64::from(self.word());
        (bits & ((1 << 53) - 1)) as f64 / (1u64 << 53) as f64
    }

    /// 24 random bits as a number from 0 to below 1.
    fn uniform(&mut self) -> f32 {
        (self.word() & 0x00ff_ffff) as f32 / (1 << 24) as f32
    }

    fn word(&mut self) -> u32 {
        if self.next == WORDS {
            self.twist();
        }
        let mut word = self.words[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for i in 0..WORDS {
            let mixed = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % WORDS] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.words[i] = self.words[(i + AHEAD) % WORDS] ^ (mixed >> 1) ^ odd;
        }
        self.next = 0;
    }
}

/// 16 uniform numbers to 16 normal ones.
fn box_muller(block: &mut [f32]) {
    let (radii, angles) = block.split_at_mut(BLOCK / 2);
    for (first, second) in radii.iter_mut().zip(angles) {
        // From (0, 1], whose logarithm is finite.
        let radius = (-2.0 * (1.0 - *first).ln()).sqrt();
        let angle = std::f32::consts::TAU * *second;
        (*first, *second) = (radius * angle.cos(), radius * angle.sin());
    }
}
