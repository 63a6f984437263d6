//! What a camera shows: an endless loop or a clip that is played once.
//!
//! Owns the question "which picture comes next, and when"; a pure function of wall time, so every
//! session of every start of the camera shows the same picture at the same moment.

use crate::cache::Loop;
use crate::file::Clip;
use crate::units::{AccessUnit, ParameterSets};

/// A session that is this late begins anew with the next picture to start from.
const LATEST_US: u64 = 2_000_000;

/// Where pictures come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A loop: the picture shown at wall time `t` is `floor(t * fps) mod N`.
    Loop { units: Vec<AccessUnit>, fps: u64 },
    /// A clip.
    Clip(Clip),
}

/// A picture to be sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Due<'a> {
    /// What is sent.
    pub(crate) unit: &'a AccessUnit,
    /// When, microseconds since the epoch; not before.
    pub(crate) send_us: u64,
    /// When it was taken.
    pub(crate) taken_us: u64,
    /// Its number, for the next question.
    pub(crate) number: u64,
}

impl Source {
    /// A loop's source.
    pub(crate) fn of_loop(made: Loop) -> Self {
        Self::Loop {
            fps: u64::from(made.truth.fps),
            units: made.units,
        }
    }

    /// What a decoder needs first.
    pub(crate) fn parameter_sets(&self) -> Option<ParameterSets> {
        match self {
            Self::Loop { units, .. } => units.first()?.parameter_sets(),
            Self::Clip(clip) => Some(clip.parameter_sets.clone()),
        }
    }

    /// The picture after number `after`, or the first one to start from that is not yet over at
    /// `now_us`. `epoch_us` is when the clip began; `None` when it has not, or is over.
    pub(crate) fn next(
        &self,
        after: Option<u64>,
        now_us: u64,
        epoch_us: Option<u64>,
    ) -> Option<Due<'_>> {
        match self {
            Self::Loop { units, fps } => next_of_loop(units, *fps, after, now_us),
            Self::Clip(clip) => next_of_clip(clip, after, now_us, epoch_us?),
        }
    }
}

fn next_of_loop(
    units: &[AccessUnit],
    fps: u64,
    after: Option<u64>,
    now_us: u64,
) -> Option<Due<'_>> {
    let count = units.len() as u64;
    let due = |number: u64| {
        // Rounded up: a picture is not sent before its time.
        let taken_us = (u128::from(number) * 1_000_000).div_ceil(u128::from(fps)) as u64;
        Due {
            unit: &units[(number % count) as usize],
            send_us: taken_us,
            taken_us,
            number,
        }
    };
    if let Some(after) = after {
        let next = due(after + 1);
        if next.send_us + LATEST_US > now_us {
            return Some(next);
        }
    }
    let first = (u128::from(now_us) * u128::from(fps) / 1_000_000) as u64;
    (first..first + count).map(due).find(|due| due.unit.is_key)
}

fn next_of_clip(clip: &Clip, after: Option<u64>, now_us: u64, epoch_us: u64) -> Option<Due<'_>> {
    let due = |number: usize| {
        let unit = clip.units.get(number)?;
        Some(Due {
            unit: &unit.unit,
            send_us: epoch_us + unit.sent_us,
            taken_us: epoch_us + unit.shown_us,
            number: number as u64,
        })
    };
    if let Some(after) = after {
        let next = due(after as usize + 1)?;
        if next.send_us + LATEST_US > now_us {
            return Some(next);
        }
    }
    // A session that was there before the start gets everything, a later one what is still to come.
    let from = clip
        .units
        .partition_point(|unit| epoch_us + unit.sent_us < now_us);
    let skip = if after.is_none() && now_us < epoch_us + LATEST_US {
        0
    } else {
        from
    };
    (skip..clip.units.len())
        .filter_map(due)
        .find(|due| due.unit.is_key)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::file::ClipUnit;

    fn unit(is_key: bool) -> AccessUnit {
        AccessUnit {
            nals: vec![Bytes::from_static(&[0x41])],
            is_key,
        }
    }

    fn endless() -> Source {
        Source::Loop {
            units: (0..30).map(|i| unit(i % 15 == 0)).collect(),
            fps: 15,
        }
    }

    fn clip() -> Source {
        let shown = [0, 120_000, 40_000, 80_000, 3_000_000, 3_040_000];
        let mut sent_us = 0;
        let units = shown.iter().enumerate().map(|(at, &shown_us)| {
            sent_us = shown_us.max(sent_us);
            ClipUnit {
                unit: unit(at % 4 == 0),
                shown_us,
                sent_us,
            }
        });
        let nal = Bytes::from_static(&[0x67, 1, 2, 3]);
        Source::Clip(Clip {
            units: units.collect(),
            parameter_sets: ParameterSets {
                sps: nal.clone(),
                pps: nal,
            },
            length_us: 3_080_000,
        })
    }

    #[test]
    fn a_loop_begins_with_a_picture_to_start_from_and_runs_on_in_step_with_the_clock() {
        let (source, now) = (endless(), 1_700_000_000_100_000);
        let first = source.next(None, now, None).unwrap();
        assert!(first.unit.is_key && first.send_us >= now);
        assert_eq!(first.number % 30, 15);
        let next = source
            .next(Some(first.number), first.send_us, None)
            .unwrap();
        assert_eq!(next.number, first.number + 1);
        // floor(t * fps) at the moment of sending is the picture's number.
        for due in [first, next] {
            assert_eq!(due.send_us * 15 / 1_000_000, due.number);
            assert_eq!((due.send_us - 1) * 15 / 1_000_000, due.number - 1);
        }
    }

    #[test]
    fn a_session_that_lags_begins_anew_with_a_picture_to_start_from() {
        let source = endless();
        let first = source.next(None, 1_000_000, None).unwrap();
        let late = source
            .next(Some(first.number), first.send_us + 5_000_000, None)
            .unwrap();
        assert!(late.unit.is_key && late.number > first.number + 60);
    }

    #[test]
    fn a_clip_waits_for_its_start_and_then_keeps_its_order_and_times() {
        let source = clip();
        assert!(source.next(None, 5_000_000, None).is_none());
        let (mut after, mut sent, mut taken) = (None, Vec::new(), Vec::new());
        while let Some(due) = source.next(after, 5_000_000, Some(5_000_000)) {
            sent.push(due.send_us - 5_000_000);
            taken.push(due.taken_us - 5_000_000);
            after = Some(due.number);
        }
        assert_eq!(taken, [0, 120_000, 40_000, 80_000, 3_000_000, 3_040_000]);
        assert_eq!(sent, [0, 120_000, 120_000, 120_000, 3_000_000, 3_040_000]);
    }

    #[test]
    fn a_session_that_comes_later_gets_what_is_still_to_come() {
        let due = |now| {
            clip()
                .next(None, now, Some(5_000_000))
                .map(|due| due.number)
        };
        assert_eq!(
            (due(5_050_000), due(7_500_000), due(8_010_000)),
            (Some(0), Some(4), None)
        );
    }
}
