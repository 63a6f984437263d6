//! The state directory: what it lies on, whose it is, and how its secrets are kept.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statvfs, statx};

use parapet_agent::examine;

use super::read;
use crate::facts::{Data, Encryption, Kept, KeptSecret, Known, Room, Unknown};
use crate::report::plain;

/// Deepest pile of block devices that is followed.
const DEEPEST: usize = 16;
/// Files that hold a key or a secret, below the state directory, as an appliance has them or one of
/// before had them.
const SECRETS: [(&str, Kept); 8] = [
    ("device/secrets.key", Kept::Plain),
    ("device/secrets.key.tpm", Kept::ByTpm),
    ("device/key.sealed", Kept::ByDeviceKey),
    ("device/key.next.sealed", Kept::ByDeviceKey),
    ("device/inbound/key.sealed", Kept::ByDeviceKey),
    ("device/key.pem", Kept::Plain),
    ("device/key.next.pem", Kept::Plain),
    ("device/inbound/key.pem", Kept::Plain),
];

/// Looks at a state directory, whose owner shall be `owner` where it is known.
pub(crate) fn data(directory: &Path, owner: Option<u32>) -> Data {
    let closed = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(format!(
            "{} is closed to this user, as it should be: start the doctor as root",
            directory.display()
        )),
        Err(error) => Some(format!(
            "{} cannot be looked into: {error}",
            directory.display()
        )),
        Ok(_) if examine::is_locked(directory).is_ok_and(|locked| locked) => Some(format!(
            "{0} is encrypted and locked: `parapet agent --unlock-data --data {0}` as root",
            directory.display()
        )),
        Ok(_) => None,
    };
    if let Some(why) = closed {
        let unknown = Unknown::because(why);
        return Data {
            encryption: encryption(directory),
            secrets: Err(unknown.clone()),
            modes: Err(unknown),
            space: space(directory),
        };
    }
    Data {
        encryption: encryption(directory),
        secrets: secrets(directory),
        modes: modes(directory, owner),
        space: space(directory),
    }
}

/// When no directory was named.
pub(crate) fn not_named() -> Data {
    let unknown = || Unknown::because("no state directory was named: give it with --data");
    Data {
        encryption: Err(unknown()),
        secrets: Err(unknown()),
        modes: Err(unknown()),
        space: Err(unknown()),
    }
}

fn space(directory: &Path) -> Known<Room> {
    let seen = statvfs(directory).map_err(|error| {
        Unknown::because(format!(
            "{} cannot be measured: {error}",
            directory.display()
        ))
    })?;
    Ok(Room {
        free_bytes: seen.f_bavail.saturating_mul(seen.f_frsize),
        total_bytes: seen.f_blocks.saturating_mul(seen.f_frsize),
        free_files: seen.f_favail,
        total_files: seen.f_files,
    })
}

fn encryption(directory: &Path) -> Known<Encryption> {
    let failed = |error: std::io::Error| {
        Unknown::because(format!(
            "{} cannot be looked at: {error}",
            directory.display()
        ))
    };
    let directory = directory.canonicalize().map_err(failed)?;
    let attributes = statx(CWD, &directory, AtFlags::empty(), StatxFlags::BASIC_STATS)
        .map_err(|error| failed(error.into()))?
        .stx_attributes;
    if attributes.contains(StatxAttributes::ENCRYPTED) {
        return Ok(Encryption::Directory);
    }
    let mounts = read::file("/proc/self/mountinfo")?;
    let mount = mount_of(&mounts, &directory)
        .ok_or_else(|| Unknown::because("the mount of the state directory is not found"))?;
    let through = format!("{} on {}", plain(&mount.kind), plain(&mount.source));
    match mount.kind.as_str() {
        "tmpfs" | "ramfs" => return Ok(Encryption::Memory),
        "ecryptfs" | "fuse.gocryptfs" => return Ok(Encryption::Device(through)),
        _ => {}
    }
    let device = PathBuf::from("/sys/dev/block").join(&mount.device);
    // btrfs and ZFS name no block device by this number.
    if !device.exists() {
        let named = Path::new(&mount.source).canonicalize().ok();
        let name = named.as_deref().and_then(Path::file_name);
        let named = name.map(|name| Path::new("/sys/class/block").join(name));
        return match named.filter(|path| path.exists()) {
            Some(path) => Ok(block(&path, &through)?),
            None => Err(Unknown::because(format!(
                "what {through} is stored on is not known here"
            ))),
        };
    }
    block(&device, &through)
}

fn block(device: &Path, through: &str) -> Known<Encryption> {
    Ok(if is_encrypted(device, DEEPEST)? {
        Encryption::Device(through.to_owned())
    } else {
        Encryption::None(through.to_owned())
    })
}

/// Whether a block device, or everything below it, is of dm-crypt.
fn is_encrypted(device: &Path, depth: usize) -> Known<bool> {
    if depth == 0 {
        return Err(Unknown::because("block devices are piled too high"));
    }
    let id = read::file_if_there(device.join("dm/uuid"))?;
    if id.is_some_and(|id| id.starts_with("CRYPT-")) {
        return Ok(true);
    }
    // A partition is as its disk is.
    if device.join("partition").exists() {
        let disk = device.canonicalize().ok();
        let disk = disk.as_deref().and_then(Path::parent);
        return disk.map_or(Ok(false), |disk| is_encrypted(disk, depth - 1));
    }
    let below = read::names(device.join("slaves"))?;
    if below.is_empty() {
        return Ok(false);
    }
    for name in below {
        if !is_encrypted(&device.join("slaves").join(name), depth - 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

struct Mount {
    device: String,
    kind: String,
    source: String,
}

/// The mount that holds a path (proc(5), `mountinfo`): the longest, and of those the last, which
/// covers the others.
fn mount_of(mounts: &str, path: &Path) -> Option<Mount> {
    let mut best: Option<(usize, Mount)> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else {
            continue;
        };
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let ([_, _, device, _, point, ..], [kind, source, ..]) = (&before[..], &after[..]) else {
            continue;
        };
        let point = unescape(point);
        if !path.starts_with(&point) {
            continue;
        }
        let length = point.len();
        if best.as_ref().is_none_or(|(longest, _)| length >= *longest) {
            best = Some((
                length,
                Mount {
                    device: (*device).to_owned(),
                    kind: (*kind).to_owned(),
                    source: unescape(source),
                },
            ));
        }
    }
    best.map(|(_, mount)| mount)
}

/// Blanks and their like stand as three octal digits.
fn unescape(text: &str) -> String {
    [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ]
    .iter()
    .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn secrets(directory: &Path) -> Known<Vec<KeptSecret>> {
    let mut found = Vec::new();
    for (name, kept) in SECRETS {
        let path = directory.join(name);
        match path.symlink_metadata() {
            // Anything else in its place is no key of ours; its mode is judged elsewhere.
            Ok(metadata) if !metadata.is_file() => continue,
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                return Err(Unknown::because(format!(
                    "{name} cannot be looked at: {error}"
                )));
            }
        }
        found.push(KeptSecret {
            file: name.to_owned(),
            kept,
        });
    }
    Ok(found)
}

/// Files of the state directory that others can read, write, or own.
fn modes(directory: &Path, owner: Option<u32>) -> Known<Vec<String>> {
    let mut wrong = Vec::new();
    let mut look = |name: &str, most: u32| -> Known<()> {
        let path = if name == "." {
            directory.to_owned()
        } else {
            directory.join(name)
        };
        let metadata = match path.symlink_metadata() {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(Unknown::because(format!(
                    "{name} cannot be looked at: {error}"
                )));
            }
        };
        if metadata.file_type().is_symlink() {
            wrong.push(format!("{} is a link", plain(name)));
            return Ok(());
        }
        let mode = metadata.mode() & 0o7777;
        if mode & !most != 0 {
            wrong.push(format!(
                "{} has mode {mode:04o}, not {most:04o}",
                plain(name)
            ));
        }
        if let Some(owner) = owner.filter(|owner| metadata.uid() != *owner) {
            wrong.push(format!(
                "{} belongs to user {}, not {owner}",
                plain(name),
                metadata.uid()
            ));
        }
        Ok(())
    };
    look(".", 0o700)?;
    for (name, _) in SECRETS {
        look(name, 0o600)?;
    }
    look("device", 0o755)?;
    look("device/secrets", 0o755)?;
    look("device/certificate.pem", 0o644)?;
    look("device/ca.pem", 0o644)?;
    look("ledger", 0o755)?;
    look("ledger/desired.json", 0o600)?;
    for name in read::names(directory.join("device/secrets"))? {
        look(&format!("device/secrets/{name}"), 0o600)?;
    }
    Ok(wrong)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const MOUNTS: &str = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
         40 27 0:40 / /var/lib/par\\040a rw - tmpfs none rw\n\
         41 27 253:1 / /var/lib rw,relatime shared:1 - xfs /dev/mapper/data rw\n";

    #[test]
    fn the_longest_mount_holds_a_path() {
        let of = |path: &str| mount_of(MOUNTS, Path::new(path)).unwrap();
        assert_eq!(of("/etc").device, "254:0");
        assert_eq!(of("/var/lib/x").kind, "xfs");
        assert_eq!(of("/var/library").device, "254:0");
        assert_eq!(of("/var/lib/par a/b").kind, "tmpfs");
    }

    #[test]
    fn encryption_is_found_below_other_layers() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("dm-1");
        let crypt = volume.join("slaves/dm-0");
        std::fs::create_dir_all(volume.join("dm")).unwrap();
        std::fs::create_dir_all(crypt.join("dm")).unwrap();
        std::fs::write(volume.join("dm/uuid"), "LVM-abc\n").unwrap();
        std::fs::write(crypt.join("dm/uuid"), "CRYPT-LUKS2-abc\n").unwrap();
        assert_eq!(is_encrypted(&volume, DEEPEST), Ok(true));
        // A volume over two disks of which one is plain is plain.
        std::fs::create_dir_all(volume.join("slaves/sdb")).unwrap();
        assert_eq!(is_encrypted(&volume, DEEPEST), Ok(false));
        assert!(is_encrypted(&volume, 1).is_err());
    }

    #[test]
    fn a_key_that_others_can_read_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(dir.path(), 0o700);
        std::fs::create_dir(dir.path().join("device")).unwrap();
        set(&dir.path().join("device"), 0o755);
        let key = dir.path().join("device/key.pem");
        std::fs::write(&key, "x").unwrap();
        set(&key, 0o600);
        let owner = rustix::process::geteuid().as_raw();
        assert_eq!(
            modes(dir.path(), Some(owner)).unwrap(),
            Vec::<String>::new()
        );
        set(&key, 0o640);
        set(dir.path(), 0o750);
        let seen = modes(dir.path(), Some(owner + 1)).unwrap();
        assert_eq!(seen.len(), 5, "two modes, three owners: {seen:?}");
        std::fs::write(dir.path().join("device/secrets.key.tpm"), "x").unwrap();
        let kept: Vec<_> = secrets(dir.path())
            .unwrap()
            .iter()
            .map(|secret| secret.kept)
            .collect();
        assert_eq!(kept, [Kept::ByTpm, Kept::Plain]);
    }
}
