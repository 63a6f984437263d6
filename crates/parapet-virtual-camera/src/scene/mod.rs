//! A street scene whose truth is known: a closed loop, drawn from a seed.
//!
//! Owns where every object is at every moment and what it looks like; gives pictures and the boxes
//! of what is visible in them. Pure: no clock, no file, no encoder. The same seed, size and length
//! give the same pixels on every machine.

mod actors;
mod background;
mod canvas;
mod motion;
mod random;

pub use actors::LABELS;

use std::f32::consts::TAU;

use crate::truth::TruthBox;
use actors::{Look, Pose};
use canvas::Canvas;
use motion::Path;
use random::Random;

/// What a scene is made from; all of it goes into the name of its cached clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SceneParameters {
    /// Pixels a row, even, 64 to 3840.
    pub width: u32,
    /// Rows, even, 64 to 2160.
    pub height: u32,
    /// Pictures a second, 1 to 60.
    pub fps: u32,
    /// Length of the loop, 1 to 60 s.
    pub seconds: u32,
    /// Which scene.
    pub seed: u64,
}

/// Why no scene can be made of some parameters.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SceneError {
    /// The size is odd or outside the limits.
    #[error("make a scene of {0}x{1}: sides are even, 64x64 to 3840x2160")]
    Size(u32, u32),
    /// The frame rate is outside the limits.
    #[error("make a scene of {0} frames/s: 1 to 60 are possible")]
    FrameRate(u32),
    /// The length is outside the limits.
    #[error("make a loop of {0} s: 1 to 60 are possible")]
    Length(u32),
}

impl SceneParameters {
    /// Checks the limits.
    pub fn check(&self) -> Result<(), SceneError> {
        let side = |value: u32, most: u32| (64..=most).contains(&value) && value.is_multiple_of(2);
        if !side(self.width, 3840) || !side(self.height, 2160) {
            return Err(SceneError::Size(self.width, self.height));
        }
        if !(1..=60).contains(&self.fps) {
            return Err(SceneError::FrameRate(self.fps));
        }
        if !(1..=60).contains(&self.seconds) {
            return Err(SceneError::Length(self.seconds));
        }
        Ok(())
    }

    /// Frames of the loop.
    #[must_use]
    pub fn frames(&self) -> u32 {
        self.fps * self.seconds
    }
}

/// An object: what it is, how large, and how it moves.
#[derive(Debug, Clone)]
struct Actor {
    look: Look,
    path: Path,
    /// In heights of the picture.
    size: f32,
    /// Full steps or turns of a wheel in a loop.
    steps: f32,
}

/// A scene.
#[derive(Debug)]
pub struct Scene {
    parameters: SceneParameters,
    street: Vec<[u8; 3]>,
    /// Farthest first, so that nearer ones are painted over them.
    actors: Vec<Actor>,
    light: [f32; 2],
    canvas: Canvas,
    noise: u64,
}

/// Share of an object that another one may hide at worst, judged by their outer boxes.
const HIDDEN_AT_WORST: f32 = 0.45;

impl Scene {
    /// The scene of these parameters.
    pub fn new(parameters: SceneParameters) -> Result<Self, SceneError> {
        parameters.check()?;
        let (width, height) = (parameters.width as usize, parameters.height as usize);
        let root = Random::new(parameters.seed);
        let street = background::paint(width, height, &mut root.branch(1));
        let actors = cast(width as f32 / height as f32, &mut root.branch(2));
        let mut mood = root.branch(3);
        let light = [mood.between(0.04, 0.10), mood.between(0.0, 1.0)];
        let canvas = Canvas::new(width, height);
        Ok(Self {
            parameters,
            street,
            actors,
            light,
            canvas,
            noise: mood.next(),
        })
    }

    /// Draws frame `index` of the loop into planar YUV 4:2:0 (BT.709, limited range) and gives what
    /// is visible in it.
    pub fn draw(&mut self, index: u32, picture: &mut YuvPicture<'_>) -> Vec<TruthBox> {
        let frames = self.parameters.frames();
        let moment = (index % frames) as f32 / frames as f32;
        let (width, height) = (self.canvas.width, self.canvas.height);
        let scale = height as f32;
        self.canvas.clear_to(&self.street);
        for (number, actor) in self.actors.iter().enumerate() {
            let (x, heading) = actor.path.at(moment);
            let pose = Pose {
                at: [x * scale, actor.path.base_line() * scale],
                size: actor.size * scale,
                heading,
                gait: TAU * actor.steps * moment,
            };
            actor.look.draw(&mut self.canvas, pose, number as u8 + 1);
        }
        let light = 1.0 + self.light[0] * (TAU * (moment + self.light[1])).sin();
        to_yuv(
            &self.canvas,
            light,
            self.noise ^ u64::from(index % frames),
            picture,
        );
        let seen = self.canvas.visible(self.actors.len());
        let share = |value: usize, whole: usize| value as f64 / whole as f64;
        self.actors
            .iter()
            .zip(seen)
            .filter_map(|(actor, seen)| {
                let [left, top, right, bottom] = seen?.bounds;
                Some(TruthBox {
                    label: actor.look.label().to_owned(),
                    left: share(left, width),
                    top: share(top, height),
                    right: share(right, width),
                    bottom: share(bottom, height),
                })
            })
            .collect()
    }
}

/// Three planes to draw into, and the bytes a row of each.
#[derive(Debug)]
pub struct YuvPicture<'a> {
    /// Luma, `height` rows.
    pub luma: &'a mut [u8],
    /// Bytes a row of luma.
    pub luma_stride: usize,
    /// Blue difference, half as many rows.
    pub blue: &'a mut [u8],
    /// Red difference, half as many rows.
    pub red: &'a mut [u8],
    /// Bytes a row of either difference.
    pub chroma_stride: usize,
}

/// Who draws a look, the base line, and the least and largest size.
type Role = (fn(&mut Random) -> Look, f32, [f32; 2]);

/// Chooses the objects: as many of the wanted ones as fit without hiding each other too much.
fn cast(aspect: f32, random: &mut Random) -> Vec<Actor> {
    let mut actors: Vec<Actor> = Vec::new();
    let wanted: [Role; 12] = [
        (Look::person, background::FAR_WALK, [0.20, 0.25]),
        (Look::person, background::FAR_WALK, [0.20, 0.25]),
        (Look::parcel, background::FAR_WALK, [0.085, 0.11]),
        (Look::car, background::FAR_LANE, [0.34, 0.42]),
        (Look::car, background::FAR_LANE, [0.34, 0.42]),
        (Look::car, background::NEAR_LANE, [0.42, 0.52]),
        (Look::person, background::NEAR_WALK, [0.30, 0.38]),
        (Look::person, background::NEAR_WALK, [0.30, 0.38]),
        (Look::person, background::NEAR_WALK, [0.30, 0.38]),
        (Look::parcel, background::BELT, [0.11, 0.16]),
        (Look::parcel, background::BELT, [0.11, 0.16]),
        (Look::parcel, background::BELT, [0.11, 0.16]),
    ];
    for (make, line, sizes) in wanted {
        for _ in 0..60 {
            let look = make(random);
            let size = random.between(sizes[0], sizes[1]);
            let half = look.extent()[0] * size / 2.0;
            let base = line + random.between(-0.012, 0.012);
            let path = Path::draw(
                aspect,
                half,
                base,
                matches!(look, Look::Person { .. }),
                random,
            );
            let stride = match look {
                Look::Person { .. } => size * 0.75,
                Look::Car { .. } | Look::Parcel { .. } => size * 0.5,
            };
            // Whole steps, so that the loop closes; at least as fast as the ground goes by.
            let steps = (path.way(aspect) / stride).round().max(1.0);
            let actor = Actor {
                look,
                path,
                size,
                steps,
            };
            if actors
                .iter()
                .all(|other| hidden_at_worst(&actor, other) <= HIDDEN_AT_WORST)
            {
                actors.push(actor);
                break;
            }
        }
    }
    actors.sort_by(|a, b| a.path.base_line().total_cmp(&b.path.base_line()));
    actors
}

/// The largest share of the smaller outer box that the two ever have in common.
fn hidden_at_worst(a: &Actor, b: &Actor) -> f32 {
    const MOMENTS: u32 = 240;
    let outline = |actor: &Actor, moment: f32| {
        let [width, height] = actor.look.extent().map(|side| side * actor.size);
        let (x, base) = (actor.path.at(moment).0, actor.path.base_line());
        [x - width / 2.0, base - height, x + width / 2.0, base]
    };
    (0..MOMENTS).fold(0.0, |worst: f32, step| {
        let moment = step as f32 / MOMENTS as f32;
        let (one, two) = (outline(a, moment), outline(b, moment));
        let area = |of: [f32; 4]| (of[2] - of[0]).max(0.0) * (of[3] - of[1]).max(0.0);
        let shared = [
            one[0].max(two[0]),
            one[1].max(two[1]),
            one[2].min(two[2]),
            one[3].min(two[3]),
        ];
        let common = if shared[2] > shared[0] && shared[3] > shared[1] {
            area(shared)
        } else {
            0.0
        };
        worst.max(common / area(one).min(area(two)))
    })
}

/// BT.709, limited range, with the light of the moment and a trace of sensor noise.
fn to_yuv(canvas: &Canvas, light: f32, seed: u64, picture: &mut YuvPicture<'_>) {
    let mut random = Random::new(seed);
    let (width, height) = (canvas.width, canvas.height);
    let gain: Vec<f32> = (0..256_u32)
        .map(|value| (value as f32 * light).min(255.0))
        .collect();
    let lit = |pixel: [u8; 3]| pixel.map(|part| gain[usize::from(part)]);
    for y in (0..height).step_by(2) {
        let mut bits = 0_u64;
        for x in (0..width).step_by(2) {
            if x % 32 == 0 {
                bits = random.next();
            }
            let mut sum = [0.0_f32; 3];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let [r, g, b] = lit(canvas.pixels[(y + dy) * width + x + dx]);
                let noise = (bits & 3) as f32 - 1.5;
                bits = bits.rotate_right(3);
                let luma = 16.5 + 0.1826 * r + 0.6142 * g + 0.0620 * b + noise * 0.6;
                picture.luma[(y + dy) * picture.luma_stride + x + dx] = luma as u8;
                sum = [sum[0] + r, sum[1] + g, sum[2] + b];
            }
            let [r, g, b] = sum.map(|part| part / 4.0);
            let at = y / 2 * picture.chroma_stride + x / 2;
            picture.blue[at] = (128.5 - 0.1006 * r - 0.3386 * g + 0.4392 * b) as u8;
            picture.red[at] = (128.5 + 0.4392 * r - 0.3989 * g - 0.0403 * b) as u8;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const SMALL: SceneParameters = SceneParameters {
        width: 320,
        height: 180,
        fps: 10,
        seconds: 12,
        seed: 7,
    };

    fn drawn(scene: &mut Scene, index: u32) -> (Vec<u8>, Vec<TruthBox>) {
        let area = (SMALL.width * SMALL.height) as usize;
        let (mut luma, mut blue, mut red) = (vec![0; area], vec![0; area / 4], vec![0; area / 4]);
        let truth = scene.draw(
            index,
            &mut YuvPicture {
                luma: &mut luma,
                luma_stride: SMALL.width as usize,
                blue: &mut blue,
                red: &mut red,
                chroma_stride: SMALL.width as usize / 2,
            },
        );
        (luma, truth)
    }

    #[test]
    fn a_seed_repeats_pixel_by_pixel_and_another_shows_another_scene() {
        let mut scene = Scene::new(SMALL).unwrap();
        let mut again = Scene::new(SMALL).unwrap();
        let mut other = Scene::new(SceneParameters { seed: 8, ..SMALL }).unwrap();
        assert_eq!(drawn(&mut scene, 17), drawn(&mut again, 17));
        assert_ne!(drawn(&mut scene, 17).1, drawn(&mut other, 17).1);
    }

    #[test]
    fn the_loop_closes() {
        let mut scene = Scene::new(SMALL).unwrap();
        assert_eq!(drawn(&mut scene, 0), drawn(&mut scene, SMALL.frames()));
        // From the last frame to the first nothing but what enters or leaves moves far.
        let centre = |b: &TruthBox| f64::midpoint(b.left, b.right);
        let (last, first) = (
            drawn(&mut scene, SMALL.frames() - 1).1,
            drawn(&mut scene, 0).1,
        );
        for seen in first.iter().filter(|b| b.left > 0.1 && b.right < 0.9) {
            let near = last
                .iter()
                .any(|b| b.label == seen.label && (centre(b) - centre(seen)).abs() < 0.05);
            assert!(near, "{seen:?} has jumped; before: {last:?}");
        }
    }

    #[test]
    fn every_class_is_seen_and_boxes_lie_in_the_picture() {
        for seed in 0..6 {
            let mut scene = Scene::new(SceneParameters { seed, ..SMALL }).unwrap();
            let mut labels = BTreeSet::new();
            for index in (0..SMALL.frames()).step_by(10) {
                for seen in drawn(&mut scene, index).1 {
                    assert!(0.0 <= seen.left && seen.left < seen.right && seen.right <= 1.0);
                    assert!(0.0 <= seen.top && seen.top < seen.bottom && seen.bottom <= 1.0);
                    labels.insert(seen.label);
                }
            }
            assert_eq!(
                labels,
                LABELS.iter().map(|&l| l.to_owned()).collect(),
                "seed {seed}"
            );
        }
    }

    #[test]
    fn something_leaves_and_returns() {
        let mut scene = Scene::new(SMALL).unwrap();
        let counts: BTreeSet<usize> = (0..SMALL.frames())
            .step_by(4)
            .map(|i| drawn(&mut scene, i).1.len())
            .collect();
        assert!(counts.len() > 2, "always as many objects: {counts:?}");
    }

    #[test]
    fn parameters_outside_the_limits_are_refused_by_name() {
        let check = |p: SceneParameters| p.check().unwrap_err();
        assert_eq!(
            check(SceneParameters {
                width: 321,
                ..SMALL
            }),
            SceneError::Size(321, 180)
        );
        assert_eq!(
            check(SceneParameters { fps: 0, ..SMALL }),
            SceneError::FrameRate(0)
        );
        assert_eq!(
            check(SceneParameters {
                seconds: 61,
                ..SMALL
            }),
            SceneError::Length(61)
        );
    }
}
