//! Shapes by their signed distance, and the inks they are filled with.
//!
//! Distances follow Inigo Quilez, "2D distance functions"; that of the ellipse is an approximation that is exact on its
//! edge, which is all that smoothing needs.

/// A colour, each channel 0 to 1.
pub(crate) type Colour = [f32; 3];
/// A point of the drawing plane: both coordinates from -1 to 1, y downwards.
pub(super) type Point = [f32; 2];

/// A filled shape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layer {
    pub(super) shape: Shape,
    pub(super) ink: Ink,
}

/// What a shape is filled with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ink {
    /// The product's colour and pattern, times this brightness.
    Base(f32),
    /// Always this colour.
    Flat([u8; 3]),
}

/// An outline.
#[derive(Debug, Clone, Copy)]
pub(super) enum Shape {
    Ellipse {
        centre: Point,
        radii: Point,
    },
    Rectangle {
        centre: Point,
        half: Point,
        corner: f32,
    },
    Line {
        from: Point,
        to: Point,
        half_width: f32,
    },
    Ring {
        centre: Point,
        radius: f32,
        half_width: f32,
    },
    /// The upper half of a ring.
    Arch {
        centre: Point,
        radius: f32,
        half_width: f32,
    },
    Polygon(&'static [Point]),
}

/// A shape in the product's colour and pattern, times `shade`.
pub(super) const fn base(shape: Shape, shade: f32) -> Layer {
    Layer {
        shape,
        ink: Ink::Base(shade),
    }
}

/// A shape in a colour of its own.
pub(super) const fn flat(shape: Shape, colour: [u8; 3]) -> Layer {
    Layer {
        shape,
        ink: Ink::Flat(colour),
    }
}

pub(super) const fn ellipse(x: f32, y: f32, rx: f32, ry: f32) -> Shape {
    Shape::Ellipse {
        centre: [x, y],
        radii: [rx, ry],
    }
}

/// A rectangle by its centre, half extents and corner radius.
pub(super) const fn rect(x: f32, y: f32, hx: f32, hy: f32, corner: f32) -> Shape {
    Shape::Rectangle {
        centre: [x, y],
        half: [hx, hy],
        corner,
    }
}

pub(super) const fn line(x1: f32, y1: f32, x2: f32, y2: f32, half_width: f32) -> Shape {
    Shape::Line {
        from: [x1, y1],
        to: [x2, y2],
        half_width,
    }
}

pub(super) const fn ring(x: f32, y: f32, radius: f32, half_width: f32) -> Shape {
    Shape::Ring {
        centre: [x, y],
        radius,
        half_width,
    }
}

pub(super) const fn arch(x: f32, y: f32, radius: f32, half_width: f32) -> Shape {
    Shape::Arch {
        centre: [x, y],
        radius,
        half_width,
    }
}

pub(super) const fn polygon(points: &'static [Point]) -> Shape {
    Shape::Polygon(points)
}

impl Shape {
    /// The share of a pixel of width `pixel` around `point` that the shape covers.
    pub(super) fn coverage(&self, point: Point, pixel: f32) -> f32 {
        (0.5 - self.distance(point) / pixel).clamp(0.0, 1.0)
    }

    /// The distance of `point` from the outline, negative inside.
    fn distance(&self, [x, y]: Point) -> f32 {
        match *self {
            Self::Ellipse { centre, radii } => {
                let (dx, dy) = (x - centre[0], y - centre[1]);
                let k = length(dx / radii[0], dy / radii[1]);
                let gradient = length(dx / (radii[0] * radii[0]), dy / (radii[1] * radii[1]));
                if gradient > 0.0 {
                    k * (k - 1.0) / gradient
                } else {
                    -radii[0].min(radii[1])
                }
            }
            Self::Rectangle { centre, half, corner } => {
                let dx = (x - centre[0]).abs() - half[0] + corner;
                let dy = (y - centre[1]).abs() - half[1] + corner;
                length(dx.max(0.0), dy.max(0.0)) + dx.max(dy).min(0.0) - corner
            }
            Self::Line { from, to, half_width } => segment_distance([x, y], from, to) - half_width,
            Self::Ring {
                centre,
                radius,
                half_width,
            } => (length(x - centre[0], y - centre[1]) - radius).abs() - half_width,
            Self::Arch {
                centre,
                radius,
                half_width,
            } => {
                let ring = (length(x - centre[0], y - centre[1]) - radius).abs() - half_width;
                ring.max(y - centre[1])
            }
            Self::Polygon(points) => polygon_distance([x, y], points),
        }
    }
}

fn segment_distance([x, y]: Point, from: Point, to: Point) -> f32 {
    let (ex, ey) = (to[0] - from[0], to[1] - from[1]);
    let (dx, dy) = (x - from[0], y - from[1]);
    let along = ((dx * ex + dy * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
    length(dx - ex * along, dy - ey * along)
}

fn polygon_distance([x, y]: Point, points: &[Point]) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let mut previous = points[points.len() - 1];
    for &corner in points {
        nearest = nearest.min(segment_distance([x, y], previous, corner));
        let crosses = (corner[1] > y) != (previous[1] > y);
        if crosses && x < (previous[0] - corner[0]) * (y - corner[1]) / (previous[1] - corner[1]) + corner[0]
        {
            inside = !inside;
        }
        previous = corner;
    }
    if inside { -nearest } else { nearest }
}

/// The length of a vector. `hypot` guards against overflow, which cannot happen here and costs ten times as much.
pub(crate) fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

/// The next whole number below, for numbers far smaller than 2^31; a conversion and back, where `f32::floor` is a library
/// call on processors without a rounding instruction.
pub(crate) fn floor(t: f32) -> f32 {
    let truncated = t as i32 as f32;
    if truncated > t { truncated - 1.0 } else { truncated }
}

/// A colour from bytes.
pub(crate) fn rgb(bytes: [u8; 3]) -> Colour {
    bytes.map(|byte| f32::from(byte) / 255.0)
}

/// `from` for share 0, `to` for share 1.
pub(crate) fn mix(from: Colour, to: Colour, share: f32) -> Colour {
    std::array::from_fn(|c| from[c] + (to[c] - from[c]) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SQUARE: Shape = polygon(&[[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]);

    #[test]
    fn a_polygon_agrees_with_the_rectangle_it_describes() {
        let rectangle = rect(0.0, 0.0, 0.5, 0.5, 0.0);
        for (x, y) in (-9..9).flat_map(|x| (-9..9).map(move |y| (x as f32 / 10.0, y as f32 / 10.0 + 0.03))) {
            assert!(
                (SQUARE.distance([x, y]) - rectangle.distance([x, y])).abs() < 1e-5,
                "{x} {y}"
            );
        }
    }

    #[test]
    fn the_area_of_each_shape_is_right() {
        let area = |shape: Shape| {
            let points = (0..200)
                .flat_map(|x| (0..200).map(move |y| [x as f32 / 100.0 - 0.995, y as f32 / 100.0 - 0.995]));
            points.map(|point| shape.coverage(point, 0.01)).sum::<f32>() / 10_000.0
        };
        let pi = std::f32::consts::PI;
        for (shape, expected) in [
            (ellipse(0.1, 0.0, 0.5, 0.3), pi * 0.15),
            (rect(0.0, 0.1, 0.4, 0.3, 0.1), 0.48 - 0.01 * (4.0 - pi)),
            (line(-0.5, 0.0, 0.5, 0.0, 0.1), 0.2 + 0.01 * pi),
            (ring(0.0, 0.0, 0.5, 0.1), pi * 0.2),
            (arch(0.0, 0.0, 0.5, 0.1), pi * 0.1),
            (SQUARE, 1.0),
        ] {
            assert!(
                (area(shape) - expected).abs() < 0.01,
                "{shape:?}: {} is not {expected}",
                area(shape)
            );
        }
    }
}
