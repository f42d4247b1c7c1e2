//! What products of each category look like.

use super::shape::{Layer, arch, base, ellipse, flat, line, polygon, rect, ring};

const CREAM: [u8; 3] = [250, 244, 230];
const INK: [u8; 3] = [44, 40, 44];
const BRASS: [u8; 3] = [214, 172, 84];
const SILVER: [u8; 3] = [206, 210, 218];

/// The drawing of each category, in the order of the vocabulary.
pub(super) const SILHOUETTES: [&[Layer]; 8] = [
    CABINET, BOTTLE, COFFEE_BAG, HEADPHONES, SNEAKER, TEDDY, BACKPACK, WATCH,
];

const CABINET: &[Layer] = &[
    base(rect(-0.66, 0.86, 0.07, 0.12, 0.03), 0.5),
    base(rect(0.66, 0.86, 0.07, 0.12, 0.03), 0.5),
    base(rect(0.0, 0.0, 0.82, 0.8, 0.05), 0.82),
    base(rect(0.0, -0.84, 0.92, 0.1, 0.04), 0.6),
    base(rect(0.0, -0.47, 0.7, 0.2, 0.04), 1.1),
    base(rect(0.0, 0.02, 0.7, 0.2, 0.04), 1.1),
    base(rect(0.0, 0.51, 0.7, 0.2, 0.04), 1.1),
    flat(rect(0.0, -0.47, 0.14, 0.045, 0.04), BRASS),
    flat(rect(0.0, 0.02, 0.14, 0.045, 0.04), BRASS),
    flat(rect(0.0, 0.51, 0.14, 0.045, 0.04), BRASS),
];

const BOTTLE: &[Layer] = &[
    flat(rect(-0.2, -0.84, 0.34, 0.08, 0.06), SILVER),
    flat(rect(0.0, -0.72, 0.09, 0.16, 0.02), SILVER),
    flat(rect(0.0, -0.52, 0.22, 0.1, 0.04), SILVER),
    base(rect(0.0, 0.26, 0.52, 0.72, 0.2), 1.0),
    flat(rect(0.0, 0.34, 0.36, 0.34, 0.06), CREAM),
    base(ellipse(0.0, 0.25, 0.13, 0.13), 0.9),
    base(rect(0.0, 0.52, 0.24, 0.035, 0.02), 0.9),
];

const COFFEE_BAG: &[Layer] = &[
    base(
        polygon(&[[-0.56, -0.74], [0.56, -0.74], [0.7, 0.96], [-0.7, 0.96]]),
        1.0,
    ),
    base(rect(0.0, -0.8, 0.6, 0.14, 0.04), 0.62),
    flat(ellipse(0.0, 0.22, 0.42, 0.42), CREAM),
    flat(ellipse(0.0, 0.22, 0.2, 0.29), [104, 64, 38]),
    flat(line(0.03, -0.02, -0.03, 0.46, 0.035), CREAM),
];

const HEADPHONES: &[Layer] = &[
    base(arch(0.0, 0.0, 0.78, 0.13), 0.72),
    base(rect(-0.78, 0.14, 0.1, 0.2, 0.04), 0.72),
    base(rect(0.78, 0.14, 0.1, 0.2, 0.04), 0.72),
    flat(rect(-0.52, 0.46, 0.12, 0.38, 0.1), INK),
    flat(rect(0.52, 0.46, 0.12, 0.38, 0.1), INK),
    base(rect(-0.74, 0.46, 0.22, 0.44, 0.16), 1.0),
    base(rect(0.74, 0.46, 0.22, 0.44, 0.16), 1.0),
    flat(line(-0.78, 0.26, -0.78, 0.66, 0.04), SILVER),
    flat(line(0.78, 0.26, 0.78, 0.66, 0.04), SILVER),
];

const SNEAKER: &[Layer] = &[
    base(
        polygon(&[
            [-0.92, 0.42],
            [-0.97, -0.36],
            [-0.8, -0.56],
            [-0.6, -0.4],
            [-0.3, -0.52],
            [-0.02, -0.22],
            [0.3, -0.02],
            [0.74, 0.06],
            [0.94, 0.24],
            [0.96, 0.42],
        ]),
        1.0,
    ),
    base(
        polygon(&[
            [-0.95, 0.0],
            [-0.97, -0.36],
            [-0.8, -0.56],
            [-0.66, -0.45],
            [-0.68, 0.1],
        ]),
        0.68,
    ),
    flat(line(-0.26, -0.36, -0.42, -0.14, 0.04), CREAM),
    flat(line(-0.1, -0.22, -0.26, 0.0, 0.04), CREAM),
    flat(line(0.08, -0.08, -0.08, 0.14, 0.04), CREAM),
    flat(rect(0.0, 0.5, 0.98, 0.15, 0.11), CREAM),
    base(rect(0.0, 0.6, 0.94, 0.045, 0.03), 0.6),
];

const TEDDY: &[Layer] = &[
    base(ellipse(-0.42, -0.74, 0.22, 0.22), 0.85),
    base(ellipse(0.42, -0.74, 0.22, 0.22), 0.85),
    flat(ellipse(-0.42, -0.74, 0.1, 0.1), [240, 190, 180]),
    flat(ellipse(0.42, -0.74, 0.1, 0.1), [240, 190, 180]),
    base(ellipse(-0.56, 0.26, 0.2, 0.34), 0.8),
    base(ellipse(0.56, 0.26, 0.2, 0.34), 0.8),
    base(ellipse(0.0, 0.36, 0.5, 0.52), 1.0),
    flat(ellipse(0.0, 0.42, 0.28, 0.32), CREAM),
    base(ellipse(-0.38, 0.8, 0.24, 0.18), 0.8),
    base(ellipse(0.38, 0.8, 0.24, 0.18), 0.8),
    base(ellipse(0.0, -0.4, 0.52, 0.44), 1.05),
    flat(ellipse(0.0, -0.26, 0.22, 0.17), CREAM),
    flat(ellipse(-0.2, -0.48, 0.06, 0.07), INK),
    flat(ellipse(0.2, -0.48, 0.06, 0.07), INK),
    flat(ellipse(0.0, -0.32, 0.08, 0.06), INK),
];

const BACKPACK: &[Layer] = &[
    base(arch(0.0, -0.68, 0.22, 0.07), 0.5),
    base(rect(-0.7, 0.34, 0.16, 0.42, 0.12), 0.66),
    base(rect(0.7, 0.34, 0.16, 0.42, 0.12), 0.66),
    base(rect(0.0, 0.12, 0.66, 0.84, 0.4), 1.0),
    flat(line(-0.58, -0.2, 0.58, -0.2, 0.03), INK),
    base(rect(0.0, 0.46, 0.46, 0.36, 0.14), 0.74),
    flat(line(-0.38, 0.3, 0.38, 0.3, 0.03), INK),
    flat(rect(-0.3, -0.08, 0.06, 0.16, 0.02), BRASS),
    flat(rect(0.3, -0.08, 0.06, 0.16, 0.02), BRASS),
];

const WATCH: &[Layer] = &[
    base(rect(0.0, -0.66, 0.3, 0.34, 0.08), 1.0),
    base(rect(0.0, 0.66, 0.3, 0.34, 0.08), 1.0),
    flat(rect(0.56, 0.0, 0.1, 0.08, 0.02), BRASS),
    flat(ellipse(0.0, 0.0, 0.56, 0.56), BRASS),
    base(ellipse(0.0, 0.0, 0.45, 0.45), 0.85),
    flat(ring(0.0, 0.0, 0.39, 0.025), CREAM),
    flat(line(0.0, 0.0, 0.0, -0.28, 0.035), CREAM),
    flat(line(0.0, 0.0, 0.2, 0.1, 0.035), CREAM),
];
