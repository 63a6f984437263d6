//! Which executable may link which shared library: a decoder's library belongs into the decoder's
//! process and nowhere else, and the command itself installs on any machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// Executables, and the libraries beyond the C run time that each may name.
const MAY_LINK: &[(&str, &[&str])] = &[
    ("parapet", &[]),
    ("parapet-launcher", &[]),
    ("parapet-ingest", &[]),
    ("parapet-infer", &[]),
    // GNU ld names libavformat here although nothing calls it: the virtual camera's feature of
    // `ffmpeg-next` holds for the whole build, and it drops unused code after it counts libraries.
    ("parapet-codec", &["libavcodec", "libavformat", "libavutil"]),
    (
        "parapet-virtual-camera",
        &["libavcodec", "libavformat", "libavutil"],
    ),
];

/// What every Rust executable on this platform links.
const RUN_TIME: &[&str] = &[
    "libc.so",
    "libm.so",
    "libgcc_s.so",
    "ld-linux",
    "libdl.so",
    "libpthread.so",
    "libstdc++",
];

/// All breaches of the table, empty when there is none.
pub(crate) fn run() -> Result<Vec<String>> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from);
    let mut faults = Vec::new();
    for (name, may_link) in MAY_LINK {
        let file = target.join("debug").join(name);
        for library in needed(&file)? {
            let allowed = RUN_TIME
                .iter()
                .chain(*may_link)
                .any(|start| library.starts_with(start));
            if !allowed {
                faults.push(format!(
                    "{name} links {library}, which the table does not allow"
                ));
            }
        }
    }
    Ok(faults)
}

/// The libraries an executable names (`DT_NEEDED`), not what those pull in.
fn needed(file: &Path) -> Result<Vec<String>> {
    let output = Command::new("readelf")
        .args(["--dynamic", "--wide"])
        .arg(file)
        .env("LC_ALL", "C")
        .output()
        .context("run readelf (package binutils)")?;
    anyhow::ensure!(
        output.status.success(),
        "read {}: build it first",
        file.display()
    );
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| {
            line.split_once('[')?
                .1
                .split_once(']')
                .map(|(name, _)| name.to_owned())
        })
        .collect())
}
