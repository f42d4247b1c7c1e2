//! CIELAB: colours in which distances are about as large as they look.

/// L*, a* and b* of an sRGB colour under D65 (IEC 61966-2-1; CIE 15).
pub(crate) fn lab(colour: [u8; 3]) -> [f64; 3] {
    let [red, green, blue] = colour.map(linear);
    let x = 0.4124 * red + 0.3576 * green + 0.1805 * blue;
    let y = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    let z = 0.0193 * red + 0.1192 * green + 0.9505 * blue;
    let [x, y, z] = [x / 0.9505, y, z / 1.0890].map(response);
    [116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)]
}

/// The distance of two colours, the colour difference of CIE 1976. About 2.3 is just noticeable (Mahy et al. 1994).
pub(crate) fn difference(one: [f64; 3], other: [f64; 3]) -> f64 {
    let squares = one.iter().zip(other).map(|(one, other)| (one - other).powi(2));
    squares.sum::<f64>().sqrt()
}

fn linear(level: u8) -> f64 {
    let value = f64::from(level) / 255.0;
    if value <= 0.04045 {
        value / 12.92
    } else {
        ((value + 0.055) / 1.055).powf(2.4)
    }
}

fn response(share: f64) -> f64 {
    const BEND: f64 = 6.0 / 29.0;
    if share > BEND.powi(3) {
        share.cbrt()
    } else {
        share / (3.0 * BEND * BEND) + 4.0 / 29.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours_have_their_known_places() {
        let close = |one: [f64; 3], other: [f64; 3]| one.iter().zip(other).all(|(a, b)| (a - b).abs() < 0.05);
        assert!(close(lab([0; 3]), [0.0; 3]));
        assert!(close(lab([255; 3]), [100.0, 0.0, 0.0]), "{:?}", lab([255; 3]));
        assert!(
            close(lab([255, 0, 0]), [53.24, 80.09, 67.20]),
            "{:?}",
            lab([255, 0, 0])
        );
        assert!((difference(lab([0; 3]), lab([255; 3])) - 100.0).abs() < 0.05);
    }
}
