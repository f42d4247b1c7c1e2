//! What props look like: bold enough to be told apart in 8x8 pixels.

use super::shape::{Layer, ellipse, flat, line, polygon, rect, ring};

const WHITE: [u8; 3] = [250, 250, 248];
const INK: [u8; 3] = [36, 32, 40];
const GREEN: [u8; 3] = [58, 150, 66];
const CLAY: [u8; 3] = [190, 92, 52];
const RED: [u8; 3] = [214, 48, 48];
const BLUE: [u8; 3] = [48, 104, 210];
const YELLOW: [u8; 3] = [248, 206, 60];
const GOLD: [u8; 3] = [226, 172, 48];
const BROWN: [u8; 3] = [96, 56, 32];
const TAN: [u8; 3] = [214, 164, 98];
const PURPLE: [u8; 3] = [176, 70, 190];
const CORAL: [u8; 3] = [240, 108, 96];
const NAVY: [u8; 3] = [30, 44, 92];
const TEAL: [u8; 3] = [28, 158, 158];

/// The stamp of each prop, in the order of the vocabulary.
pub(crate) const STAMPS: [&[Layer]; 16] = [
    FERN, BOOKS, ORCHID, SHELL, BEANS, COOKIES, RECORD, NOTES, WATER, MEDAL, BALLOONS, BLOCKS, COMPASS, FIRE,
    PEARLS, GIFT,
];

const FERN: &[Layer] = &[
    flat(line(0.0, 0.3, -0.62, -0.36, 0.2), GREEN),
    flat(line(0.0, 0.3, 0.62, -0.36, 0.2), GREEN),
    flat(line(0.0, 0.3, 0.0, -0.72, 0.22), [82, 178, 84]),
    flat(
        polygon(&[[-0.52, 0.24], [0.52, 0.24], [0.36, 0.94], [-0.36, 0.94]]),
        CLAY,
    ),
];

const BOOKS: &[Layer] = &[
    flat(rect(0.05, -0.5, 0.66, 0.24, 0.04), RED),
    flat(rect(-0.08, 0.06, 0.78, 0.26, 0.04), YELLOW),
    flat(rect(0.0, 0.64, 0.88, 0.28, 0.04), BLUE),
    flat(rect(0.6, 0.64, 0.12, 0.28, 0.0), WHITE),
    flat(rect(-0.6, 0.06, 0.1, 0.26, 0.0), WHITE),
];

const ORCHID: &[Layer] = &[
    flat(ellipse(0.0, -0.52, 0.34, 0.42), PURPLE),
    flat(ellipse(-0.52, -0.1, 0.42, 0.34), PURPLE),
    flat(ellipse(0.52, -0.1, 0.42, 0.34), PURPLE),
    flat(ellipse(-0.36, 0.54, 0.34, 0.38), PURPLE),
    flat(ellipse(0.36, 0.54, 0.34, 0.38), PURPLE),
    flat(ellipse(0.0, 0.02, 0.28, 0.28), YELLOW),
];

const SHELL: &[Layer] = &[
    flat(
        polygon(&[
            [0.0, 0.86],
            [-0.9, -0.1],
            [-0.76, -0.56],
            [-0.4, -0.82],
            [0.0, -0.9],
            [0.4, -0.82],
            [0.76, -0.56],
            [0.9, -0.1],
        ]),
        CORAL,
    ),
    flat(line(0.0, 0.7, -0.5, -0.5, 0.07), WHITE),
    flat(line(0.0, 0.7, 0.0, -0.66, 0.07), WHITE),
    flat(line(0.0, 0.7, 0.5, -0.5, 0.07), WHITE),
    flat(rect(0.0, 0.78, 0.3, 0.14, 0.06), CORAL),
];

const BEANS: &[Layer] = &[
    flat(ellipse(-0.38, -0.3, 0.42, 0.56), BROWN),
    flat(line(-0.3, -0.76, -0.46, 0.16, 0.08), TAN),
    flat(ellipse(0.42, 0.34, 0.42, 0.56), BROWN),
    flat(line(0.5, -0.12, 0.34, 0.8, 0.08), TAN),
];

const COOKIES: &[Layer] = &[
    flat(ellipse(0.0, 0.0, 0.92, 0.92), WHITE),
    flat(ellipse(0.0, 0.0, 0.66, 0.66), TAN),
    flat(ellipse(-0.26, -0.22, 0.15, 0.15), BROWN),
    flat(ellipse(0.28, -0.1, 0.15, 0.15), BROWN),
    flat(ellipse(-0.04, 0.32, 0.15, 0.15), BROWN),
];

const RECORD: &[Layer] = &[
    flat(ellipse(0.0, 0.0, 0.92, 0.92), INK),
    flat(ring(0.0, 0.0, 0.62, 0.04), [90, 86, 96]),
    flat(ellipse(0.0, 0.0, 0.36, 0.36), RED),
    flat(ellipse(0.0, 0.0, 0.1, 0.1), WHITE),
];

const NOTES: &[Layer] = &[
    flat(
        polygon(&[[-0.44, -0.86], [0.72, -0.86], [0.72, -0.44], [-0.44, -0.44]]),
        INK,
    ),
    flat(rect(-0.36, -0.1, 0.1, 0.7, 0.0), INK),
    flat(rect(0.64, -0.1, 0.1, 0.7, 0.0), INK),
    flat(ellipse(-0.54, 0.62, 0.32, 0.26), INK),
    flat(ellipse(0.46, 0.62, 0.32, 0.26), INK),
];

const WATER: &[Layer] = &[
    flat(rect(0.0, -0.8, 0.2, 0.14, 0.04), INK),
    flat(rect(0.0, 0.16, 0.46, 0.78, 0.22), [74, 170, 236]),
    flat(rect(0.0, 0.24, 0.46, 0.2, 0.0), WHITE),
];

const MEDAL: &[Layer] = &[
    flat(
        polygon(&[[-0.74, -0.94], [-0.2, -0.94], [0.2, 0.1], [-0.2, 0.1]]),
        BLUE,
    ),
    flat(
        polygon(&[[0.74, -0.94], [0.2, -0.94], [-0.2, 0.1], [0.2, 0.1]]),
        RED,
    ),
    flat(ellipse(0.0, 0.36, 0.58, 0.58), GOLD),
    flat(ellipse(0.0, 0.36, 0.34, 0.34), [252, 224, 130]),
];

const BALLOONS: &[Layer] = &[
    flat(line(-0.48, 0.0, 0.0, 0.94, 0.05), INK),
    flat(line(0.48, 0.0, 0.0, 0.94, 0.05), INK),
    flat(line(0.0, 0.2, 0.0, 0.94, 0.05), INK),
    flat(ellipse(-0.5, -0.3, 0.4, 0.5), RED),
    flat(ellipse(0.5, -0.3, 0.4, 0.5), PURPLE),
    flat(ellipse(0.0, -0.4, 0.38, 0.52), YELLOW),
];

const BLOCKS: &[Layer] = &[
    flat(rect(0.0, -0.46, 0.4, 0.42, 0.04), RED),
    flat(rect(-0.46, 0.46, 0.42, 0.44, 0.04), BLUE),
    flat(rect(0.46, 0.46, 0.42, 0.44, 0.04), GREEN),
    flat(ellipse(0.0, -0.46, 0.17, 0.17), WHITE),
];

const COMPASS: &[Layer] = &[
    flat(ellipse(0.0, 0.0, 0.92, 0.92), GOLD),
    flat(ellipse(0.0, 0.0, 0.68, 0.68), WHITE),
    flat(polygon(&[[0.44, -0.5], [0.16, 0.14], [-0.16, -0.14]]), RED),
    flat(polygon(&[[-0.44, 0.5], [0.16, 0.14], [-0.16, -0.14]]), INK),
];

const FIRE: &[Layer] = &[
    flat(line(-0.74, 0.58, 0.74, 0.86, 0.14), BROWN),
    flat(line(0.74, 0.58, -0.74, 0.86, 0.14), BROWN),
    flat(
        polygon(&[
            [-0.6, 0.5],
            [-0.5, -0.3],
            [-0.26, 0.0],
            [0.0, -0.94],
            [0.3, -0.1],
            [0.54, -0.36],
            [0.6, 0.5],
        ]),
        [238, 98, 30],
    ),
    flat(
        polygon(&[[-0.3, 0.52], [-0.2, 0.1], [0.02, -0.34], [0.24, 0.1], [0.3, 0.52]]),
        YELLOW,
    ),
];

const PEARLS: &[Layer] = &[
    flat(ellipse(0.0, 0.06, 0.94, 0.9), NAVY),
    flat(ellipse(-0.62, -0.24, 0.24, 0.24), WHITE),
    flat(ellipse(0.62, -0.24, 0.24, 0.24), WHITE),
    flat(ellipse(-0.44, 0.28, 0.26, 0.26), WHITE),
    flat(ellipse(0.44, 0.28, 0.26, 0.26), WHITE),
    flat(ellipse(0.0, 0.56, 0.3, 0.3), WHITE),
];

const GIFT: &[Layer] = &[
    flat(ellipse(-0.28, -0.66, 0.26, 0.2), GOLD),
    flat(ellipse(0.28, -0.66, 0.26, 0.2), GOLD),
    flat(rect(0.0, 0.3, 0.74, 0.62, 0.04), TEAL),
    flat(rect(0.0, -0.3, 0.86, 0.2, 0.04), [22, 128, 130]),
    flat(rect(0.0, 0.2, 0.16, 0.72, 0.0), GOLD),
];
