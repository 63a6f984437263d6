//! Shapes on a picture, with a record of which object owns each pixel.
//!
//! Owns the RGB picture and the owners. A shape's edge is smoothed over a pixel by its signed
//! distance; a pixel belongs to the object that covers at least half of it, so the box of an
//! object's pixels is the box of its visible part.

/// Red, green, blue, 0..1.
pub(crate) type Colour = [f32; 3];

/// Owner of a pixel that no object covers.
pub(crate) const NOBODY: u8 = 0;

/// A shape in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// Centre and radii.
    Ellipse { centre: [f32; 2], radii: [f32; 2] },
    /// Centre, half sides and radius of the corners.
    Box {
        centre: [f32; 2],
        half: [f32; 2],
        round: f32,
    },
    /// Two ends and a radius.
    Limb {
        from: [f32; 2],
        to: [f32; 2],
        radius: f32,
    },
    /// Four corners of a convex shape, clockwise on the screen.
    Quad([[f32; 2]; 4]),
}

impl Shape {
    /// Left, top, right, bottom.
    fn bounds(&self) -> [f32; 4] {
        match *self {
            Self::Ellipse {
                centre: [x, y],
                radii: [a, b],
            }
            | Self::Box {
                centre: [x, y],
                half: [a, b],
                ..
            } => [x - a, y - b, x + a, y + b],
            Self::Limb { from, to, radius } => [
                from[0].min(to[0]) - radius,
                from[1].min(to[1]) - radius,
                from[0].max(to[0]) + radius,
                from[1].max(to[1]) + radius,
            ],
            Self::Quad(corners) => {
                corners
                    .iter()
                    .fold([f32::MAX, f32::MAX, f32::MIN, f32::MIN], |b, c| {
                        [
                            b[0].min(c[0]),
                            b[1].min(c[1]),
                            b[2].max(c[0]),
                            b[3].max(c[1]),
                        ]
                    })
            }
        }
    }

    /// Distance of a point to the edge, negative inside.
    fn distance(&self, x: f32, y: f32) -> f32 {
        match *self {
            Self::Ellipse { centre, radii } => {
                let (dx, dy) = ((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]);
                (dx.hypot(dy) - 1.0) * radii[0].min(radii[1])
            }
            Self::Box {
                centre,
                half,
                round,
            } => {
                let dx = (x - centre[0]).abs() - half[0] + round;
                let dy = (y - centre[1]).abs() - half[1] + round;
                dx.max(0.0).hypot(dy.max(0.0)) + dx.max(dy).min(0.0) - round
            }
            Self::Limb { from, to, radius } => {
                let (ax, ay) = (to[0] - from[0], to[1] - from[1]);
                let (px, py) = (x - from[0], y - from[1]);
                let along = ((px * ax + py * ay) / (ax * ax + ay * ay).max(1e-6)).clamp(0.0, 1.0);
                (px - ax * along).hypot(py - ay * along) - radius
            }
            Self::Quad(corners) => (0..4).fold(f32::MIN, |far, i| {
                let (a, b) = (corners[i], corners[(i + 1) % 4]);
                let (ex, ey) = (b[0] - a[0], b[1] - a[1]);
                let length = ex.hypot(ey).max(1e-6);
                far.max((ey * (x - a[0]) - ex * (y - a[1])) / length)
            }),
        }
    }
}

/// The picture of one moment.
#[derive(Debug)]
pub(crate) struct Canvas {
    /// Pixels a row.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Row after row.
    pub(crate) pixels: Vec<[u8; 3]>,
    owners: Vec<u8>,
}

/// How much of an object is seen, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Visible {
    /// Pixels.
    pub(crate) pixels: u32,
    /// First column and row, and those after the last.
    pub(crate) bounds: [usize; 4],
}

impl Canvas {
    /// A picture of `background`'s size.
    pub(crate) fn new(width: usize, height: usize) -> Self {
        let area = width * height;
        Self {
            width,
            height,
            pixels: vec![[0; 3]; area],
            owners: vec![NOBODY; area],
        }
    }

    /// Begins the next picture.
    pub(crate) fn clear_to(&mut self, background: &[[u8; 3]]) {
        self.pixels.copy_from_slice(background);
        self.owners.fill(NOBODY);
    }

    /// Paints a shape that belongs to `owner`. `shade` brightens its left side and darkens its
    /// right by that share.
    pub(crate) fn paint(&mut self, shape: &Shape, colour: Colour, shade: f32, owner: u8) {
        self.cover(
            shape,
            |_, _| 1.0,
            |across| {
                let gain = 1.0 + shade * (1.0 - 2.0 * across);
                colour.map(|part| (part * gain).clamp(0.0, 1.0) * 255.0)
            },
            Some(owner),
        );
    }

    /// Darkens what lies under a shape: a shadow, which belongs to nobody.
    pub(crate) fn darken(&mut self, shape: &Shape, strength: f32) {
        self.cover(shape, |_, _| strength, |_| [0.0; 3], None);
    }

    fn cover(
        &mut self,
        shape: &Shape,
        strength: impl Fn(f32, f32) -> f32,
        colour: impl Fn(f32) -> [f32; 3],
        owner: Option<u8>,
    ) {
        let [left, top, right, bottom] = shape.bounds();
        let clip = |value: f32, limit: usize| value.clamp(0.0, limit as f32) as usize;
        let (x0, x1) = (clip(left - 1.0, self.width), clip(right + 2.0, self.width));
        let (y0, y1) = (
            clip(top - 1.0, self.height),
            clip(bottom + 2.0, self.height),
        );
        let span = (right - left).max(1.0);
        for y in y0..y1 {
            for x in x0..x1 {
                let (px, py) = (x as f32 + 0.5, y as f32 + 0.5);
                let inside = (0.5 - shape.distance(px, py)).clamp(0.0, 1.0);
                if inside <= 0.0 {
                    continue;
                }
                let alpha = inside * strength(px, py);
                let new = colour(((px - left) / span).clamp(0.0, 1.0));
                let at = y * self.width + x;
                for (old, new) in self.pixels[at].iter_mut().zip(new) {
                    *old = (f32::from(*old) * (1.0 - alpha) + new * alpha) as u8;
                }
                if let Some(owner) = owner
                    && inside >= 0.5
                {
                    self.owners[at] = owner;
                }
            }
        }
    }

    /// What is seen of the first `count` objects, whose owners are 1, 2, ...
    pub(crate) fn visible(&self, count: usize) -> Vec<Option<Visible>> {
        let mut found: Vec<Option<Visible>> = vec![None; count];
        for (at, owner) in self
            .owners
            .iter()
            .enumerate()
            .filter(|(_, owner)| **owner != NOBODY)
        {
            let Some(slot) = found.get_mut(usize::from(*owner) - 1) else {
                continue;
            };
            let (x, y) = (at % self.width, at / self.width);
            let seen = slot.get_or_insert(Visible {
                pixels: 0,
                bounds: [x, y, x + 1, y + 1],
            });
            let [left, top, right, bottom] = seen.bounds;
            seen.pixels += 1;
            seen.bounds = [left.min(x), top.min(y), right.max(x + 1), bottom.max(y + 1)];
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(x: f32, y: f32, half: f32) -> Shape {
        Shape::Box {
            centre: [x, y],
            half: [half, half],
            round: 0.0,
        }
    }

    #[test]
    fn the_box_of_a_shape_is_the_box_of_its_pixels() {
        let mut canvas = Canvas::new(64, 48);
        canvas.paint(&square(20.0, 30.0, 5.0), [1.0; 3], 0.0, 1);
        let seen = Visible {
            pixels: 100,
            bounds: [15, 25, 25, 35],
        };
        assert_eq!(canvas.visible(1), vec![Some(seen)]);
    }

    #[test]
    fn what_is_hidden_or_outside_is_not_in_the_box() {
        let mut canvas = Canvas::new(64, 48);
        canvas.paint(&square(60.0, 20.0, 8.0), [1.0; 3], 0.0, 1);
        canvas.paint(&square(52.0, 20.0, 4.0), [0.5; 3], 0.0, 2);
        let boxes: Vec<_> = canvas
            .visible(3)
            .into_iter()
            .map(|s| s.map(|s| s.bounds))
            .collect();
        assert_eq!(boxes[1], Some([48, 16, 56, 24]));
        assert_eq!(boxes[0], Some([52, 12, 64, 28]));
        assert_eq!(boxes[2], None);
    }

    #[test]
    fn every_kind_of_shape_covers_its_middle_and_not_the_far_corner() {
        for shape in [
            Shape::Ellipse {
                centre: [20.0, 20.0],
                radii: [8.0, 5.0],
            },
            square(20.0, 20.0, 6.0),
            Shape::Limb {
                from: [12.0, 18.0],
                to: [28.0, 22.0],
                radius: 3.0,
            },
            Shape::Quad([[14.0, 14.0], [26.0, 14.0], [28.0, 26.0], [12.0, 26.0]]),
        ] {
            let mut canvas = Canvas::new(64, 48);
            canvas.paint(&shape, [1.0; 3], 0.0, 1);
            assert_eq!(canvas.pixels[20 * 64 + 20], [255; 3], "{shape:?}");
            assert_eq!(canvas.pixels[47 * 64 + 63], [0; 3], "{shape:?}");
        }
    }
}
