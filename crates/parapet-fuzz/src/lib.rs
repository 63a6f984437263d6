//! Bad input for everything foreign that Parapet parses: a driver that mutates what a corpus
//! holds, and the corpora. The targets are tests of the crates whose parsers they feed.
//!
//! Development only. A [`Target`] is a function that takes any bytes and panics when a promise is
//! broken. [`drive`] feeds it its corpus first and then mutations, for a time, from a seed that
//! makes a run repeatable. `cargo nextest run` does so shortly for all, `make fuzz` as long as one
//! likes (`docs/fuzzing.md`). Not guided by coverage: that needs a compiler which is not the stable
//! one.

mod drive;
mod memory;
mod mutate;
mod trace;
mod tree;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use drive::{Broken, Done, Limits, drive};
pub use memory::Counting;
pub use mutate::Mutator;

/// One parser with its promises.
#[derive(Clone, Copy)]
pub struct Target<'a> {
    /// Its name, and that of its folder in `corpus/`.
    pub name: &'a str,
    /// Words that its inputs consist of.
    pub words: &'a [&'a str],
    /// Panics when a promise is broken; else whether the input was understood, not refused.
    pub run: &'a dyn Fn(&[u8]) -> bool,
}

impl std::fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Of a short run, so that each is the same.
const SEED: u64 = 20_261_128;
/// Of a short run.
const SHORTLY: Duration = Duration::from_millis(800);

/// What a test with a target does: feeds it shortly, or as the variables of `tools/fuzz` say.
///
/// # Panics
///
/// When a promise is broken, with the place where the input is kept.
#[track_caller]
pub fn feed(target: &Target<'_>) {
    feed_within(target, Limits::default());
}

/// As [`feed`], for a target whose inputs may cost more or less than others'.
///
/// # Panics
///
/// When a promise is broken, with the place where the input is kept.
#[track_caller]
pub fn feed_within(target: &Target<'_>, limits: Limits) {
    if let Some(file) = std::env::var_os("PARAPET_FUZZ_INPUT") {
        let input = std::fs::read(&file)
            .unwrap_or_else(|error| panic!("read {}: {error}", Path::new(&file).display()));
        let taken = (target.run)(&input);
        eprintln!("{}: no promise is broken, taken: {taken}", target.name);
        return;
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let (time, seed) = match number("PARAPET_FUZZ_SECONDS") {
        Some(seconds) => (Duration::from_secs(seconds), now()),
        None => (SHORTLY, SEED),
    };
    let seed = number("PARAPET_FUZZ_SEED").unwrap_or(seed);
    match drive(target, seed, time, limits) {
        Ok(done) => println!("{}: seed {seed}, {done}", target.name),
        Err(broken) => panic!(
            "{broken}\nseed {seed}; again: make fuzz FUZZ={} INPUT={}",
            target.name,
            broken.trace.display()
        ),
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64)
}

/// The inputs that are kept for a target, with their names, in the order of these.
pub fn corpus(name: &str) -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<Vec<PathBuf>>>()?;
    files.sort();
    let named = |file: PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        Ok((name.into_owned(), std::fs::read(&file)?))
    };
    files.into_iter().map(named).collect()
}
