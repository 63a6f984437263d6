//! The host's accelerators: which device nodes an application gets that asks for them.
//!
//! Found anew at each start, since a driver may load late. Nodes alone: the user-space part of a
//! driver comes with the image, or with the host's `/usr` where the image has none. A node keeps
//! its permissions, so that one for a group only (`/dev/dri`) has to be opened to all by the host.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use parapet_sandbox::oci::Device;

/// Nodes by folder: a prefix, and what may follow it.
const NODES: [(&str, &str, Rest); 6] = [
    ("", "nvidia", Rest::Number),
    ("", "nvidiactl", Rest::Nothing),
    ("", "nvidia-modeset", Rest::Nothing),
    ("", "nvidia-uvm", Rest::Nothing),
    ("", "nvidia-uvm-tools", Rest::Nothing),
    // Rendering and computing without the power over screens that `card0` has.
    ("dri", "renderD", Rest::Number),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Nothing,
    Number,
}

/// Paths below `/dev`, of those that are there.
pub(crate) fn nodes(dev: &Path) -> Vec<String> {
    let mut found: Vec<String> = ["", "dri"]
        .into_iter()
        .flat_map(|folder| {
            std::fs::read_dir(dev.join(folder))
                .into_iter()
                .flatten()
                .flatten()
                .filter_map(move |entry| path(folder, entry.file_name().to_str()?))
        })
        .collect();
    found.sort();
    found
}

/// Their numbers, for who is told by numbers what may be used.
pub(crate) fn numbers(dev: &Path) -> Vec<Device> {
    nodes(dev)
        .iter()
        .filter_map(|name| std::fs::metadata(dev.join(name)).ok())
        .filter(|found| found.file_type().is_char_device())
        .map(|found| Device {
            major: rustix::fs::major(found.rdev()),
            minor: rustix::fs::minor(found.rdev()),
        })
        .collect()
}

fn path(folder: &str, name: &str) -> Option<String> {
    let known = NODES.iter().any(|(within, prefix, rest)| {
        let follows = name.strip_prefix(prefix);
        *within == folder
            && match (rest, follows) {
                (Rest::Nothing, Some("")) => true,
                (Rest::Number, Some(digits)) => {
                    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
                }
                _ => false,
            }
    });
    known.then(|| match folder {
        "" => name.to_owned(),
        folder => format!("{folder}/{name}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_are_found_and_screens_and_disks_are_not() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dri")).unwrap();
        for name in [
            "nvidia0",
            "nvidiactl",
            "nvidia-uvm",
            "nvidia-evil",
            "nvidia",
            "dri/renderD128",
            "dri/card0",
            "renderD128",
            "vda",
            "mem",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(
            nodes(dir.path()),
            ["dri/renderD128", "nvidia-uvm", "nvidia0", "nvidiactl"]
        );
        assert_eq!(nodes(&dir.path().join("nowhere")), Vec::<String>::new());
        assert_eq!(numbers(dir.path()), [], "files are no devices");
    }
}
