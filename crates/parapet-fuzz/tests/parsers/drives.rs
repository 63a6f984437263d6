//! The driver finds what it is there to find, and loses no input however the process ends.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use parapet_fuzz::{Limits, Target, drive};

const SHORT: Duration = Duration::from_millis(300);

fn found(run: &dyn Fn(&[u8]) -> bool, limits: Limits) -> (String, Vec<u8>) {
    let target = Target {
        name: "graph",
        words: &["x"],
        run,
    };
    let broken = drive(&target, 7, SHORT, limits).expect_err("a broken promise");
    let kept = std::fs::read(&broken.trace).expect("the input");
    let directory = broken.trace.parent().expect("a directory");
    std::fs::remove_dir_all(directory).expect("removed");
    (broken.to_string(), kept)
}

#[test]
fn a_panic_is_found_and_its_input_kept() {
    let (said, kept) = found(
        &|bytes| {
            assert!(bytes.len() % 7 != 3, "broken on purpose");
            true
        },
        Limits::default(),
    );
    assert!(said.contains("a promise is broken"), "{said}");
    assert_eq!(kept.len() % 7, 3);
}

#[test]
fn an_input_that_takes_long_is_found() {
    let limits = Limits {
        slowest: Duration::from_millis(50),
        ..Limits::default()
    };
    let (said, _) = found(
        &|bytes| {
            if bytes.len() % 7 == 3 {
                std::thread::sleep(Duration::from_millis(60));
            }
            true
        },
        limits,
    );
    assert!(said.contains("it took"), "{said}");
}

#[test]
fn a_target_that_understands_nothing_is_found() {
    let (said, _) = found(&|_| false, Limits::default());
    assert!(said.contains("nothing of its corpus"), "{said}");
}

/// The child of the test below: ends as its variable says.
#[test]
#[ignore = "ends the process"]
fn end_badly() {
    fn deep(depth: u64) -> u64 {
        std::hint::black_box([depth; 64]);
        if std::hint::black_box(depth) == u64::MAX {
            return 0;
        }
        1 + deep(depth + 1)
    }
    let how = std::env::var("PARAPET_FUZZ_END").expect("how to end");
    let mut bad = 0;
    let limits = Limits {
        endless: Duration::from_secs(1),
        memory: 1024 * 1024,
        ..Limits::default()
    };
    let target = Target {
        name: "graph",
        words: &["x"],
        run: &|bytes| {
            if bytes.len() % 7 != 3 {
                return true;
            }
            match how.as_str() {
                "panic on a thread" => {
                    let thread = std::thread::spawn(|| panic!("on purpose"));
                    thread.join().is_err()
                }
                "abort" => std::process::abort(),
                "overflow" => deep(0) > 0,
                "loop" => loop {
                    std::thread::sleep(Duration::from_millis(10));
                },
                // More than the driver gives anybody.
                "endless memory" => vec![1_u8; 1 << 31].len() > 1,
                // More than it should be, and gone at once.
                _ => vec![1_u8; 2 * 1024 * 1024].len() > 1,
            }
        },
    };
    if let Err(broken) = drive(&target, 7, SHORT, limits) {
        bad += 1;
        eprintln!("{broken}");
    }
    assert_eq!(bad, 0);
}

#[test]
fn however_the_process_ends_the_input_is_kept() {
    let place =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("ends-{}", std::process::id()));
    for how in [
        "abort",
        "panic on a thread",
        "overflow",
        "loop",
        "endless memory",
        "memory",
    ] {
        std::fs::create_dir_all(&place).expect("a directory");
        let output = Command::new(std::env::current_exe().expect("this executable"))
            .args(["--exact", "drives::end_badly", "--ignored", "--nocapture"])
            .env("PARAPET_FUZZ_END", how)
            .env("NEXTEST_EXECUTION_MODE", "process-per-test")
            .env("TMPDIR", &place)
            .output()
            .expect("a child");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{how}: {said}");
        let word = match how {
            "overflow" => "overflow",
            "panic on a thread" => "out of sight",
            "loop" => "does not end",
            "endless memory" => "memory allocation of",
            "memory" => "bytes more were held",
            _ => "",
        };
        assert!(said.contains(word), "{how}: {said}");
        let run = std::fs::read_dir(&place).expect("the directory").next();
        let run = run.expect("one run").expect("its directory").path();
        let kept = std::fs::read(run.join("graph")).expect("the input");
        assert_eq!(kept.len() % 7, 3, "{how}");
        std::fs::remove_dir_all(&place).expect("removed");
    }
}
