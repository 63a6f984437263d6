//! Bad input for everything foreign that Parapet parses: targets, their corpora, and a driver that
//! mutates them.
//!
//! Development only. A [`Target`] is a function that takes any bytes and panics when a promise is
//! broken. [`drive`] feeds it its corpus first and then mutations, for a time, from a seed that
//! makes a run repeatable. The test `holds` does so shortly for all; the executable (`make fuzz`)
//! as long as one likes. Not guided by coverage: that needs a compiler which is not the stable one.

#![forbid(unsafe_code)]

mod mutate;
mod targets;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub use mutate::Mutator;
pub use targets::TARGETS;

/// One parser with its promises.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Words that its inputs consist of.
    pub words: &'static [&'static str],
}

/// What a run has done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Inputs that were tried.
    pub inputs: u64,
    /// The longest that one of them took.
    pub slowest: Duration,
}

/// Longest that one input may take: a hang is a broken promise. Generous, since tests share cores.
pub const SLOWEST: Duration = Duration::from_secs(2);
/// Longest input that is made.
const LONGEST: usize = 64 * 1024;

/// Feeds a target for `time`. An input that makes it panic, or takes too long, is kept at `trace`;
/// one that aborts the process or never ends is found again by the seed.
///
/// # Panics
///
/// When a promise is broken, or the target has no corpus.
pub fn drive(target: &Target, seed: u64, time: Duration, trace: &Path) -> std::io::Result<Done> {
    let corpus = corpus(target)?;
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let mut mutator = Mutator::new(seed);
    let mut done = Done {
        inputs: 0,
        slowest: Duration::ZERO,
    };
    let end = Instant::now() + time;
    let mut first = corpus.iter().cloned();
    while Instant::now() < end {
        let input = match first.next() {
            Some(seed) => seed,
            None => mutator.next(&corpus, target.words, LONGEST),
        };
        let begun = Instant::now();
        let caught = std::panic::catch_unwind(|| (target.run)(&input));
        let took = begun.elapsed();
        if caught.is_err() || took > SLOWEST {
            std::fs::write(trace, &input)?;
            panic!(
                "{}: a promise is broken ({took:?}) by the input kept at {}; again: \
                 parapet-fuzz {0} {1}",
                target.name,
                trace.display()
            );
        }
        done.inputs += 1;
        done.slowest = done.slowest.max(took);
    }
    Ok(done)
}

/// The inputs that are kept for a target, in the order of their names.
pub fn corpus(target: &Target) -> std::io::Result<Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.sort();
    files.into_iter().map(std::fs::read).collect()
}
