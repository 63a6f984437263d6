//! How objects move: closed ways, so that the last frame leads to the first.

use std::f32::consts::TAU;

use super::random::Random;

/// A way along a base line; lengths in heights of the picture, moments 0..1 of the loop.
#[derive(Debug, Clone)]
pub(crate) enum Path {
    /// From one side out to the other, and again from the start: leaves and returns.
    Cross {
        base: f32,
        from: f32,
        to: f32,
        laps: f32,
        phase: f32,
    },
    /// To and fro around a place.
    Pace {
        base: f32,
        centre: f32,
        reach: f32,
        turns: f32,
        phase: f32,
    },
}

impl Path {
    /// Draws a way for something `half` wide to either side.
    pub(crate) fn draw(
        aspect: f32,
        half: f32,
        base: f32,
        may_pace: bool,
        random: &mut Random,
    ) -> Self {
        let phase = random.between(0.0, 1.0);
        if may_pace && random.between(0.0, 1.0) < 0.4 {
            let reach = random.between(0.12, 0.35);
            let centre = random.between(0.15 + reach, (aspect - 0.15 - reach).max(0.2 + reach));
            return Self::Pace {
                base,
                centre,
                reach,
                turns: random.one_of(&[1.0, 2.0]),
                phase,
            };
        }
        let near = -half - random.between(0.02, 0.5);
        let far = aspect + half + random.between(0.02, 0.5);
        let (from, to) = if random.between(0.0, 1.0) < 0.5 {
            (near, far)
        } else {
            (far, near)
        };
        Self::Cross {
            base,
            from,
            to,
            laps: 1.0,
            phase,
        }
    }

    /// Where it is, and which way it faces.
    pub(crate) fn at(&self, moment: f32) -> (f32, f32) {
        match *self {
            Self::Cross {
                from,
                to,
                laps,
                phase,
                ..
            } => {
                let along = (moment * laps + phase).fract();
                (from + (to - from) * along, (to - from).signum())
            }
            Self::Pace {
                centre,
                reach,
                turns,
                phase,
                ..
            } => {
                let angle = TAU * (turns * moment + phase);
                (
                    centre + reach * angle.sin(),
                    if angle.cos() < 0.0 { -1.0 } else { 1.0 },
                )
            }
        }
    }

    /// The line it stands on.
    pub(crate) fn base_line(&self) -> f32 {
        match *self {
            Self::Cross { base, .. } | Self::Pace { base, .. } => base,
        }
    }

    /// How far it goes in a loop.
    pub(crate) fn way(&self, aspect: f32) -> f32 {
        match *self {
            Self::Cross { laps, .. } => laps * (aspect + 0.5),
            Self::Pace { reach, turns, .. } => 4.0 * reach * turns,
        }
    }
}
