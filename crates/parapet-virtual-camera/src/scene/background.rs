//! The street that the objects move on: a house, a pavement, a road, a yard. It never moves.

use super::canvas::{Canvas, Colour, NOBODY, Shape};
use super::random::Random;

/// Base lines that fit the street, as shares of the picture's height.
pub(crate) const FAR_WALK: f32 = 0.43;
/// The lane farther away.
pub(crate) const FAR_LANE: f32 = 0.55;
/// The lane nearer.
pub(crate) const NEAR_LANE: f32 = 0.67;
/// The yard's pavement.
pub(crate) const NEAR_WALK: f32 = 0.86;
/// The belt that parcels ride on.
pub(crate) const BELT: f32 = 0.975;

/// Paints the street of a seed.
pub(crate) fn paint(width: usize, height: usize, random: &mut Random) -> Vec<[u8; 3]> {
    let mut canvas = Canvas::new(width, height);
    let walls = [
        [0.62, 0.52, 0.44],
        [0.55, 0.57, 0.60],
        [0.66, 0.62, 0.52],
        [0.50, 0.42, 0.40],
    ];
    let grounds = [[0.56, 0.55, 0.52], [0.50, 0.52, 0.50], [0.60, 0.56, 0.50]];
    let (wall, ground) = (random.one_of(&walls), random.one_of(&grounds));
    let road = [0.27, 0.27, 0.29].map(|part| part * random.between(0.85, 1.25));
    let mut band = |top: f32, bottom: f32, colour: Colour| {
        let (w, h) = (width as f32, height as f32);
        let shape = Shape::Box {
            centre: [w / 2.0, f32::midpoint(top, bottom) * h],
            half: [w / 2.0 + 2.0, (bottom - top) / 2.0 * h],
            round: 0.0,
        };
        canvas.paint(&shape, colour, 0.08, NOBODY);
    };
    band(0.0, 0.34, wall);
    band(0.32, 0.345, wall.map(|part| part * 0.7));
    band(0.345, 0.46, ground);
    band(0.46, 0.475, ground.map(|part| part * 1.2));
    band(0.475, 0.705, road);
    band(0.705, 0.72, ground.map(|part| part * 1.2));
    band(0.72, 0.90, ground.map(|part| part * 0.92));
    band(0.90, 1.0, [0.16, 0.17, 0.18]);
    details(&mut canvas, random);
    grain(&mut canvas, random);
    canvas.pixels
}

/// Windows, bushes, lane marks, slabs, rollers: what a detector has to learn to ignore.
fn details(canvas: &mut Canvas, random: &mut Random) {
    let (w, h) = (canvas.width as f32, canvas.height as f32);
    let block = |x: f32, y: f32, a: f32, b: f32| Shape::Box {
        centre: [x * h, y * h],
        half: [a * h, b * h],
        round: 0.0,
    };
    let aspect = w / h;
    let pitch = random.between(0.20, 0.30);
    let glass = [0.25, 0.30, 0.36].map(|part| part * random.between(0.7, 1.4));
    let mut x = random.between(0.02, pitch);
    while x < aspect {
        canvas.paint(
            &block(x, 0.13, 0.058, 0.08),
            [0.85, 0.84, 0.80],
            0.0,
            NOBODY,
        );
        canvas.paint(&block(x, 0.13, 0.050, 0.072), glass, 0.2, NOBODY);
        canvas.paint(
            &block(x, 0.13, 0.003, 0.072),
            [0.85, 0.84, 0.80],
            0.0,
            NOBODY,
        );
        x += pitch;
    }
    for _ in 0..5 {
        let (x, size) = (random.between(0.0, aspect), random.between(0.02, 0.05));
        for _ in 0..9 {
            let bush = Shape::Ellipse {
                centre: [
                    (x + random.between(-1.6, 1.6) * size) * h,
                    (0.335 - random.between(0.2, 1.0) * size) * h,
                ],
                radii: [size * h * 0.7, size * h * 0.55],
            };
            let green = random.between(0.22, 0.42);
            canvas.paint(&bush, [green * 0.5, green, green * 0.4], 0.3, NOBODY);
        }
    }
    let mut x = random.between(0.0, 0.2);
    while x < aspect {
        canvas.paint(
            &block(x, 0.59, 0.045, 0.004),
            [0.85, 0.85, 0.82],
            0.0,
            NOBODY,
        );
        x += 0.2;
    }
    let mut x = random.between(0.0, 0.12);
    while x < aspect {
        canvas.paint(
            &block(x, 0.81, 0.0015, 0.09),
            [0.36, 0.35, 0.33],
            0.0,
            NOBODY,
        );
        canvas.paint(
            &block(x + 0.05, 0.40, 0.0012, 0.055),
            [0.40, 0.39, 0.37],
            0.0,
            NOBODY,
        );
        x += 0.12;
    }
    let mut x = 0.02;
    while x < aspect {
        canvas.paint(
            &block(x, 0.95, 0.004, 0.05),
            [0.24, 0.25, 0.27],
            0.0,
            NOBODY,
        );
        x += 0.045;
    }
}

/// Two layers of smooth noise: stains and roughness.
fn grain(canvas: &mut Canvas, random: &mut Random) {
    let (width, height) = (canvas.width, canvas.height);
    // Cells are shares of the height, so that a larger picture shows the same street.
    let layers =
        [(height as f32 / 9.0, 0.09), (height as f32 / 120.0, 0.07)].map(|(cell, depth)| {
            let (columns, rows) = (
                (width as f32 / cell) as usize + 2,
                (height as f32 / cell) as usize + 2,
            );
            let knots: Vec<f32> = (0..columns * rows)
                .map(|_| random.between(-depth, depth))
                .collect();
            (cell, columns, knots)
        });
    for y in 0..height {
        for x in 0..width {
            let gain: f32 = layers
                .iter()
                .map(|(cell, columns, knots)| {
                    let (u, v) = (x as f32 / cell, y as f32 / cell);
                    let [across, down] = [smooth(u.fract()), smooth(v.fract())];
                    let first = v as usize * columns + u as usize;
                    let row = |at: usize| knots[at] * (1.0 - across) + knots[at + 1] * across;
                    row(first) * (1.0 - down) + row(first + columns) * down
                })
                .sum();
            for part in &mut canvas.pixels[y * width + x] {
                *part = (f32::from(*part) * (1.0 + gain)).clamp(0.0, 255.0) as u8;
            }
        }
    }
}

fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}
