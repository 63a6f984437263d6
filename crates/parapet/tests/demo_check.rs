//! The main job, as a user runs it.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_demo_sees_what_its_scenes_show() {
    let output = Command::new(env!("CARGO_BIN_EXE_parapet"))
        .args(["demo", "--check"])
        .output()
        .expect("parapet can be started");
    let log = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("one JSON object on stdout ({error}):\n{log}"));
    assert_eq!(report["ok"], true, "{report}\n{log}");
    assert!(output.status.success(), "{report}\n{log}");
    assert_eq!(report["device_status"], "ONLINE", "{report}");
    assert_eq!(
        report["instance_status"], "DEPLOYMENT_SUCCEEDED",
        "{report}"
    );
    assert_eq!(report["health"], "RUNNING", "{report}");
    // What the agent says, whatever it is; as root the cameras have a network of their own.
    if rustix::process::geteuid().is_root() {
        assert_eq!(report["separation"], "separated", "{report}\n{log}");
        assert_eq!(report["missing"], serde_json::json!([]), "{report}\n{log}");
        assert!(report.get("lacking").is_none(), "{report}\n{log}");
    } else {
        eprintln!("skipped: not root, so the demo's cameras have no network of their own");
        assert_eq!(report["separation"], "flat", "{report}\n{log}");
        assert!(report["lacking"].is_string(), "{report}\n{log}");
    }
    let cameras = report["cameras"].as_array().expect("a list of cameras");
    assert_eq!(cameras.len(), 2, "{report}");
    for camera in cameras {
        assert!(camera["frames"].as_u64() >= Some(100), "{report}");
        assert!(camera["precision"].as_f64() >= Some(0.9), "{report}");
        assert!(camera["recall"].as_f64() >= Some(0.8), "{report}");
    }
    assert!(report["latency_ms"]["p50"].as_f64() > Some(0.0), "{report}");
    assert!(
        report["seconds_to_first_detection"].as_f64() > Some(0.0),
        "{report}"
    );
}

#[test]
fn wrong_usage_is_told_with_exit_code_two() {
    for arguments in [
        ["demo", "--camera", "door"],
        ["demo", "--camera", "door=http://host/s"],
        ["demo", "--zone", "0,0,1,1"],
        ["demo", "--timeout", "soon"],
        ["demo", "--footage", "no-such-clip.mp4"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_parapet"))
            .args(arguments)
            .output()
            .expect("parapet can be started");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(!output.stderr.is_empty(), "{arguments:?}");
    }
}
