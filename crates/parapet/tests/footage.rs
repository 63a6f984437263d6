//! Clips as they are, through the whole path into the sample that finds visits.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// "Begin and end within 1.5 s."
const TOLERANCE_S: f64 = 1.5;

#[test]
fn the_visits_of_a_generated_clip_are_found() {
    let dir = tempfile::tempdir().expect("a directory");
    let clip = dir.path().join("clip.mp4");
    generate(&clip);
    assert_visits(&clip, &[(6.0, 12.0), (18.0, 26.0)]);
}

#[test]
fn the_visits_of_real_footage_are_found() {
    let name = "../shared/media/one-by-one-person-detection.mp4";
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let clip = std::fs::canonicalize(root)
        .expect("the repository")
        .join(name);
    if !clip.is_file() {
        eprintln!("skipped: {name} is not here");
        return;
    }
    let truth = [
        (6.5, 19.0),
        (23.1, 44.0),
        (50.7, 69.0),
        (75.3, 85.8),
        (92.3, 118.7),
        (123.9, 135.0),
    ];
    assert_visits(&clip, &truth);
}

/// A noisy room of 34 s; somebody (a textured block) crosses it twice and stops at the table, with
/// B-frames and at 12.5 frames per second, so that nothing rests on round numbers.
fn generate(clip: &Path) {
    // The block enters from the left, is inside the zone from 6 to 12 s and from 18 to 26 s.
    let place = "if(between(t,4,6),-160+(t-4)*240,if(between(t,6,12),330,if(between(t,12,14),330+(t-12)*240,\
                 if(between(t,16,18),-160+(t-16)*240,if(between(t,18,26),330,if(between(t,26,28),330+(t-26)*240,-200))))))";
    let filter = format!(
        "color=c=0x707468:s=640x360:r=12.5:d=34,noise=alls=6:allf=t[room];\
         testsrc=s=120x240:r=12.5:d=34,hue=s=0.6[somebody];\
         [room][somebody]overlay=x='{place}':y=90:eval=frame,format=yuv420p"
    );
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-y", "-filter_complex", &filter])
        .args([
            "-c:v", "libx264", "-preset", "veryfast", "-bf", "2", "-g", "25", "-t", "34",
        ])
        .arg(clip)
        .output()
        .expect("ffmpeg is installed by make");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn assert_visits(clip: &Path, truth: &[(f64, f64)]) {
    let output = Command::new(env!("CARGO_BIN_EXE_parapet"))
        .args([
            PathBuf::from("demo"),
            "--check".into(),
            "--footage".into(),
            clip.to_owned(),
        ])
        .output()
        .expect("parapet can be started");
    let log = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("one JSON object on stdout ({error}):\n{log}"));
    assert_eq!(report["ok"], true, "{report}\n{log}");
    let visits: Vec<(f64, f64)> = report["visits"]
        .as_array()
        .expect("a list of visits")
        .iter()
        .filter_map(|visit| {
            let begin = visit["begin_s"].as_f64()?;
            Some((begin, begin + visit["dwell_s"].as_f64()?))
        })
        .collect();
    assert_eq!(visits.len(), truth.len(), "{report}");
    for (seen, real) in visits.iter().zip(truth) {
        let near = |a: f64, b: f64| (a - b).abs() <= TOLERANCE_S;
        assert!(
            near(seen.0, real.0) && near(seen.1, real.1),
            "{seen:?} is not {real:?}: {report}"
        );
    }
}
