//! The wall behind the product: two colours from top to horizon, and a texture.

use super::{
    HORIZON,
    pattern::{inside, phase, speckle, triangle, wave},
};
use crate::art::{Colour, floor, length, mix, rgb};

/// What a scene that was not understood looks like.
const GREY: Colour = [0.5, 0.5, 0.5];

/// The colour of a scene at a point; `u` and `v` run from 0 to 1, `pixel` is the width of a pixel.
pub(super) fn colour(scene: Option<usize>, u: f32, v: f32, pixel: f32) -> Colour {
    let Some(scene) = scene else { return GREY };
    let (top, bottom) = GRADIENTS[scene];
    let sky = mix(rgb(top), rgb(bottom), v / HORIZON);
    let soft = 1.5 * pixel;
    match scene {
        0 => living_room(sky, u, v, soft),
        1 => bedroom_loft(sky, u, v, soft),
        2 => spa_bath(sky, u, v, soft),
        3 => rose_garden(sky, u, v, soft),
        4 => country_kitchen(sky, u, v),
        5 => cafe_corner(sky, u, v),
        6 => neon_street(sky, u, v, soft),
        7 => music_studio(sky, u, v),
        8 => running_track(sky, u, v, soft),
        9 => city_skyline(sky, u, v, soft),
        10 => bright_nursery(sky, u, v, soft),
        11 => birthday_party(sky, u, v, soft),
        12 => mountain_lake(sky, u, v, soft),
        13 => pine_forest(sky, u, v, soft),
        14 => velvet_lounge(sky, u),
        _ => night_gala(sky, u, v, soft),
    }
}

/// Colours at the top and at the horizon, in the order of the vocabulary.
const GRADIENTS: [([u8; 3], [u8; 3]); 16] = [
    ([232, 208, 172], [214, 182, 138]),
    ([206, 200, 226], [178, 170, 206]),
    ([188, 236, 232], [112, 200, 202]),
    ([196, 220, 150], [120, 176, 92]),
    ([252, 238, 176], [246, 214, 110]),
    ([52, 34, 26], [98, 60, 36]),
    ([18, 12, 52], [66, 22, 96]),
    ([70, 72, 82], [46, 48, 58]),
    ([222, 124, 84], [190, 82, 52]),
    ([88, 116, 172], [250, 188, 142]),
    ([176, 222, 252], [140, 200, 248]),
    ([255, 176, 208], [250, 136, 182]),
    ([140, 196, 244], [222, 238, 250]),
    ([150, 186, 160], [44, 92, 62]),
    ([150, 24, 52], [92, 10, 34]),
    ([8, 10, 30], [30, 34, 78]),
];

/// Striped wallpaper above a wainscot.
fn living_room(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let stripe = inside((phase(u * 8.0) - 0.5).abs() - 0.22, soft * 8.0);
    let paper = mix(sky, rgb([196, 158, 116]), 0.55 * stripe);
    let rail = inside((v - 0.5).abs() - 0.014, soft);
    let wainscot = inside(0.5 - v, soft);
    mix(
        mix(paper, rgb([246, 236, 220]), 0.85 * wainscot),
        rgb([150, 110, 74]),
        rail,
    )
}

/// Whitewashed bricks.
fn bedroom_loft(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let row = floor(v * 11.0);
    let (column, line) = (u * 5.5 + 0.5 * (row % 2.0), v * 11.0);
    let joint = inside(0.5 - (phase(column) - 0.5).abs() - 0.06, soft * 5.5)
        .max(inside(0.5 - (phase(line) - 0.5).abs() - 0.1, soft * 11.0));
    let brick = mix(sky, rgb([146, 132, 182]), 0.5 * speckle(column, line));
    mix(brick, rgb([238, 234, 246]), 0.8 * joint)
}

/// Small shining tiles.
fn spa_bath(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let (x, y) = (u * 9.0, v * 9.0);
    let joint = inside(
        0.5 - (phase(x) - 0.5).abs().max((phase(y) - 0.5).abs()) - 0.07,
        soft * 9.0,
    );
    let tile = mix(sky, rgb([60, 168, 184]), 0.55 * speckle(x + 40.0, y));
    mix(tile, rgb([240, 252, 250]), joint)
}

/// Roses on a hedge.
fn rose_garden(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let leaves = mix(sky, rgb([70, 130, 62]), 0.6 * speckle(u * 24.0, v * 24.0));
    let row = floor(v * 6.5);
    let (x, y) = (phase(u * 6.5 + 0.5 * (row % 2.0)) - 0.5, phase(v * 6.5) - 0.5);
    let radius = length(x, y);
    let rose = mix(
        rgb([240, 70, 120]),
        rgb([255, 176, 196]),
        inside(radius - 0.15, soft * 6.5),
    );
    mix(leaves, rose, inside(radius - 0.33, soft * 6.5))
}

/// Gingham.
fn country_kitchen(sky: Colour, u: f32, v: f32) -> Colour {
    let band = |t: f32| if phase(t) < 0.5 { 0.42 } else { 0.0 };
    mix(sky, rgb([226, 132, 30]), band(u * 6.0) + band(v * 6.0))
}

/// Lamps out of focus.
fn cafe_corner(sky: Colour, u: f32, v: f32) -> Colour {
    let row = floor(v * 4.5);
    let (x, y) = (u * 4.5 + 0.5 * (row % 2.0), v * 4.5);
    let radius = length(phase(x) - 0.5, phase(y) - 0.5);
    let size = 0.26 + 0.2 * speckle(x, y + 9.0);
    let lamp = mix(rgb([255, 196, 96]), rgb([226, 116, 40]), speckle(x + 5.0, y));
    mix(sky, lamp, 0.85 * inside(radius - size, 0.16))
}

/// Slanted neon tubes.
fn neon_street(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let t = (u + 0.6 * v) * 6.0;
    let distance = (phase(t) - 0.5).abs();
    let tube = if floor(t) as i32 % 2 == 0 {
        rgb([255, 40, 190])
    } else {
        rgb([30, 224, 255])
    };
    let glow = mix(sky, tube, 0.35 * (1.0 - 2.2 * distance).max(0.0));
    mix(glow, tube, inside(distance - 0.12, soft * 6.0))
}

/// Acoustic foam in zigzags.
fn music_studio(sky: Colour, u: f32, v: f32) -> Colour {
    let ridge = wave(v * 7.0 + 0.9 * triangle(u * 6.0));
    mix(sky, rgb([176, 180, 194]), 0.75 * ridge * ridge)
}

/// Lanes that run to the left.
fn running_track(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let lane = inside((phase(v * 5.0 + u * 1.4) - 0.5).abs() - 0.09, soft * 5.0);
    mix(sky, rgb([255, 246, 238]), lane)
}

/// Towers with lit windows before a sunset.
fn city_skyline(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let column = u * 9.0;
    let roof = HORIZON * (0.2 + 0.5 * speckle(column, 3.0));
    let window = speckle(u * 27.0, v * 27.0) > 0.62 && phase(column) > 0.2 && phase(column) < 0.85;
    let tower = if window {
        rgb([255, 222, 128])
    } else {
        rgb([44, 52, 84])
    };
    mix(sky, tower, inside(roof - v, soft))
}

/// Clouds like dots.
fn bright_nursery(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let row = floor(v * 5.0);
    let (x, y) = (phase(u * 5.0 + 0.5 * (row % 2.0)) - 0.5, phase(v * 5.0) - 0.5);
    mix(sky, [1.0; 3], inside(length(x, y) - 0.3, soft * 5.0))
}

/// Bunting above confetti.
fn birthday_party(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    const PAPER: [[u8; 3]; 4] = [[255, 220, 60], [60, 190, 240], [120, 214, 110], [250, 250, 250]];
    let pick = |value: f32| rgb(PAPER[(value * 3.99) as usize]);
    let (x, y) = (u * 14.0, v * 14.0);
    let radius = length(phase(x) - 0.5, phase(y) - 0.5);
    let thrown = if speckle(x + 7.0, y) > 0.45 {
        inside(radius - 0.36, soft * 14.0)
    } else {
        0.0
    };
    let confetti = mix(sky, pick(speckle(x, y + 17.0)), thrown);
    let flag = inside(v - 0.2 * triangle(u * 6.0), soft);
    mix(confetti, pick(speckle(u * 6.0, 5.0)), flag)
}

/// Snowy mountains.
fn mountain_lake(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let ridge = |shift: f32, scale: f32| triangle(u * scale + shift);
    let far = 0.52 - 0.34 * ridge(0.28, 2.0);
    let near = 0.6 - 0.2 * ridge(0.0, 3.0);
    let snow = inside(v - far - 0.1, soft);
    let peak = mix(rgb([104, 118, 150]), [1.0; 3], snow);
    mix(
        mix(sky, peak, inside(far - v, soft)),
        rgb([62, 84, 112]),
        inside(near - v, soft),
    )
}

/// Rows of firs.
fn pine_forest(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let firs = |scale: f32, shift: f32, base: f32, height: f32| {
        inside(base - height * triangle(u * scale + shift) - v, soft * 2.0)
    };
    let far = mix(sky, rgb([62, 116, 80]), firs(7.0, 0.5, 0.42, 0.32));
    let middle = mix(far, rgb([34, 84, 54]), firs(5.0, 0.2, 0.58, 0.34));
    mix(middle, rgb([16, 54, 34]), firs(6.0, 0.0, 0.72, 0.3))
}

/// The folds of a curtain.
fn velvet_lounge(sky: Colour, u: f32) -> Colour {
    let fold = wave(u * 6.0 + 0.12 * triangle(u * 2.0));
    mix(sky, rgb([228, 62, 88]), 0.7 * fold * fold)
}

/// Golden sparks in the dark.
fn night_gala(sky: Colour, u: f32, v: f32, soft: f32) -> Colour {
    let (x, y) = (u * 11.0, v * 11.0);
    let (dx, dy) = ((phase(x) - 0.5).abs(), (phase(y) - 0.5).abs());
    let lit = speckle(x + 3.0, y + 1.0) > 0.4;
    let star = if lit {
        inside(dx * dy * 14.0 + (dx + dy) * 0.6 - 0.34, soft * 14.0)
    } else {
        0.0
    };
    mix(sky, rgb([255, 210, 100]), star)
}
