//! Feeds a target, and watches it from outside: time, memory, panics on any thread.

use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use crate::memory::{begin as begin_counting, held, most as most_held};
use crate::mutate::Mutator;
use crate::trace::Trace;
use crate::{Target, corpus};

/// What one input may cost.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest that it may take: a hang is a broken promise.
    pub slowest: Duration,
    /// After this the process is ended: the input does not end by itself.
    pub endless: Duration,
    /// Bytes that the process may hold beyond what it held before its first input.
    pub memory: usize,
    /// Parts of paths of sources whose panics break no promise: libraries whose caller catches
    /// them on purpose.
    pub caught: &'static [&'static str],
}

/// Generous with time, since tests share cores. An input has 64 KiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            slowest: Duration::from_secs(3),
            endless: Duration::from_secs(12),
            memory: 64 * 1024 * 1024,
            caught: &[],
        }
    }
}

/// Beyond this no memory is given, and the process ends.
const NO_MORE: usize = 1024 * 1024 * 1024;
/// Longest input that is made.
const LONGEST: usize = 64 * 1024;
/// Inputs to change: the corpus, and what was understood lately.
const POOL: usize = 256;
/// However slow a target or a machine is.
const FEWEST: u64 = 20;

static PANICS: AtomicU64 = AtomicU64::new(0);

/// What a run has done.
#[derive(Debug, Clone, Copy)]
pub struct Done {
    /// Inputs that were tried.
    pub inputs: u64,
    /// Those that were understood.
    pub taken: u64,
    /// For how long.
    pub time: Duration,
    /// The longest that one of them took.
    pub slowest: Duration,
    /// The most memory beyond what was held before, in bytes; `None` where it cannot be told.
    pub most: Option<usize>,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each_second = self.inputs as f64 / self.time.as_secs_f64().max(0.001);
        write!(
            f,
            "{} inputs ({each_second:.0}/s), {} understood, slowest {:?}, ",
            self.inputs, self.taken, self.slowest
        )?;
        match self.most {
            Some(bytes) => write!(f, "at most {} KiB more memory", bytes / 1024),
            None => write!(f, "memory not measured: tests share this process"),
        }
    }
}

/// A promise that does not hold.
#[derive(Debug)]
pub struct Broken {
    target: String,
    why: String,
    /// The input, or the corpus that is at fault.
    pub trace: PathBuf,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { target, why, trace } = self;
        write!(f, "{target}: {why}; kept at {}", trace.display())
    }
}

/// Feeds a target its corpus, and then mutations for `time`. The input under way is always in a
/// file: that of a broken promise stays there, also where the process is ended by an abort, an
/// overflow of the stack, or for want of memory or an end.
///
/// # Errors
///
/// A panic, too much time, or a corpus of which nothing is understood: then the target tries the
/// refusal only. Where the process is its own, also too much memory and a panic that the target's
/// code caught itself.
///
/// # Panics
///
/// When the corpus cannot be read or the trace not be written.
pub fn drive(
    target: &Target<'_>,
    seed: u64,
    time: Duration,
    limits: Limits,
) -> Result<Done, Broken> {
    let seeds = corpus(target.name)
        .unwrap_or_else(|error| panic!("read the corpus of {}: {error}", target.name));
    assert!(!seeds.is_empty(), "{} has no corpus", target.name);
    let trace = Trace::new(target.name).unwrap_or_else(|error| panic!("keep inputs: {error}"));
    count_panics(limits.caught);
    let kept = seeds.len().min(POOL / 2);
    let mut inputs: Vec<Vec<u8>> = seeds.into_iter().map(|(_, input)| input).collect();
    let mut run = Run {
        target,
        clock: Clock::start(target.name, &trace, limits.endless),
        trace,
        limits,
        before: held(),
        done: Done {
            inputs: 0,
            taken: 0,
            time: Duration::ZERO,
            slowest: Duration::ZERO,
            most: None,
        },
    };
    begin_counting(NO_MORE);
    let begun = Instant::now();
    for input in &inputs {
        run.one(input)?;
    }
    let least = inputs.len() as u64 + FEWEST;
    if run.done.taken == 0 {
        return Err(run.broken("nothing of its corpus is understood"));
    }
    let mut mutator = Mutator::new(seed);
    while begun.elapsed() < time || run.done.inputs < least {
        let input = mutator.next(&inputs, target.words, LONGEST);
        if run.one(&input)? {
            // What is understood leads further in.
            if inputs.len() < POOL {
                inputs.push(input);
            } else {
                let at = kept + mutator.below(POOL - kept);
                inputs[at] = input;
            }
        }
    }
    run.done.time = begun.elapsed();
    let removed = run.trace.remove();
    removed.unwrap_or_else(|error| panic!("remove the trace: {error}"));
    Ok(run.done)
}

struct Run<'a> {
    target: &'a Target<'a>,
    clock: Clock,
    trace: Trace,
    limits: Limits,
    /// Bytes that were held at the beginning.
    before: usize,
    done: Done,
}

impl Run<'_> {
    /// Whether the input was understood.
    fn one(&mut self, input: &[u8]) -> Result<bool, Broken> {
        let kept = self.trace.keep(input);
        kept.unwrap_or_else(|error| panic!("keep an input: {error}"));
        let panics = PANICS.load(Ordering::SeqCst);
        let begun = Instant::now();
        self.clock.begin();
        let ran = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        self.clock.end();
        let took = begun.elapsed();
        let Ok(taken) = ran else {
            return Err(self.broken("a promise is broken"));
        };
        if is_alone() && PANICS.load(Ordering::SeqCst) != panics {
            return Err(self.broken("something panicked out of sight"));
        }
        let Limits {
            slowest, memory, ..
        } = self.limits;
        if took > slowest {
            return Err(self.broken(&format!("it took {took:?}, more than {slowest:?}")));
        }
        if is_alone() {
            assert!(held() > 0, "this executable does not count memory");
            let most = most_held().saturating_sub(self.before);
            if most > memory {
                return Err(self.broken(&format!(
                    "{most} bytes more were held than before the first input, the bound is {memory}"
                )));
            }
            self.done.most = Some(most);
        }
        self.done.inputs += 1;
        self.done.taken += u64::from(taken);
        self.done.slowest = self.done.slowest.max(took);
        Ok(taken)
    }

    fn broken(&self, why: &str) -> Broken {
        Broken {
            target: self.target.name.to_owned(),
            why: why.to_owned(),
            trace: self.trace.path.clone(),
        }
    }
}

/// Whether all memory and all panics of this process are the target's: nextest gives each test its
/// own.
fn is_alone() -> bool {
    std::env::var_os("NEXTEST_EXECUTION_MODE").is_some_and(|mode| mode == "process-per-test")
}

/// Tasks of a run-time and threads catch panics of their own, which break a promise all the same.
fn count_panics(caught: &'static [&'static str]) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            let source = panic.location().map_or("", |place| place.file());
            if caught.iter().any(|part| source.contains(part)) {
                return;
            }
            PANICS.fetch_add(1, Ordering::SeqCst);
            before(panic);
        }));
    });
}

/// Ends the process when an input does not.
struct Clock {
    start: Instant,
    /// Milliseconds from the start to the beginning of the input under way, plus one; 0 for none.
    begun: Arc<AtomicU64>,
}

impl Clock {
    fn start(target: &str, trace: &Trace, endless: Duration) -> Self {
        let (start, begun) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let message = format!(
            "{target}: an input does not end within {endless:?}; kept at {}\nagain: make fuzz \
             FUZZ={target} INPUT={0}\n",
            trace.path.display()
        );
        let watched = Arc::clone(&begun);
        std::thread::spawn(move || {
            // Ends with the run that it watches.
            while Arc::strong_count(&watched) > 1 {
                std::thread::sleep(Duration::from_millis(100));
                let begun = watched.load(Ordering::SeqCst);
                let now = start.elapsed().as_millis() as u64;
                if begun > 0 && now.saturating_sub(begun) > endless.as_millis() as u64 {
                    // Not by a macro, whose words the test's harness would hold back.
                    let _ = std::io::stderr().write_all(message.as_bytes());
                    std::process::abort();
                }
            }
        });
        Self { start, begun }
    }

    fn begin(&self) {
        let now = self.start.elapsed().as_millis() as u64;
        self.begun.store(now + 1, Ordering::SeqCst);
    }

    fn end(&self) {
        self.begun.store(0, Ordering::SeqCst);
    }
}
