//! What the objects look like: a person who walks, a car that drives, a parcel that slides.
//!
//! Each drawing stands on its base line; lengths are shares of the object's own size. An object's
//! look is drawn once from the seed, its pose comes with each frame.

use super::canvas::{Canvas, Colour, Shape};
use super::random::Random;

/// The classes, in the order of the detector's outputs.
pub const LABELS: [&str; 3] = ["person", "car", "parcel"];

/// What an object is and looks like.
#[derive(Debug, Clone)]
pub(crate) enum Look {
    /// Someone on foot.
    Person {
        skin: Colour,
        hair: Colour,
        shirt: Colour,
        trousers: Colour,
        build: f32,
        bag: bool,
    },
    /// A car or a van.
    Car { paint: Colour, van: bool },
    /// A carton with a tape.
    Parcel {
        board: Colour,
        tape: Colour,
        tall: f32,
        label_at: f32,
    },
}

/// Where and how an object is at one moment; pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pose {
    /// Middle of its base line.
    pub(crate) at: [f32; 2],
    /// Height of a person, length of a car, width of a parcel.
    pub(crate) size: f32,
    /// 1 to the right, -1 to the left.
    pub(crate) heading: f32,
    /// Angle of the step or the wheel.
    pub(crate) gait: f32,
}

impl Look {
    /// A person drawn from `random`.
    pub(crate) fn person(random: &mut Random) -> Self {
        let skins = [
            [0.94, 0.78, 0.65],
            [0.80, 0.60, 0.45],
            [0.55, 0.38, 0.27],
            [0.36, 0.25, 0.18],
        ];
        let hairs = [
            [0.10, 0.08, 0.07],
            [0.35, 0.22, 0.12],
            [0.75, 0.60, 0.30],
            [0.60, 0.60, 0.62],
        ];
        let trousers = [
            [0.12, 0.14, 0.25],
            [0.20, 0.20, 0.20],
            [0.45, 0.38, 0.28],
            [0.15, 0.25, 0.40],
        ];
        Self::Person {
            skin: random.one_of(&skins),
            hair: random.one_of(&hairs),
            shirt: vivid(random),
            trousers: random.one_of(&trousers),
            build: random.between(0.9, 1.2),
            bag: random.between(0.0, 1.0) < 0.35,
        }
    }

    /// A car or van drawn from `random`.
    pub(crate) fn car(random: &mut Random) -> Self {
        let paints = [
            [0.75, 0.12, 0.12],
            [0.12, 0.25, 0.60],
            [0.85, 0.85, 0.87],
            [0.12, 0.12, 0.14],
            [0.55, 0.58, 0.60],
            [0.85, 0.65, 0.10],
            [0.10, 0.42, 0.28],
        ];
        Self::Car {
            paint: random.one_of(&paints),
            van: random.between(0.0, 1.0) < 0.3,
        }
    }

    /// A parcel drawn from `random`.
    pub(crate) fn parcel(random: &mut Random) -> Self {
        let boards = [[0.72, 0.53, 0.33], [0.62, 0.44, 0.26], [0.80, 0.65, 0.45]];
        let tapes = [[0.90, 0.85, 0.70], [0.25, 0.45, 0.75], [0.75, 0.25, 0.20]];
        Self::Parcel {
            board: random.one_of(&boards),
            tape: random.one_of(&tapes),
            tall: random.between(0.55, 0.9),
            label_at: random.between(-0.28, 0.28),
        }
    }

    /// Its class.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Person { .. } => LABELS[0],
            Self::Car { .. } => LABELS[1],
            Self::Parcel { .. } => LABELS[2],
        }
    }

    /// Width and height for a size of 1, roughly: what the generator keeps apart.
    pub(crate) fn extent(&self) -> [f32; 2] {
        match self {
            Self::Person { .. } => [0.36, 1.0],
            Self::Car { van, .. } => [1.0, if *van { 0.46 } else { 0.38 }],
            Self::Parcel { tall, .. } => [1.0, tall + 0.12],
        }
    }

    /// Draws it.
    pub(crate) fn draw(&self, canvas: &mut Canvas, pose: Pose, owner: u8) {
        let pen = &mut Pen {
            canvas,
            pose,
            owner,
        };
        match self {
            Self::Person {
                skin,
                hair,
                shirt,
                trousers,
                build,
                bag,
            } => {
                pen.shadow(0.17);
                draw_person(pen, [*skin, *hair, *shirt, *trousers], *build, *bag);
            }
            Self::Car { paint, van } => {
                pen.shadow(0.5);
                draw_car(pen, *paint, *van);
            }
            Self::Parcel {
                board,
                tape,
                tall,
                label_at,
            } => {
                pen.shadow(0.5);
                draw_parcel(pen, *board, *tape, *tall, *label_at);
            }
        }
    }
}

/// Paints in an object's own lengths: x along its heading, y up from its base line.
struct Pen<'a> {
    canvas: &'a mut Canvas,
    pose: Pose,
    owner: u8,
}

impl Pen<'_> {
    fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let Pose {
            at, size, heading, ..
        } = self.pose;
        [at[0] + x * heading * size, at[1] - y * size]
    }

    fn ellipse(&mut self, at: [f32; 2], radii: [f32; 2], colour: Colour) {
        let shape = Shape::Ellipse {
            centre: self.at(at[0], at[1]),
            radii: radii.map(|radius| radius * self.pose.size),
        };
        self.canvas.paint(&shape, colour, 0.12, self.owner);
    }

    fn block(&mut self, at: [f32; 2], half: [f32; 2], round: f32, colour: Colour) {
        let size = self.pose.size;
        let shape = Shape::Box {
            centre: self.at(at[0], at[1]),
            half: half.map(|side| side * size),
            round: round * size,
        };
        self.canvas.paint(&shape, colour, 0.15, self.owner);
    }

    fn limb(&mut self, from: [f32; 2], to: [f32; 2], radius: f32, colour: Colour) {
        let shape = Shape::Limb {
            from: self.at(from[0], from[1]),
            to: self.at(to[0], to[1]),
            radius: radius * self.pose.size,
        };
        self.canvas.paint(&shape, colour, 0.10, self.owner);
    }

    /// A shape that lies on its side: `low` and `high` are its left and right ends below and above.
    fn slab(&mut self, bottom: f32, low: [f32; 2], top: f32, high: [f32; 2], colour: Colour) {
        let mut corners = [
            self.at(high[0], top),
            self.at(high[1], top),
            self.at(low[1], bottom),
            self.at(low[0], bottom),
        ];
        if self.pose.heading < 0.0 {
            corners.reverse();
        }
        self.canvas
            .paint(&Shape::Quad(corners), colour, 0.10, self.owner);
    }

    fn shadow(&mut self, reach: f32) {
        let size = self.pose.size;
        let shape = Shape::Ellipse {
            centre: self.at(0.03, 0.0),
            radii: [reach * size, (0.12 * reach * size).max(1.0)],
        };
        self.canvas.darken(&shape, 0.4);
    }
}

fn draw_person(pen: &mut Pen<'_>, colours: [Colour; 4], build: f32, bag: bool) {
    let [skin, hair, shirt, trousers] = colours;
    let step = pen.pose.gait.sin();
    let shoe = [0.08, 0.07, 0.07];
    for (side, tone) in [(-1.0_f32, 0.75), (1.0, 1.0)] {
        let foot = 0.14 * step * side;
        let lift = 0.03 * (pen.pose.gait.cos() * side).max(0.0);
        let knee = [foot * 0.6 + 0.025, 0.25 + lift];
        pen.limb([0.0, 0.48], knee, 0.05 * build, dim(trousers, tone));
        pen.limb(
            knee,
            [foot, 0.05 + lift],
            0.042 * build,
            dim(trousers, tone),
        );
        pen.ellipse([foot + 0.02, 0.03 + lift], [0.055, 0.03], dim(shoe, tone));
    }
    let swing = |side: f32| [-0.13 * step * side + 0.02, 0.47];
    let elbow = |side: f32| [-0.06 * step * side - 0.01, 0.62];
    pen.limb([0.0, 0.79], elbow(-1.0), 0.033, dim(shirt, 0.7));
    pen.limb(elbow(-1.0), swing(-1.0), 0.028, dim(skin, 0.7));
    pen.block([0.0, 0.64], [0.095 * build, 0.185], 0.07, shirt);
    if bag {
        pen.block(
            [-0.12 * build, 0.66],
            [0.055, 0.11],
            0.03,
            dim(trousers, 0.8),
        );
    }
    pen.limb([0.0, 0.79], elbow(1.0), 0.035, dim(shirt, 0.88));
    pen.limb(elbow(1.0), swing(1.0), 0.03, skin);
    pen.limb([0.0, 0.82], [0.01, 0.86], 0.032, dim(skin, 0.9));
    pen.ellipse([0.01, 0.915], [0.062, 0.078], skin);
    pen.ellipse([-0.012, 0.945], [0.062, 0.055], hair);
}

fn draw_car(pen: &mut Pen<'_>, paint: Colour, van: bool) {
    let glass = [0.22, 0.30, 0.36];
    let (roof, sill) = if van { (0.45, 0.26) } else { (0.37, 0.25) };
    if van {
        pen.slab(0.2, [-0.49, 0.40], roof, [-0.48, 0.24], dim(paint, 0.95));
        pen.slab(sill, [0.06, 0.35], roof - 0.04, [0.06, 0.225], glass);
        pen.slab(sill, [-0.16, 0.03], roof - 0.04, [-0.16, 0.03], glass);
    } else {
        pen.slab(0.2, [-0.40, 0.30], roof, [-0.26, 0.12], dim(paint, 0.95));
        pen.slab(sill, [-0.33, -0.09], roof - 0.025, [-0.245, -0.09], glass);
        pen.slab(sill, [-0.06, 0.23], roof - 0.025, [-0.06, 0.11], glass);
    }
    pen.block([0.0, 0.17], [0.5, 0.085], 0.05, paint);
    pen.block([0.0, 0.105], [0.48, 0.02], 0.01, dim(paint, 0.6));
    pen.block([0.475, 0.19], [0.02, 0.022], 0.01, [0.98, 0.95, 0.75]);
    pen.block([-0.48, 0.19], [0.015, 0.025], 0.01, [0.85, 0.10, 0.08]);
    for axle in [-0.30_f32, 0.31] {
        pen.ellipse([axle, 0.08], [0.082, 0.08], [0.07, 0.07, 0.08]);
        pen.ellipse([axle, 0.08], [0.045, 0.045], [0.62, 0.63, 0.65]);
        let (sin, cos) = pen.pose.gait.sin_cos();
        pen.limb(
            [axle - 0.035 * cos, 0.08 - 0.035 * sin],
            [axle + 0.035 * cos, 0.08 + 0.035 * sin],
            0.008,
            [0.3, 0.3, 0.32],
        );
    }
}

fn draw_parcel(pen: &mut Pen<'_>, board: Colour, tape: Colour, tall: f32, label_at: f32) {
    pen.slab(
        tall,
        [-0.5, 0.5],
        tall + 0.12,
        [-0.38, 0.46],
        brighten(board),
    );
    pen.block([0.0, tall / 2.0], [0.5, tall / 2.0], 0.01, board);
    pen.block([0.0, tall / 2.0], [0.06, tall / 2.0], 0.0, tape);
    pen.slab(tall, [-0.06, 0.06], tall + 0.12, [-0.01, 0.10], tape);
    let aside = if label_at < 0.0 {
        label_at.min(-0.22)
    } else {
        label_at.max(0.22)
    };
    pen.block([aside, tall * 0.6], [0.11, 0.09], 0.01, [0.95, 0.95, 0.93]);
    pen.block([aside, tall * 0.6], [0.08, 0.015], 0.0, [0.15, 0.15, 0.15]);
}

/// A colour that stands out: one strong part, one weak one.
fn vivid(random: &mut Random) -> Colour {
    let (strong, weak) = (random.between(0.55, 0.95), random.between(0.05, 0.35));
    let middle = random.between(weak, strong);
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    let values = [strong, middle, weak];
    random.one_of(&orders).map(|at| values[at])
}

fn dim(colour: Colour, share: f32) -> Colour {
    colour.map(|part| part * share)
}

fn brighten(colour: Colour) -> Colour {
    colour.map(|part| (part * 1.2).min(1.0))
}
