//! Each target for a moment: its corpus, and mutations of it from a seed that is said.

use std::time::Duration;

use parapet_fuzz::{TARGETS, drive};

const SEED: u64 = 20_261_128;
const TIME: Duration = Duration::from_secs(2);

#[test]
fn no_input_breaks_a_promise() {
    for target in TARGETS {
        let trace = std::env::temp_dir().join(format!("parapet-fuzz-{}", target.name));
        let done = drive(target, SEED, TIME, &trace).unwrap();
        eprintln!("{}: seed {SEED}, {done:?}", target.name);
        assert!(done.inputs > 100, "{}: {done:?}", target.name);
    }
}

#[test]
fn a_broken_promise_is_found_and_its_input_kept() {
    let directory = std::env::temp_dir();
    let trace = directory.join("parapet-fuzz-broken");
    let broken = parapet_fuzz::Target {
        name: "graph",
        run: |bytes| assert!(bytes.len() % 7 != 3, "broken on purpose"),
        words: &["x"],
    };
    let found = std::panic::catch_unwind(|| drive(&broken, SEED, TIME, &trace));
    assert!(found.is_err());
    let kept = std::fs::read(&trace).unwrap();
    assert_eq!(kept.len() % 7, 3);
    std::fs::remove_file(trace).unwrap();
}
